# SPDX-License-Identifier: Apache-2.0
"""Losses by name against the same gradients written down in NumPy, which share no code with them, and functions in the place of a name."""
import sys
import threading
import unittest

import numpy as np

import fattr
from support import MODELS, ROOT, images

sys.path.append(str(ROOT / "tests" / "data"))
from counter_random import philox  # noqa: E402

GPT = ROOT / "tests" / "data" / "graphs" / "gpt.onnx"
TOKENS, WORDS = 7, 11


def words(n, seed):
    return np.random.default_rng(seed).integers(0, WORDS, (n, TOKENS))


def softmax(z):
    e = np.exp(z.astype(float) - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def onehot(y, n):
    return np.eye(n)[y]


def margin(z):
    """[..., classes]: the others' mean less the largest."""
    own = onehot(z.argmax(-1), z.shape[-1])
    return (1 - own) / (z.shape[-1] - 1) - own


def next_token(z, inputs):
    z = z.reshape(-1, TOKENS, WORDS)
    following = onehot(np.roll(inputs[0], -1, 1), WORDS)
    g = (1 - following) / (WORDS - 1) - following
    g[:, -1] = 0
    return g.reshape(len(g), -1)


def per_pixel(z, _):  # [n, TOKENS, WORDS] read as TOKENS classes at WORDS pixels
    return margin(z.reshape(-1, TOKENS, WORDS).transpose(0, 2, 1)).transpose(0, 2, 1).reshape(len(z), -1)


def signs(n):
    """One bit each of the library's counter-based random numbers, the first always 1."""
    bits = philox(0, np.arange(n // 128 + 1), 0).astype(np.uint32)
    return np.where(np.unpackbits(bits.view(np.uint8), bitorder="little")[:n] & (np.arange(n) > 0), -1.0, 1.0)


def fixed(z, _):
    return np.tile(signs(z.shape[1]), (len(z), 1))


NUMPY = {
    "margin": (False, lambda z, _: margin(z)),
    "cross-entropy": (False, lambda z, _: softmax(z) - onehot(z.argmax(-1), z.shape[-1])),
    "multi-label": (False, lambda z, _: np.where(z > 0, -1.0, 1.0)),
    "regression": (False, fixed),
    "next-token": (True, next_token),
    "per-token": (True, lambda z, _: margin(z.reshape(-1, TOKENS, WORDS)).reshape(len(z), -1)),
    "per-pixel": (True, per_pixel),
    "embedding": (True, fixed),
}

# "next-token" leaves positions without gradient, as padding has, out of the second moments; a function's gradients say nothing of padding. Without a preconditioner the moments do not matter.
UNWEIGHTED = {"beta": 0.0}


class Outputs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gpt, cls.mlp = fattr.Model.load(GPT), fattr.Model.load(MODELS / "mlp.onnx")
        cls.words, cls.images = [words(n, n) for n in (40, 30, 20)], [images(n, n) for n in (40, 30, 20)]

    def test_numpy_says_the_same(self):
        for name, (tokens, gradient) in NUMPY.items():
            model, (references, calibration, x) = (self.gpt, self.words) if tokens else (self.mlp, self.images)
            scores = []
            for loss in (name, gradient):
                sketch = fattr.Sketch.build(model, references, calibration, loss=loss, **UNWEIGHTED if name == "next-token" else {})
                r = fattr.Scorer(sketch, model, all_scores=True, loss=loss).score(x)
                scores.append(r)
            for k in ("cone", "span", "topk", "mean"):
                np.testing.assert_allclose(scores[0].scores[k], scores[1].scores[k], atol=2e-5, err_msg=f"{name} {k}")
            np.testing.assert_allclose(scores[0].p_value, scores[1].p_value, atol=1.5 / 31, err_msg=name)
            self.assertGreater(np.std(scores[0].score), 1e-3, name)

    def test_what_it_says_of_an_output(self):
        x = self.words[2]
        r = fattr.Scorer(fattr.Sketch.build(self.gpt, self.words[0], loss="next-token"), self.gpt).score(x)
        p = softmax(self.gpt.run(x))
        of_next = np.take_along_axis(p[:, :-1], x[:, 1:, None], 2)[..., 0]
        np.testing.assert_allclose(r.confidence, np.exp(np.log(of_next).mean(1)), rtol=1e-5)
        self.assertTrue((r.predicted == -1).all())
        r = fattr.Scorer(fattr.Sketch.build(self.gpt, self.words[0], loss="per-token"), self.gpt).score(x)
        np.testing.assert_allclose(r.confidence, np.exp(np.log(p.max(-1)).mean(1)), rtol=1e-5)
        r = fattr.Scorer(fattr.Sketch.build(self.mlp, self.images[0], loss="multi-label"), self.mlp).score(self.images[2])
        z = self.mlp.run(self.images[2]).astype(float)
        np.testing.assert_array_equal(r.predicted, np.where(z.max(1) > 0, z.argmax(1), -1))
        np.testing.assert_allclose(r.confidence, np.exp(-np.log1p(np.exp(-np.abs(z))).mean(1)), rtol=1e-5)
        for loss in ("regression", "embedding"):
            r = fattr.Scorer(fattr.Sketch.build(self.mlp, self.images[0], loss=loss), self.mlp).score(self.images[2])
            self.assertTrue((r.predicted == -1).all() and np.isnan(r.confidence).all())

    def test_a_function_sees_the_rows_it_is_asked_about(self):
        seen, lock = {}, threading.Lock()

        def loss(outputs, inputs):
            with lock:
                for z, (x,) in zip(outputs, zip(*inputs)):
                    seen[x.tobytes()] = z.copy()
            return margin(outputs)

        references, calibration, x = self.images
        fattr.Scorer(fattr.Sketch.build(self.mlp, references, calibration, loss=loss), self.mlp, loss=loss, max_batch=7).score(x)
        for batch in (references, calibration, x):
            for z, image in zip(self.mlp.run(batch), batch):
                np.testing.assert_allclose(seen[image.tobytes()], z, atol=1e-4)

    def test_what_a_function_does_wrong_is_raised_here(self):
        class Mine(Exception):
            pass

        def fails(outputs, inputs):
            raise Mine("mine")

        build = lambda loss: fattr.Sketch.build(self.mlp, self.images[0], loss=loss)  # noqa: E731
        with self.assertRaises(Mine):
            build(fails)
        with self.assertRaisesRegex(fattr.InputError, "shape"):
            build(lambda outputs, inputs: outputs[:, :3])
        with self.assertRaisesRegex(fattr.InputError, "NaN"):
            build(lambda outputs, inputs: outputs * np.nan)
        sketch = build(lambda outputs, inputs: margin(outputs))
        self.assertEqual(sketch.info.loss, 8)
        with self.assertRaisesRegex(fattr.StateError, "output_gradient"):
            fattr.Scorer(sketch, self.mlp)
        with self.assertRaises(Mine):
            fattr.Scorer(sketch, self.mlp, loss=fails).score(self.images[2])
        with self.assertRaisesRegex(fattr.ArgumentError, "loss"):
            build("hinge")
        with self.assertRaisesRegex(fattr.InputError, "per-token"):
            fattr.Sketch.build(self.gpt, self.words[0])
        with self.assertRaises(TypeError):
            build_with = fattr.Sketch.build(self.mlp, self.images[0], output_gradient=fails)
            del build_with

    def test_a_detector_takes_a_loss(self):
        x = np.concatenate(self.words[:2])
        d = fattr.Detector(GPT, loss="next-token", random_state=1, alpha=0.1, sketch_options=UNWEIGHTED).fit(x)
        self.assertEqual(d.sketch_.info.loss, 2)
        self.assertEqual(d.predict(self.words[2]).shape, (20,))
        ours = fattr.Detector(GPT, loss=next_token, random_state=1, alpha=0.1, sketch_options=UNWEIGHTED).fit(x)
        np.testing.assert_allclose(ours.score_samples(self.words[2]), d.score_samples(self.words[2]), atol=2e-4)


if __name__ == "__main__":
    unittest.main()
