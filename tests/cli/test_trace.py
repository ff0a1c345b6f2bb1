# SPDX-License-Identifier: Apache-2.0
"""Trace sketches: build --kind trace, killed and resumed, merge, inspect, score, evaluate, bench."""
import os
import random
import signal
import subprocess
import time
import unittest

import numpy as np

from case import FATTR, MLP, Case, run, run_json, run_lines

NORMALISED = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data", "oracle_trace.onnx")
CHAIN = ("--kind", "trace", "--sampler", "rmsprop_sgld", "--draws", 12, "--burn-in", 5, "--minibatch", 20, "--step-size", 1e-5, "--parameters", "*bias")


class Trace(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trace = cls.at("trace.fattr")
        cls.made = run_json("build", MLP, "-r", cls.at("references.npz"), "-c", cls.at("calibration.npz"), "--kind", "trace", "--draws", 40, "--gamma", 3000, "-o", cls.trace)
        rng = np.random.RandomState(8)
        np.savez(cls.at("normalised.npz"), x=rng.randn(30, 2, 6, 6).astype(np.float32), y=rng.randint(0, 3, 30))

    def build(self, name, *arguments, model=MLP, references="references.npz"):
        return run_json("build", model, "-r", self.at(references), "-o", self.at(name), *arguments)

    def read(self, name):
        with open(self.at(name), "rb") as f:
            return f.read()

    def test_figures(self):
        self.assertEqual((self.made["references"], self.made["calibration"]), (60, 39))
        self.assertEqual(self.made["bytes"], os.path.getsize(self.trace))
        self.assertFalse(os.path.exists(self.trace + ".checkpoint"))
        text = run("build", MLP, "-r", self.at("references.npz"), "--kind", "trace", "--draws", 5, "-o", self.at("text.fattr")).stdout
        self.assertIn("5 from 1 chain;", text)
        self.assertIn("diagnosis", text)

    def test_options_reach_the_sketch(self):
        self.build("all.fattr", "--kind", "trace", "--sampler", "sgld", "--draws", 3, "--chains", 2, "--first-chain", 7, "--gamma", 50, "--nbeta", 9, "--step-size", 1e-5, "--noise", 0.5,
                   "--decay", 0.5, "--epsilon", 0.25, "--burn-in", 4, "--thinning", 2, "--minibatch", 10, "--sampling", self.at("calibration.npz"), "--batchnorm", "frozen",
                   "--storage", "int8", "--parameters", "*weight,!5*", "--partial", "--seed", 3, "--ridge", 0.3, "--topk", 4, "--batch", 8, "--threads", 2, "--checkpoint",
                   self.at("c"), "--checkpoint-seconds", 0.001)
        self.assertFalse(os.path.exists(self.at("c")))
        i = run_json("inspect", self.at("all.fattr"))
        t = i["trace"]
        self.assertEqual(t["options"], {"sampler": "sgld", "storage": "int8", "batchnorm": "frozen", "partial": True, "gamma": 50, "burn_in": 4, "thinning": 2, "minibatch": 10,
                                        "step_size": 1e-5, "nbeta": 9, "noise": 0.5, "decay": 0.5, "epsilon": 0.25})
        self.assertEqual((t["draws"], t["parameters"], [(c["seed"], c["id"], c["draws"]) for c in t["chains"]]), (6, 2, [(3, 7, 3), (3, 8, 3)]))
        text = run("inspect", self.at("all.fattr")).stdout
        for words in ("sampler sgld", "int8", "minibatch 10", "regressed out", "diagnosis:"):
            self.assertIn(words, text)

    def test_inspect(self):
        i = run_json("inspect", self.trace)
        self.assertEqual(i["kind"], "sketch")
        self.assertEqual((i["trace"]["draws"], i["trace"]["draw_bytes"], len(i["trace"]["chains"])), (40, 0, 1))
        self.assertIn("verdict", i["trace"])
        self.assertIn("made again from the seed", run("inspect", self.trace).stdout)

    def test_preset_paper(self):
        b = self.build("paper.fattr", "--preset", "paper", "--draws", 6, "--burn-in", 3, "--minibatch", 12, model=NORMALISED, references="normalised.npz")
        self.assertEqual(b["misclassified"], 0)
        t = run_json("inspect", self.at("paper.fattr"))["trace"]
        self.assertEqual(t["options"], {"sampler": "rmsprop_sgld", "storage": "f32", "batchnorm": "reestimate", "partial": False, "gamma": 1e4, "burn_in": 3, "thinning": 1,
                                        "minibatch": 12, "step_size": 1e-6, "nbeta": 100, "noise": 1, "decay": 0.99, "epsilon": 0.1})
        self.assertEqual(t["draws"], 6)
        says = run_json("build", NORMALISED, "-r", self.at("normalised.npz"), "--preset", "paper", "--memory")
        self.assertGreater(says["draw_bytes"], 1750 * 4 * 400)     # the published number of draws, unless told otherwise
        self.fails("build", MLP, "-r", self.at("references.npz"), "--preset", "paper", "-o", self.at("x.fattr"), says="BatchNormalization")
        self.fails("build", MLP, "-r", self.at("references.npz"), "--preset", "journal", "-o", self.at("x.fattr"), says="'paper'")

    def test_memory(self):
        for arguments in (("--kind", "trace", "--draws", 200), CHAIN, CHAIN + ("--storage", "f32", "--chains", 3)):
            m = run_json("build", MLP, "-r", self.at("references.npz"), *arguments, "--memory")
            b = self.build("memory.fattr", *arguments)
            self.assertLess(abs(m["file_bytes"] - b["bytes"]), 0.1 * b["bytes"])
        self.assertGreater(m["draw_bytes"], 0)
        self.assertIn("of it draws", run("build", MLP, "-r", self.at("references.npz"), *CHAIN, "--memory").stdout)

    def test_killed_and_resumed(self):
        """At whatever moment it is killed: the file is that of a build that was not."""
        rng = random.Random(4)
        for sampler in ("rmsprop_sgld", "gaussian"):
            arguments = ("--kind", "trace", "--sampler", sampler, "--draws", 150, "--chains", 2, "--burn-in", 20, "--minibatch", 30, "--storage", "bf16", "--parameters", "*bias",
                         "-c", self.at("calibration.npz"))
            begin = time.monotonic()
            self.build("whole.fattr", *arguments)
            longest, kills, left = time.monotonic() - begin, 0, 0
            command = [FATTR, "build", MLP, "-r", self.at("references.npz"), "-o", self.at("resumed.fattr"), "--checkpoint-seconds", "0.002", "--resume", *map(str, arguments)]
            while True:
                with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                    try:
                        process.wait(timeout=rng.uniform(0.02, 0.5) * longest if kills < 12 else 200)
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        kills += 1
                        left += os.path.exists(self.at("resumed.fattr.checkpoint"))
                        continue
                    self.assertEqual((process.returncode, process.stderr.read()), (0, b""))
                    break
            self.assertGreater(kills, 0)
            self.assertGreater(left, 0)
            self.assertEqual(self.read("resumed.fattr"), self.read("whole.fattr"))
            self.assertFalse(os.path.exists(self.at("resumed.fattr.checkpoint")))

    def test_checkpoints_that_do_not_fit(self):
        place = self.at("bad.checkpoint")
        arguments = ["build", MLP, "-r", self.at("references.npz"), *CHAIN, "-o", self.at("bad.fattr"), "--checkpoint", place, "--resume"]
        for content, says in ((b"", "bad.checkpoint"), (b"?" * 100, "not a sketch"), (self.read("trace.fattr"), "not a checkpoint")):
            with open(place, "wb") as f:
                f.write(content)
            self.fails(*arguments, says=["bad.checkpoint", says])
            self.assertFalse(os.path.exists(self.at("bad.fattr")))
            self.assertEqual(self.read("bad.checkpoint"), content)
        run(*[a for a in arguments if a != "--resume"])     # begins anew

    def test_merge(self):
        for i in range(3):
            self.build(f"part{i}.fattr", *CHAIN, "--first-chain", i)
        self.build("together.fattr", *CHAIN, "--chains", 3)
        m = run_json("merge", self.at("part2.fattr"), self.at("part0.fattr"), self.at("part1.fattr"), "-o", self.at("merged.fattr"))
        self.assertEqual((m["merged"], m["chains"], m["draws"]), (3, 3, 36))
        self.assertEqual(self.read("merged.fattr"), self.read("together.fattr"))
        self.assertIn("36 draws from 3 chains", run("merge", self.at("merged.fattr"), "-o", self.at("again.fattr")).stdout)
        self.assertEqual(self.read("again.fattr"), self.read("together.fattr"))
        self.fails("merge", self.at("part0.fattr"), self.at("part0.fattr"), "-o", self.at("x.fattr"), says="twice")
        self.fails("merge", self.at("part0.fattr"), self.trace, "-o", self.at("x.fattr"), says="differs from the first")
        self.fails("merge", self.sketch, "-o", self.at("x.fattr"), says="gradient sketch")
        self.fails("merge", self.at("nothing"), "-o", self.at("x.fattr"), says="nothing")
        run("merge", "-o", self.at("x.fattr"), code=2)
        run("merge", self.trace, code=2)
        self.assertFalse(os.path.exists(self.at("x.fattr")))

    def test_scores(self):
        for name in ("cone", "span", "topk", "class", "mean", "mean_ccc", "class_ccc"):
            lines = run_lines("score", self.trace, "--model", MLP, self.at("clean.npz"), "--score", name)
            self.assertEqual(len(lines), 40)
            self.assertTrue(all(-1.0001 <= line["score"] <= 1.0001 and 0 < line["p"] <= 1 for line in lines))
        one = run_lines("score", self.trace, "--model", MLP, self.at("clean.npz"), "--batch", 1)
        for a, b in zip(one, run_lines("score", self.trace, "--model", MLP, self.at("clean.npz"), "--threads", 3, "--batch", 4)):
            self.assertAlmostEqual(a["score"], b["score"], places=4)
        self.fails("score", self.sketch, "--model", MLP, self.at("clean.npz"), "--score", "mean_ccc", says="mean_ccc")
        self.build("partial.fattr", "--kind", "trace", "--draws", 8, "--partial")
        self.fails("score", self.at("partial.fattr"), "--model", MLP, self.at("clean.npz"), "--score", "class_ccc", says="partial correlation")

    def test_evaluate(self):
        e = run_json("evaluate", self.trace, "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", self.at("odd.npz"), "--score", "mean_ccc")
        self.assertTrue(0 <= e["auroc"] <= 1)

    def test_confidence(self):
        every = run_lines("score", self.trace, "--model", MLP, self.at("clean.npz"), "--alpha", 0.1)
        some = run_lines("score", self.trace, "--model", MLP, self.at("clean.npz"), "--alpha", 0.1, "--confidence", 0.5)
        self.assertTrue(all(line["draws"] == 40 for line in every))
        self.assertTrue(all(line["draws"] in (5, 10, 20, 40) for line in some))
        self.assertLess(sum(line["draws"] for line in some), 40 * 40)
        self.assertGreaterEqual(np.mean([a["flagged"] == b["flagged"] for a, b in zip(every, some)]), 0.5)
        self.fails("score", self.sketch, "--model", MLP, self.at("clean.npz"), "--confidence", 0.9, says="confidence")
        self.build("bare.fattr", "--kind", "trace", "--draws", 8)
        self.fails("score", self.at("bare.fattr"), "--model", MLP, self.at("clean.npz"), "--confidence", 0.9, says="calibration")
        e = run_json("evaluate", self.trace, "--model", MLP, "--clean", self.at("clean.npz"), "--anomalous", self.at("odd.npz"), "--confidence", 0.9)
        self.assertTrue(0 <= e["auroc"] <= 1)

    def test_bench(self):
        for batch in (1, 4):
            b = run_json("bench", MLP, "--sketch", self.trace, "--batch", batch)
            self.assertEqual(b["batch"], batch)
            self.assertGreater(b["score_ms"], 20 * b["forward_ms"])     # forty draws, one pass each
            self.assertTrue(0 < b["draw_ms"] < b["score_ms"])
            self.assertAlmostEqual(b["planned_ratio"], 41, places=6)
        self.assertIn("planned", run("bench", MLP, "--sketch", self.trace).stdout)

    def test_usage(self):
        r = ("-r", self.at("references.npz"), "-o", self.at("x.fattr"))
        for arguments, says in [(("--draws", 5), "--kind trace"), (("--kind", "magic"), "gradient or trace"), (("--kind", "trace", "--sampler", "hmc"), "rmsprop_sgld or sgld"),
                                (("--kind", "trace", "--storage", "f16"), "bf16 or int8"), (("--kind", "trace", "--batchnorm", "off"), "frozen or reestimate"),
                                (("--kind", "trace", "--draws", 1), "--draws"), (("--kind", "trace", "--gamma", -1), "--gamma"), (("--kind", "trace", "--decay", 1), "--decay"),
                                (("--kind", "trace", "--chains", 2000), "--chains")]:
            with self.subTest(says=says):
                self.assertIn(says, run("build", MLP, *r, *arguments, code=2).stderr)
        for arguments, says in [(("--kind", "trace", "--batchnorm", "reestimate"), "gaussian"), (("--kind", "trace", "--parameters", "nothing*"), "selected"),
                                (("--kind", "trace", "--sampler", "sgld", "--batchnorm", "reestimate"), "BatchNormalization"),
                                (("--kind", "trace", "--sampling", "/nowhere.npz"), "/nowhere.npz")]:
            with self.subTest(says=says):
                self.fails("build", MLP, *r, *arguments, says=says)
        self.assertFalse(os.path.exists(self.at("x.fattr")))


if __name__ == "__main__":
    unittest.main()
