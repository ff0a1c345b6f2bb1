# SPDX-License-Identifier: Apache-2.0
"""Language models through the program: generate, build and score with --loss next-token, tokens, evaluate."""
import os
import pathlib
import unittest

import numpy as np

from case import Case, run, run_json, run_lines

DATA = pathlib.Path(__file__).parent.parent / "data"
MODEL = str(DATA / "oracle_tokens_tied.onnx")
VOCABULARY, LENGTH = 13, 12


class Tokens(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random = np.random.RandomState(3)
        cls.prompts = random.randint(0, VOCABULARY, (70, 6))
        cls.lengths = random.randint(1, 7, 70)
        np.savez(cls.at("prompts.npz"), x=cls.prompts, length=cls.lengths, id=100 + np.arange(70))
        run("generate", MODEL, "--x", cls.at("prompts.npz"), "--tokens", 6, "--pad", 1, "--out", cls.at("all.npz"))
        with np.load(cls.at("all.npz")) as f:
            cls.all = {k: f[k] for k in f}
        for name, part in {"trusted": slice(0, 30), "held": slice(30, 60), "clean": slice(60, 70)}.items():
            np.savez(cls.at(name + ".npz"), **{k: v[part] for k, v in cls.all.items()})
        # Responses that are not the model's own.
        odd = {k: v[60:].copy() for k, v in cls.all.items()}
        odd["x"][odd["mask"] == 1] = random.randint(0, VOCABULARY, int(odd["mask"].sum()))
        np.savez(cls.at("foreign.npz"), **odd)
        cls.tokens_sketch = cls.at("tokens.fattr")
        run("build", MODEL, "-r", cls.at("trusted.npz"), "-c", cls.at("held.npz"), "--loss", "next-token", "-o", cls.tokens_sketch)

    def test_generate(self):
        x, mask = self.all["x"], self.all["mask"]
        self.assertEqual((x.dtype, x.shape, mask.dtype, mask.shape), (np.int64, (70, LENGTH), np.uint8, (70, LENGTH)))
        self.assertEqual(self.all["id"].tolist(), list(range(100, 170)))
        for row, marks, prompt, n in zip(x, mask, self.prompts, self.lengths):
            self.assertEqual(row[:n].tolist(), prompt[:n].tolist())
            self.assertEqual(np.flatnonzero(marks).tolist(), list(range(n, n + 6)))
            self.assertTrue((row[n + 6:] == 1).all())
        # The first new token of every prompt is the largest logit behind it.
        np.savez(self.at("whole.npz"), x=x)
        run("features", MODEL, self.at("whole.npz"), "--node", "logits", "-o", self.at("logits.npz"))
        with np.load(self.at("logits.npz")) as f:
            logits = f["x"]
        for i, n in enumerate(self.lengths):
            for t in range(n, n + 6):
                self.assertEqual(int(logits[i, t - 1].argmax()), x[i, t])
        stop = int(x[0, self.lengths[0]])
        run("generate", MODEL, "--x", self.at("prompts.npz"), "--tokens", 6, "--stop", stop, "--out", self.at("stopped.npz"))
        with np.load(self.at("stopped.npz")) as f:
            self.assertEqual(int(f["mask"][0].sum()), 1)
            self.assertTrue((f["mask"].sum(1) >= 1).all())
            ended = f["x"][f["mask"].cumsum(1) * f["mask"] == f["mask"].sum(1, keepdims=True)]
            self.assertTrue(((ended == stop) | (f["mask"].sum(1) == 6)).all())

    def test_scores(self):
        clean = run_lines("score", self.tokens_sketch, "--model", MODEL, self.at("clean.npz"))
        foreign = run_lines("score", self.tokens_sketch, "--model", MODEL, self.at("foreign.npz"), "--batch", 3, "--threads", 2)
        for line in clean + foreign:
            self.assertTrue(0 <= line["score"] <= 1 and 0 < line["p"] <= 1 and line["class"] is None)
        self.assertLess(np.median([line["score"] for line in clean]), np.median([line["score"] for line in foreign]))
        found = run_json("evaluate", self.tokens_sketch, "--model", MODEL, "--clean", self.at("clean.npz"), "--anomalous", self.at("foreign.npz"))
        self.assertGreater(found["auroc"], 0.6)

    def test_tokens(self):
        lines = run_lines("tokens", self.tokens_sketch, "--model", MODEL, self.at("foreign.npz"), "--save", self.at("couplings.npz"), "--top", 3)
        with np.load(self.at("foreign.npz")) as f, np.load(self.at("couplings.npz")) as saved:
            rows, places = np.nonzero(f["mask"])
            self.assertEqual([line["index"] for line in lines], rows.tolist())
            self.assertEqual([line["position"] for line in lines], places.tolist())
            self.assertEqual([line["token"] for line in lines], f["x"][rows, places].tolist())
            self.assertEqual(saved["c"].shape, (len(lines), 30))
            self.assertLessEqual(np.abs(saved["c"]).max(), 1 + 1e-5)
            self.assertEqual(saved["ids"].tolist(), list(range(100, 130)))
            for name in ("input", "position", "token", "loss", "score"):
                want = [line["index" if name == "input" else name] for line in lines]
                np.testing.assert_allclose(saved[name], want, rtol=1e-6, atol=1e-9)
            # Losses are those of the model's own probabilities.
            np.savez(self.at("sequences.npz"), x=f["x"])
            run("features", MODEL, self.at("sequences.npz"), "--node", "logits", "-o", self.at("logits2.npz"))
            with np.load(self.at("logits2.npz")) as g:
                z = g["x"][rows, places - 1].astype(np.float64)
            want = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1) - z[np.arange(len(z)), f["x"][rows, places]]
            np.testing.assert_allclose([line["loss"] for line in lines], want, atol=1e-4)
        for line in lines:
            self.assertLessEqual(len(line["explained_by"]), 3)
            self.assertTrue(all(100 <= i < 130 and w > 0 for i, w in line["explained_by"]))
        text = run("tokens", self.tokens_sketch, "--model", MODEL, self.at("foreign.npz")).stdout.splitlines()
        self.assertEqual(text[0].split()[:5], ["index", "position", "token", "loss", "score"])
        self.assertEqual(len(text), len(lines) + 1)

    def test_a_single_token_is_its_sequence(self):
        with np.load(self.at("clean.npz")) as f:
            mask = np.zeros_like(f["mask"])
            mask[np.arange(len(mask)), self.lengths[60:] + 2] = 1
            np.savez(self.at("single.npz"), x=f["x"], mask=mask)
        whole = run_lines("score", self.tokens_sketch, "--model", MODEL, self.at("single.npz"))
        alone = run_lines("tokens", self.tokens_sketch, "--model", MODEL, self.at("single.npz"))
        self.assertEqual(len(whole), len(alone))
        for a, b in zip(whole, alone):
            self.assertAlmostEqual(a["score"], b["score"], places=4)

    def test_the_loss_is_the_sketch_s(self):
        for command in (["score", self.tokens_sketch, self.at("clean.npz")], ["evaluate", self.tokens_sketch, "--clean", self.at("clean.npz"), "--anomalous", self.at("foreign.npz")]):
            named = [*command, "--model", MODEL, "--loss"]
            self.assertEqual(run(*named, "next-token", "--json").stdout, run(*command, "--model", MODEL, "--json").stdout)
            self.refused("built with --loss next-token, not margin", *named, "margin")
            run(*named, "next", code=2)

    def refused(self, words, *arguments):
        done = run(*arguments, code=3)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stdout, "")

    def test_refuses(self):
        with np.load(self.at("clean.npz")) as f:
            x, mask = f["x"], f["mask"]
        wrong = x.copy()
        wrong[4, 2] = 13
        np.savez(self.at("wrong.npz"), x=wrong, mask=mask)
        np.savez(self.at("empty.npz"), x=x, mask=mask * (np.arange(10) != 7)[:, None])
        np.savez(self.at("short.npz"), x=x, mask=mask[:, :5])
        np.savez(self.at("longer.npz"), x=np.zeros((10, 13), np.int64), mask=np.ones((10, 13), np.uint8))
        score = ["score", self.tokens_sketch, "--model", MODEL]
        self.refused("node '/word/Gather'", *score, self.at("wrong.npz"))
        self.refused("input 7", *score, self.at("empty.npz"))
        self.refused("mask", *score, self.at("short.npz"))
        self.refused("/place/Gather", "build", MODEL, "-r", self.at("longer.npz"), "--loss", "next-token", "-o", self.at("no.fattr"))
        self.refused("next-token", "build", MODEL, "-r", self.at("trusted.npz"), "-o", self.at("no.fattr"))
        self.refused("margin", "tokens", self.sketch, "--model", os.path.join(os.environ["FATTR_MODELS"], "mlp.onnx"), self.at("odd.npz"))
        self.refused("/place/Gather", "generate", MODEL, "--x", self.at("prompts.npz"), "--tokens", 7, "--out", self.at("no.npz"))
        self.refused("/word/Gather", "generate", MODEL, "--x", self.at("prompts.npz"), "--tokens", 6, "--pad", 13, "--out", self.at("no.npz"))
        for name in ("no.fattr", "no.npz"):
            self.assertFalse(os.path.exists(self.at(name)))
        run("generate", MODEL, code=2)
        run("tokens", self.tokens_sketch, code=2)


if __name__ == "__main__":
    unittest.main()
