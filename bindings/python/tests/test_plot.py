# SPDX-License-Identifier: Apache-2.0
"""The pictures, drawn to memory: what they show is what the detector says."""
import sys
import unittest

import numpy as np

import fattr
from support import MODELS, images, run_python
from tiny_network import network

try:
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    print("skipped: no matplotlib here")
    sys.exit(77)


class Plots(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.x = images(80, 1)
        cls.detector = fattr.Detector(MODELS / "mlp.onnx", alpha=0.1).fit(cls.x)

    def tearDown(self):
        plt.close("all")

    def test_scores(self):
        d = self.detector
        ax = d.plot_scores({"blobs": images(20, 2), "noise": np.random.default_rng(0).random((25, 784), np.float32)})
        ax.figure.canvas.draw()
        labels = [t.get_text() for t in ax.get_legend().get_texts()]
        self.assertEqual({label.split(" (")[0].split(" at")[0] for label in labels}, {"calibration", "blobs", "noise", "threshold"})
        self.assertAlmostEqual(ax.lines[0].get_xdata()[0], -d.offset_)
        self.assertIs(d.plot_scores(self.x, ax=ax), ax)

    def test_explanation(self):
        d = self.detector
        figure = d.plot_explanation(self.x[d.reference_ids_[3]], top=4)
        figure.canvas.draw()
        self.assertEqual(len(figure.axes), 5)
        np.testing.assert_allclose(figure.axes[0].images[0].get_array(), figure.axes[1].images[0].get_array())  # a reference explains itself
        self.assertIn(f"#{d.reference_ids_[3]}", figure.axes[1].get_title())
        self.assertIn("score", figure.get_suptitle() if hasattr(figure, "get_suptitle") else figure._suptitle.get_text())
        with self.assertRaises(fattr.InputError):
            d.plot_explanation(self.x[:2])

    def test_explanation_without_pictures(self):
        d = fattr.Detector(lambda X: fattr.Model.from_bytes(network(X.shape[1])), alpha=0.1).fit(np.random.default_rng(0).normal(size=(60, 7)))
        ax = d.plot_explanation(np.ones(7), top=3).axes[0]
        e = d.explain(np.ones((1, 7)), 3)
        np.testing.assert_allclose([p.get_width() for p in ax.patches], e.weights[0][::-1])

    def test_couplings(self):
        ax = self.detector.plot_couplings(self.x[:15])
        ax.figure.canvas.draw()
        shown = ax.images[0].get_array()
        self.assertEqual(shown.shape, (15, 40))
        np.testing.assert_allclose(np.sort(shown.ravel()), np.sort(self.detector.result(self.x[:15]).couplings.ravel()))

    def test_not_fitted(self):
        for draw in ("plot_scores", "plot_explanation", "plot_couplings"):
            with self.assertRaisesRegex(ValueError, "not fitted"):
                getattr(fattr.Detector(MODELS / "mlp.onnx"), draw)(self.x[:1])

    def test_without_matplotlib(self):
        program = ("import sys\nsys.modules['matplotlib'] = None\nimport fattr, numpy\n"
                   "d = fattr.Detector(sys.argv[1], alpha=0.2).fit(numpy.random.default_rng(0).random((60, 784), 'f4'))\nd.plot_scores(numpy.ones((2, 784), 'f4'))")
        self.assertIn("ImportError: plots need matplotlib", run_python(program, MODELS / "mlp.onnx").stderr)


if __name__ == "__main__":
    unittest.main()
