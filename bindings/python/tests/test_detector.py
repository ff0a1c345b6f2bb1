# SPDX-License-Identifier: Apache-2.0
"""Detector: scikit-learn's conventions, and the figures behind them."""
import copy
import os
import pickle
import tempfile
import threading
import unittest

import numpy as np

import fattr
from support import MODELS, images, run_python
from tiny_network import network

ALPHA = 0.1


def make(model=None, **params):
    return fattr.Detector(model or str(MODELS / "mlp.onnx"), **{"alpha": ALPHA, **params})


class Works(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.x = images(120, 1)
        cls.odd = np.random.default_rng(0).random((30, 1, 28, 28), np.float32)
        cls.detector = make().fit(cls.x)

    def test_signs(self):
        d, x = make(alpha=0.4).fit(self.x), np.concatenate([images(20, 3), self.odd])
        r = d.result(x)
        np.testing.assert_array_equal(d.score_samples(x), -r.score)
        np.testing.assert_array_equal(d.decision_function(x), d.score_samples(x) - d.offset_)
        np.testing.assert_array_equal(d.predict(x) == -1, r.flagged)
        self.assertEqual(set(d.predict(x)), {-1, 1})
        self.assertGreater(d.score_samples(d.references_).min(), np.median(d.score_samples(self.odd)))
        self.assertEqual(set(d.predict(d.references_)), {1})

    def test_threshold_is_the_p_values(self):
        """predict and p <= alpha agree for every alpha, on and between the calibration scores."""
        for alpha in (1 / 61, 0.02, 0.05, 0.1, 2 / 61, 0.5, 0.98, 0.999):
            d = make(alpha=alpha).fit(self.x)
            m = d.calibration_scores_
            self.assertEqual(len(m), 60)
            values = np.concatenate([m, (m[1:] + m[:-1]) / 2, [-2, 2]])
            p = (1 + (m >= values[:, None]).sum(1)) / 61
            np.testing.assert_array_equal(-values - d.offset_ < 0, p <= alpha, str(alpha))

    def test_flat_and_shaped_inputs(self):
        d = self.detector
        self.assertEqual(d.n_features_in_, 784)
        want = d.score_samples(self.odd)
        np.testing.assert_array_equal(d.score_samples(self.odd.reshape(30, -1)), want)
        np.testing.assert_allclose(d.score_samples(self.odd.astype(float)), want, atol=1e-6)
        np.testing.assert_array_equal(make().fit(self.x.reshape(120, -1)).score_samples(self.odd), want)

    def test_explain(self):
        d = self.detector
        e = d.explain(self.x[d.reference_ids_[:8]], top=3)
        self.assertEqual(e.references.shape, (8, 3))
        np.testing.assert_array_equal(e.references[:, 0], d.reference_ids_[:8])  # a reference explains itself
        np.testing.assert_allclose(e.couplings[:, 0], 1, atol=1e-4)
        self.assertTrue((np.diff(e.weights, axis=1) <= 0).all())
        np.testing.assert_array_equal(d.references_[:8], self.x[d.reference_ids_[:8]])
        np.testing.assert_array_equal(make(method="topk").fit(self.x).explain(self.odd).couplings[:, 0], make(method="topk").fit(self.x).result(self.odd).couplings.max(1))

    def test_files_and_copies(self):
        d = self.detector
        want = d.decision_function(self.odd)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "d.fattr")
            d.save(path)
            read = fattr.Detector.load(path, d.model_, alpha=ALPHA)
            bare = os.path.join(folder, "bare.fattr")
            d.sketch_.recalibrate(d.model_, None).save(bare)
            with self.assertRaisesRegex(fattr.StateError, "without calibration"):
                fattr.Detector.load(bare, d.model_)
            with self.assertRaises(fattr.MismatchError):
                fattr.Detector.load(path, MODELS / "clean.onnx")
        for other in (read, pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
            np.testing.assert_array_equal(other.decision_function(self.odd), want)
            self.assertEqual(other.n_features_in_, 784)
        np.testing.assert_array_equal(read.explain(self.odd).references, d.explain(self.odd).references)
        model = pickle.loads(pickle.dumps(fattr.Model.from_bytes((MODELS / "mlp.onnx").read_bytes())))
        self.assertEqual(model.digest, d.model_.digest)
        moved = pickle.dumps(d.model_).replace(b"mlp.onnx", b"lf.onnx" + b"\0")
        self.assertNotEqual(moved, pickle.dumps(d.model_))
        with self.assertRaises(fattr.FattrError):
            pickle.loads(moved)

    def test_threads(self):
        """A scorer each, taken from the pool; the results of one thread."""
        want, got = self.detector.decision_function(self.x), []
        threads = [threading.Thread(target=lambda: got.append(self.detector.decision_function(self.x))) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(got), 4)
        for g in got:
            np.testing.assert_array_equal(g, want)

    def test_refused(self):
        for params, says in (({"alpha": 0.01}, "alpha: 0.01 cannot be held with 60 .* at least 198"), ({"calibration": 1.0}, "share"), ({"method": "best"}, "none of cone"),
                             ({"model": lambda X: None}, ""), ({"sketch_options": {"k_in": 1000}}, "k_in"), ({"sketch_options": {"kin": 1}}, "no option 'kin'")):
            with self.assertRaisesRegex((ValueError, TypeError), says):
                make(**params).fit(self.x)
        with self.assertRaisesRegex(fattr.ArgumentError, "needs a model"):
            fattr.Detector().fit(self.x)
        for bad, says in ((self.x[:1], "n_samples=1"), (self.x[:, :, 1:], "756 elements"), (self.x[0, 0, 0], ""), (self.x[:0], ""), (np.full_like(self.x, np.nan), ""),
                          (self.x.astype(complex), ""), (np.full((9, 784), "a", object), ""), ((self.x, self.x), "one array"), ({"image": self.x}, "one array"), ([[1], [1, 2]], "")):
            with self.assertRaisesRegex((ValueError, TypeError), says):
                make().fit(bad)
        with self.assertRaisesRegex(ValueError, "not fitted"):
            make().predict(self.x)
        with self.assertRaisesRegex(ValueError, "783 features"):
            self.detector.predict(self.x.reshape(120, -1)[:, 1:])

    def test_function_as_model(self):
        x = np.random.default_rng(1).normal(size=(80, 5))
        d = make(lambda X: fattr.Model.from_bytes(network(X.shape[1]))).fit(x)
        self.assertEqual(d.n_features_in_, 5)
        self.assertEqual(d.predict(x).shape, (80,))


WITHOUT_SKLEARN = """
import sys
sys.modules["sklearn"] = None
import fattr, numpy as np
assert "fattr.detector" not in sys.modules
x = np.random.default_rng(0).random((80, 1, 28, 28), np.float32)
d = fattr.Detector(sys.argv[1], alpha=0.2)
assert d.set_params(alpha=0.1).get_params()["alpha"] == 0.1
y = d.fit_predict(x)
assert set(np.unique(y)) <= {-1, 1} and d.n_features_in_ == 784
for bad in (x[:, 0, 0, 0], x[:0], x.astype(complex), np.full((9, 784), "a", object), x[:, :, 1:]):
    try:
        d.predict(bad)
    except ValueError:
        continue
    raise AssertionError(bad.shape)
assert (d.predict(x.astype(object)) == y).all()
"""


class ScikitLearn(unittest.TestCase):
    def test_import_is_lazy(self):
        done = run_python("import sys, fattr; assert 'sklearn' not in sys.modules and 'matplotlib' not in sys.modules; fattr.Detector")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_without(self):
        done = run_python(WITHOUT_SKLEARN, MODELS / "mlp.onnx")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_check_estimator(self):
        """All of scikit-learn's checks, over networks that fit their data: the model is a function of it."""
        from sklearn.utils import estimator_checks
        detector = make(_network_for, alpha=0.2)
        ran = 0
        newer = getattr(estimator_checks, "estimator_checks_generator", None)
        for estimator, check in newer(detector) if newer else estimator_checks.check_estimator(detector, generate_only=True):
            with self.subTest(getattr(check, "func", check).__name__):
                try:
                    check(estimator)
                    ran += 1
                except unittest.SkipTest as e:
                    print("skipped by scikit-learn:", e)
        self.assertGreater(ran, 25)


def _network_for(X):
    return fattr.Model.from_bytes(network(X.shape[1]))


if __name__ == "__main__":
    unittest.main()
