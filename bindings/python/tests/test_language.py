# SPDX-License-Identifier: Apache-2.0
"""Language models: continuations, masks beside the inputs, responses token by token."""
import pickle
import unittest

import numpy as np

import fattr
from support import ROOT

GPT = ROOT / "tests" / "data" / "oracle_tokens_tied.onnx"
WORDS, LENGTH = 13, 12


class Language(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        rng = np.random.default_rng(0)
        cls.model = fattr.Model.load(GPT)
        cls.prompts, cls.lengths = rng.integers(0, WORDS, (60, 6)), rng.integers(1, 7, 60)
        cls.x, cls.mask = fattr.generate(cls.model, cls.prompts, tokens=6, lengths=cls.lengths, pad=1)
        cls.references = fattr.RefSet(cls.x[:30], mask=cls.mask[:30], context=cls.model.context)
        cls.sketch = fattr.Sketch.build(cls.model, cls.references, fattr.RefSet(cls.x[30:50], mask=cls.mask[30:50]), loss="next-token")
        cls.scorer = fattr.Scorer(cls.sketch, cls.model)

    def test_generate(self):
        self.assertEqual((self.x.shape, self.x.dtype, self.mask.dtype), ((60, LENGTH), np.int64, np.uint8))
        logits = self.model.run(self.x)
        for x, mask, n, prompt, z in zip(self.x, self.mask, self.lengths, self.prompts, logits):
            self.assertEqual(x[:n].tolist(), prompt[:n].tolist())
            self.assertEqual(np.flatnonzero(mask).tolist(), list(range(n, n + 6)))
            self.assertEqual(x[n:n + 6].tolist(), z[n - 1:n + 5].argmax(1).tolist())
        said = []
        stopped = fattr.generate(self.model, self.prompts, tokens=6, lengths=self.lengths, stop=int(self.x[0, self.lengths[0]]), name="ids", progress=lambda *a: said.append(a))
        self.assertEqual(int(stopped.mask[0].sum()), 1)
        self.assertTrue(said and said[-1][1] == said[-1][2] == 360)
        with self.assertRaises(fattr.CancelledError):
            fattr.generate(self.model, self.prompts, tokens=6, lengths=self.lengths, progress=lambda *_: True)
        with self.assertRaises(ZeroDivisionError):
            fattr.generate(self.model, self.prompts, tokens=6, lengths=self.lengths, progress=lambda *_: 1 // 0)
        for status, words, call in (("FA_ERR_ARGUMENT", "/word/Gather", lambda: fattr.generate(self.model, self.prompts + WORDS, tokens=1)),
                                    ("FA_ERR_SHAPE", "/place/Gather", lambda: fattr.generate(self.model, self.prompts, tokens=7)),
                                    ("FA_ERR_DTYPE", "float64", lambda: fattr.generate(self.model, self.prompts + 0.5)),
                                    ("FA_ERR_ARGUMENT", "tokens", lambda: fattr.generate(self.model, self.prompts, tokens=-1)),
                                    ("FA_ERR_SHAPE", "lengths", lambda: fattr.generate(self.model, self.prompts, lengths=[1]))):
            with self.assertRaisesRegex(fattr.FattrError, words) as raised:
                call()
            self.assertEqual(raised.exception.name, status)

    def test_masks(self):
        self.assertEqual(len(self.references.inputs), 1)
        np.testing.assert_array_equal(self.references.mask, self.mask[:30])
        self.assertIsNone(self.references.target)
        for again in (pickle.loads(pickle.dumps(self.references)), fattr.RefSet(self.x[:30], mask=self.mask[:30])):
            self.assertEqual(again.digest, self.references.digest)
        self.assertNotEqual(fattr.RefSet(self.x[:30]).digest, self.references.digest)
        named = fattr.RefSet({"ids": self.x[:30], "mask": self.mask[:30]})
        self.assertEqual(set(named.inputs), {"ids", "mask"})
        self.assertEqual(pickle.loads(pickle.dumps(named)).digest, named.digest)

    def test_scores(self):
        r = self.scorer.score(self.x[50:], mask=self.mask[50:])
        named = self.scorer.score({"mask": self.mask[50:], "ids": self.x[50:]})
        np.testing.assert_array_equal(r.score, named.score)
        self.assertTrue((r.predicted == -1).all() and ((0 <= r.score) & (r.score <= 1)).all())
        # The same response by targets: the tokens, and none where the mask is 0.
        by_target = self.scorer.score(self.x[50:], target=np.where(self.mask[50:] == 1, self.x[50:], -1))
        np.testing.assert_allclose(by_target.score, r.score, atol=1e-6)
        # A file of its own length: without padding.
        for i in range(50, 60):
            end = int(np.flatnonzero(self.mask[i])[-1]) + 1
            self.assertAlmostEqual(self.scorer.score(self.x[i:i + 1, :end], mask=self.mask[i:i + 1, :end]).score[0], r.score[i - 50], places=4)
        with self.assertRaisesRegex(fattr.FattrError, "input 3"):
            self.scorer.score(self.x[50:], mask=self.mask[50:] * (np.arange(10) != 3)[:, None])

    def test_tokens(self):
        whole = self.scorer.score(self.x[50:], mask=self.mask[50:])
        found = self.scorer.tokens(self.x[50:], mask=self.mask[50:])
        self.assertEqual(len(found), 10)
        for t, x, mask, confidence in zip(found, self.x[50:], self.mask[50:], whole.confidence):
            self.assertEqual(t.position.tolist(), np.flatnonzero(mask).tolist())
            self.assertEqual(t.token.tolist(), x[t.position].tolist())
            self.assertEqual((t.couplings.shape, t.weights.shape), ((6, 30), (6, 30)))
            self.assertAlmostEqual(np.exp(-t.loss.mean()), confidence, places=5)
            self.assertTrue((t.weights >= 0).all() and not t.no_signal.any())
        self.assertIsNone(fattr.Scorer(self.sketch, self.model, score="topk").tokens(self.x[50:51], mask=self.mask[50:51])[0].weights)
        other = fattr.Model.load(ROOT / "examples" / "models" / "mlp.onnx")
        x = np.random.default_rng(1).random((40, 1, 28, 28), np.float32)
        with self.assertRaises(fattr.StateError):
            fattr.Scorer(fattr.Sketch.build(other, x), other).tokens(x)


if __name__ == "__main__":
    unittest.main()
