# SPDX-License-Identifier: Apache-2.0
"""Mechanisms told apart, and the drift monitor."""
import os
import tempfile
import unittest

import numpy as np

import fattr
from support import MODELS, N_CAL, N_REF, images


class MechanismsAndDrift(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = fattr.Model.load(MODELS / "mlp.onnx", context=fattr.Context(threads=2))
        cls.sketch = fattr.Sketch.build(cls.model, images(N_REF, 1), images(N_CAL, 2))
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = os.path.join(cls.folder.name, "file")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_groups(self):
        base = images(40, 9)
        stripes = (0.15 * base[:20] + 0.85 * (np.arange(28) % 14 < 7)).astype(np.float32)
        scorer = fattr.Scorer(self.sketch, self.model, residual=True, max_batch=1)
        known = fattr.Mechanisms(self.sketch)
        self.assertEqual(len(known), 0)
        x = known.fingerprints(scorer.score(np.concatenate([stripes, base[20:]])).residual)
        np.testing.assert_allclose((x * x).sum(1), 1, atol=1e-5)
        self.assertEqual(known.assign(x)[0].tolist(), [-1] * 40)
        groups, known = known.group(x)
        counts = np.bincount(groups)
        self.assertEqual([known[i].count for i in range(len(known))], counts.tolist())
        self.assertEqual(len({m.name for m in known}), len(known))
        largest = known[0]
        self.assertTrue((groups[:20] == 0).mean() > 0.7 and (groups[20:] != 0).all())
        np.testing.assert_allclose(largest.center, x[groups == 0].mean(0), atol=1e-5)
        order = np.random.default_rng(0).permutation(40)
        np.testing.assert_array_equal(fattr.Mechanisms(self.sketch).group(x[order])[0], groups[order])
        # Saved, read, and used again.
        known.save(self.path)
        read = fattr.Mechanisms.load(self.sketch, self.path)
        with open(self.path, "rb") as f:
            self.assertEqual(len(fattr.Mechanisms.from_bytes(self.sketch, f.read())), len(known))
        self.assertEqual([m.name for m in read], [m.name for m in known])
        again, likeness = read.assign(x[groups == 0])
        self.assertTrue((again == 0).all() and (likeness > 0.55).all())
        more, grown = read.group(x)
        self.assertEqual((grown[0].name, grown[0].count), (largest.name, 2 * largest.count))
        self.assertTrue((more[groups == 0] == 0).all())

    def test_refuses(self):
        known = fattr.Mechanisms(self.sketch)
        known.save(self.path)
        other = fattr.Sketch.build(self.model, images(N_REF, 5))
        with self.assertRaisesRegex(fattr.MismatchError, "another sketch"):
            fattr.Mechanisms.load(other, self.path)
        with self.assertRaisesRegex(fattr.InputError, "residuals are an array"):
            known.fingerprints(np.zeros((2, 3)))
        with self.assertRaisesRegex(fattr.InputError, "fingerprints are an array"):
            known.group(np.zeros(4))
        with self.assertRaisesRegex(fattr.ArgumentError, "linkage"):
            fattr.Mechanisms(self.sketch, linkage=2)
        with self.assertRaises(IndexError):
            known[0]
        with self.assertRaises(fattr.FormatError):
            fattr.Mechanisms.from_bytes(self.sketch, b"nothing")

    def test_monitor(self):
        monitor = fattr.Monitor(calibration_count=1000)
        p = np.ceil(np.random.default_rng(1).random(500) * 1001) / 1001
        self.assertFalse(monitor.update(p))
        monitor.save(self.path)
        later = fattr.Monitor.load(self.path)
        self.assertEqual(later.state, monitor.state)
        self.assertEqual((later.state.count, later.state.alarm_at), (500, 0))
        self.assertGreater(later.state.smallest_p, 1 / 1001)
        self.assertTrue(later.update([1 / 1001] * 20))
        self.assertTrue(500 < later.state.alarm_at <= 520)
        self.assertGreaterEqual(later.state.log_wealth, later.state.log_threshold)
        self.assertFalse(monitor.update(0.5))
        later.reset()
        self.assertEqual((later.state.count, later.state.alarm_at, later.state.log_wealth), (0, 0, 0))
        for wrong in (0, 1.5, float("nan")):
            with self.assertRaisesRegex(fattr.ArgumentError, "p-value 0"):
                monitor.update(wrong)
        with self.assertRaisesRegex(fattr.ArgumentError, "false_alarm"):
            fattr.Monitor(false_alarm=2)


if __name__ == "__main__":
    unittest.main()
