# SPDX-License-Identifier: Apache-2.0
"""fattr score, evaluate, features and bench."""
import unittest

import numpy as np

from case import BADNETS, CLEAN, MLP, Case, images, run, run_json, run_lines


def auroc(clean, odd):
    difference = np.subtract.outer(odd, clean)
    return ((difference > 0) + 0.5 * (difference == 0)).mean()


class Score(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.uncalibrated = cls.at("uncalibrated.fattr")
        run("build", MLP, "-r", cls.at("references.npz"), "-o", cls.uncalibrated)

    def score(self, name, *arguments, code=0, sketch=None):
        return run_lines("score", sketch or self.sketch, "--model", MLP, self.at(name), *arguments, code=code)

    def test_lines(self):
        lines = self.score("clean.npz", "--couplings", self.at("couplings.npz"))
        self.assertEqual([line["index"] for line in lines], list(range(40)))
        with np.load(self.at("couplings.npz")) as f:
            c, weights, ids = f["c"], f["weights"], f["ids"]
        self.assertEqual((c.dtype, c.shape, weights.shape), (np.float32, (40, 60), (40, 60)))
        self.assertEqual(ids.tolist(), list(range(1000, 1060)))
        self.assertLessEqual(np.abs(c).max(), 1 + 1e-5)
        self.assertGreaterEqual(weights.min(), 0)
        for line in lines:
            self.assertEqual(list(line)[:6], ["index", "class", "score", "p", "flagged", "explained_by"])
            self.assertTrue(0 <= line["score"] <= 1 and 0 < line["p"] <= 1 and 0 <= line["class"] < 10)
            self.assertEqual(line["flagged"], line["p"] <= 0.05)
            largest = np.argsort(-weights[line["index"]])[:5]
            wanted = [w for w in weights[line["index"]][largest] if w > 0]
            np.testing.assert_allclose([w for _, w in line["explained_by"]], wanted, rtol=1e-5)
            for i, w in line["explained_by"]:
                self.assertAlmostEqual(float(weights[line["index"]][i - 1000]), w, places=5)

    def test_a_reference_explains_itself(self):
        np.savez(self.at("again.npz"), x=np.load(self.at("references.npz"))["x"][[5, 17]])
        for line, i in zip(self.score("again.npz"), (1005, 1017)):
            self.assertEqual(line["explained_by"][0][0], i)

    def test_batches_and_threads(self):
        one = self.score("clean.npz", "--batch", 1)
        for other in (self.score("clean.npz", "--batch", 7), self.score("clean.npz", "--threads", 3, "--batch", 4)):
            for a, b in zip(one, other):
                self.assertEqual((a["index"], a["class"]), (b["index"], b["class"]))
                self.assertAlmostEqual(a["score"], b["score"], places=4)
        self.assertEqual(self.score("clean.npz", "--threads", 3, "--batch", 4), self.score("clean.npz", "--threads", 1, "--batch", 4))

    def test_text(self):
        text = run("score", self.sketch, "--model", MLP, self.at("clean.npz"), "--top", 2)
        lines = text.stdout.splitlines()
        self.assertEqual(lines[0].split()[:4], ["index", "class", "score", "p"])
        self.assertEqual(len(lines), 42)
        self.assertRegex(lines[1], r"^ +0 +\d+ +[01]\.\d{4} +[01]\.\d{4} +(YES|no)  +\d+:0\.\d\d \d+:0\.\d\d$")
        self.assertRegex(lines[-1], r"^\d+ of 40 inputs flagged$")
        self.assertEqual(text.stderr, "")

    def test_fail_on_flag(self):
        self.assertTrue(any(line["flagged"] for line in self.score("odd.npz", "--alpha", 0.5)))
        self.score("odd.npz", "--alpha", 0.5, "--fail-on-flag", code=1)
        lowest = min(self.score("clean.npz", "--alpha", 0.025), key=lambda line: -line["p"])
        np.savez(self.at("calm.npz"), x=self.x[lowest["index"]][None])
        self.score("calm.npz", "--alpha", 0.025, "--fail-on-flag", code=0)

    def test_scores(self):
        for name in ("cone", "span", "topk", "class", "mean"):
            lines = self.score("clean.npz", "--score", name)
            self.assertEqual(all(line["explained_by"] == [] for line in lines), name in ("topk", "class", "mean"), name)
            self.assertTrue(all(-1.0001 <= line["score"] <= 1.0001 for line in lines))

    def test_without_calibration(self):
        for line in self.score("clean.npz", sketch=self.uncalibrated):
            self.assertIsNone(line["p"])
            self.assertIsNone(line["flagged"])
        self.score("odd.npz", "--fail-on-flag", sketch=self.uncalibrated)
        self.assertIn("no calibration", run("score", self.uncalibrated, "--model", MLP, self.at("odd.npz")).stdout)
        self.fails("score", self.uncalibrated, "--model", MLP, self.at("clean.npz"), "--alpha", 0.1, says="calibration")

    def test_single_array_and_scale(self):
        raw = (self.x * 255).round().astype(np.uint8)
        np.save(self.at("x.npy"), raw)
        np.savez(self.at("f4.npz"), image=(raw * (1 / 255)).astype(np.float32))
        self.assertEqual(self.score("x.npy", "--scale", 1 / 255), self.score("f4.npz"))

    def test_refuses(self):
        good = [self.sketch, "--model", MLP]
        for arguments, says in [
            ([self.sketch, "--model", BADNETS, self.at("clean.npz")], "badnets.onnx"),
            ([self.sketch, "--model", CLEAN, self.at("clean.npz")], "clean.onnx"),
            ([MLP, "--model", MLP, self.at("clean.npz")], "mlp.onnx"),
            (["/nowhere.fattr", "--model", MLP, self.at("clean.npz")], "/nowhere.fattr"),
            ([*good, "/nowhere.npz"], "/nowhere.npz"),
            ([*good, self.folder], "folder"),
            ([*good, self.save("wrong.npz", x=self.x[:, :, :14])], "image"),
            ([*good, self.save("flat.npz", x=self.x.reshape(40, 784))], "image"),
            ([*good, self.save("inf.npz", x=np.full_like(self.x, np.inf))], "inf.npz"),
            ([*good, self.save("complex.npz", x=self.x.astype(complex))], "<c16"),
            ([*good, self.at("clean.npz"), "--alpha", 0.001], "alpha"),
            ([*good, self.at("clean.npz"), "--couplings", "/nowhere/c.npz"], "/nowhere/c.npz"),
        ]:
            with self.subTest(says=says):
                self.fails("score", *arguments, says=says)
                self.fails("score", *arguments, "--json", says=says)

    def test_evaluate(self):
        arguments = ["evaluate", self.sketch, "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", self.at("odd.npz")]
        e = run_json(*arguments, "--alpha", 0.1)
        for key in ("n_clean", "n_anomalous", "score", "auroc", "aupr", "fpr95", "der_best", "alpha", "tpr", "fpr", "der"):
            self.assertIn(key, e)
        self.assertEqual((e["n_clean"], e["n_anomalous"], e["score"], e["alpha"]), (40, 30, "cone", 0.1))
        clean, odd = self.score("clean.npz", "--alpha", 0.1), self.score("odd.npz", "--alpha", 0.1)
        self.assertAlmostEqual(e["auroc"], auroc([c["score"] for c in clean], [o["score"] for o in odd]), places=6)
        self.assertAlmostEqual(e["tpr"], np.mean([o["flagged"] for o in odd]))
        self.assertAlmostEqual(e["fpr"], np.mean([c["flagged"] for c in clean]))
        accuracy = np.mean(self.y == [c["class"] for c in clean])
        self.assertAlmostEqual(e["acc"], accuracy)
        self.assertAlmostEqual(e["der"], (e["tpr"] - accuracy * e["fpr"] + 1) / 2)
        self.assertGreater(e["auroc"], 0.6)
        self.assertIn("AUROC", run(*arguments).stdout)
        self.assertEqual(run_json(*arguments, "--score", "class")["score"], "class")

    def test_evaluate_without_calibration_or_labels(self):
        np.savez(self.at("unlabelled.npz"), x=self.x)
        arguments = ["evaluate", self.uncalibrated, "--model", MLP, "--clean", self.at("unlabelled.npz"), "--anomalous", self.at("odd.npz")]
        e = run_json(*arguments)
        self.assertEqual((e["tpr"], e["fpr"], e["der"], e["acc"]), (None, None, None, 1))
        self.assertIn("no calibration inputs", run(*arguments).stdout)


class Features(Case):
    def test_values(self):
        """The last layer of the MLP is a linear map of what is in front of it."""
        for name, node in (("hidden.npz", "/4/Relu"), ("logits.npz", "logits")):
            run("features", MLP, self.at("many.npz"), "--node", node, "-o", self.at(name), "--batch", 32)
        hidden, logits = (np.load(self.at(n)) for n in ("hidden.npz", "logits.npz"))
        self.assertEqual((hidden["x"].dtype, hidden["x"].shape, logits["x"].shape), (np.float32, (200, 64), (200, 10)))
        np.testing.assert_array_equal(hidden["y"], self.labels)
        design = np.hstack([hidden["x"], np.ones((200, 1))]).astype(float)
        solution = np.linalg.lstsq(design, logits["x"].astype(float), rcond=None)[0]
        np.testing.assert_allclose(design @ solution, logits["x"], atol=1e-3)
        again = run_lines("score", self.sketch, "--model", MLP, self.at("many.npz"))
        self.assertEqual([line["class"] for line in again], logits["x"].argmax(1).tolist())

    def test_refuses(self):
        self.fails("features", MLP, self.at("clean.npz"), "--node", "/nothing", "-o", self.at("f.npz"), says="/nothing")
        self.fails("features", MLP, self.at("clean.npz"), "--node", "logits", "-o", self.folder, says="folder")
        self.fails("features", MLP, self.at("references.npz") + "x", "--node", "logits", "-o", self.at("f.npz"), says="references.npzx")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.RandomState(7)
        cls.labels = rng.randint(0, 10, 200)
        np.savez(cls.at("many.npz"), x=rng.rand(200, 1, 28, 28).astype(np.float32), y=cls.labels)


class Convolutions(Case):
    def test_build_and_score(self):
        """The residual network with a backdoor, from ONNX file to verdicts."""
        x, _ = images(24, 8)
        np.savez(self.at("few.npz"), x=x[:16])
        np.savez(self.at("held.npz"), x=x[16:])
        b = run_json("build", BADNETS, "-r", self.at("few.npz"), "-c", self.at("held.npz"), "--k-in", 8, "--k-out", 8, "-o", self.at("conv.fattr"))
        self.assertEqual((b["references"], b["layers"]), (16, 10))
        for i, line in enumerate(run_lines("score", self.at("conv.fattr"), "--model", BADNETS, self.at("few.npz"), "--alpha", 0.2)):
            self.assertEqual(line["explained_by"][0][0], i)
            self.assertLess(line["score"], 0.25)           # (ridge / (1 + ridge))^2: what the reference leaves of itself without any help
            self.assertFalse(line["flagged"])


class Bench(Case):
    def test_forward(self):
        b = run_json("bench", MLP)
        self.assertGreater(b["forward_ms"], 0)
        self.assertGreater(b["gflops"], 0)
        self.assertIsNone(b["score_ms"])
        self.assertIsNone(b["ratio"])
        self.assertEqual((b["batch"], b["threads"]), (1, 1))
        self.assertAlmostEqual(b["forward_mflop"], 2e-6 * (784 * 128 + 128 * 64 + 64 * 10), delta=0.01)

    def test_score(self):
        b = run_json("bench", MLP, "--sketch", self.sketch, "--batch", 4)
        self.assertAlmostEqual(b["ratio"], b["score_ms"] / b["forward_ms"], places=6)
        self.assertGreater(b["ratio"], 1)
        self.assertGreater(b["planned_ratio"], 1)
        self.assertLess(b["passes_ms"], b["score_ms"])
        self.assertEqual(b["batch"], 4)
        self.assertIn("planned", run("bench", MLP, "--sketch", self.sketch).stdout)

    def test_threads(self):
        self.assertEqual(run_json("bench", MLP, "--sketch", self.sketch, "--threads", 2)["threads"], 2)

    def test_refuses(self):
        self.fails("bench", MLP, "--shape", "3,5,5", says="image")
        self.fails("bench", CLEAN, "--sketch", self.sketch, says="clean.onnx")
        self.fails("bench", "/nowhere.onnx", "--json", says="/nowhere.onnx")


if __name__ == "__main__":
    unittest.main()
