# SPDX-License-Identifier: Apache-2.0
"""What is refused, and how it is said."""
import ctypes
import os
import pathlib
import pickle
import tempfile
import unittest

import numpy as np

import fattr
from fattr import errors
from support import MODELS, images


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = fattr.Model.load(MODELS / "mlp.onnx")
        cls.x = images(20, 1)
        cls.sketch = fattr.Sketch.build(cls.model, cls.x, images(20, 2))

    def fails(self, kind, name, text, call, *arguments, **options):
        with self.assertRaisesRegex(kind, text) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.name, name)
        self.assertIsInstance(caught.exception, fattr.FattrError)
        return caught.exception

    def test_files(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s.fattr")
            e = self.fails(fattr.FileError, "FA_ERR_IO", "s.fattr", fattr.Sketch.load, path)
            self.assertIsInstance(e, OSError)
            self.fails(fattr.FileError, "FA_ERR_IO", "", fattr.Model.load, folder)
            self.fails(fattr.FileError, "FA_ERR_IO", "", self.sketch.save, os.path.join(folder, "none", "s"))
            self.sketch.save(path)
            data = pathlib.Path(path).read_bytes()
        self.fails(fattr.FormatError, "FA_ERR_FORMAT", "", fattr.Sketch.from_bytes, data[:100])
        self.fails(fattr.FormatError, "FA_ERR_CHECKSUM", "", fattr.Sketch.from_bytes, data[:-1] + bytes([data[-1] ^ 1]))
        self.fails(fattr.FormatError, "FA_ERR_FORMAT", "", fattr.Model.from_bytes, b"not a model")
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "zero byte", fattr.Model.load, "a\0b")

    def test_models(self):
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "no value 'nothing'", fattr.Model.load, MODELS / "mlp.onnx", output="nothing")
        self.fails(fattr.MismatchError, "FA_ERR_MISMATCH", "", fattr.Scorer, self.sketch, fattr.Model.load(MODELS / "clean.onnx"))
        self.fails(fattr.OutOfMemoryError, "FA_ERR_MEMORY", "", fattr.Model.load, MODELS / "mlp.onnx", context=fattr.Context(memory_limit=1000))
        with self.assertRaises(TypeError):
            fattr.Model(MODELS / "mlp.onnx")
        with self.assertRaises(ctypes.ArgumentError):
            fattr.Scorer(self.model, self.sketch).score(self.x)

    def test_inputs(self):
        scorer = fattr.Scorer(self.sketch, self.model, max_batch=8)
        bad = self.x.copy()
        bad[17, 0, 3, 3] = np.nan
        self.fails(fattr.InputError, "FA_ERR_NOT_FINITE", "inputs 16 to 19: .*input 1 ", scorer.score, bad)
        self.fails(fattr.InputError, "FA_ERR_SHAPE", "image", scorer.score, self.x[:, :, 1:])
        self.fails(fattr.InputError, "FA_ERR_SHAPE", "", scorer.score, np.float32(1))
        self.fails(fattr.InputError, "FA_ERR_SHAPE", "", scorer.score, ())
        self.fails(fattr.InputError, "FA_ERR_DTYPE", "complex", scorer.score, self.x.astype(complex))
        self.fails(fattr.InputError, "FA_ERR_DTYPE", "object", scorer.score, np.array([None]))
        self.fails(fattr.InputError, "FA_ERR_SHAPE", "", scorer.score, (self.x, self.x[:3]))
        with self.assertRaises(fattr.FattrError):
            scorer.score({"nothing": self.x})
        self.assertTrue(np.isfinite(scorer.score(self.x).score).all())

    def test_options(self):
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "k_in", fattr.Sketch.build, self.model, self.x, k_in=1000)
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "k_in: 4294967312 is out of range", fattr.Sketch.build, self.model, self.x, k_in=2**32 + 16)
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "'all' is none of both", fattr.Sketch.build, self.model, self.x, blocks="all")
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "'best' is none of cone", fattr.Scorer, self.sketch, self.model, score="best")
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "alpha", fattr.Scorer, self.sketch, self.model, alpha=0.01)
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "max_batch", fattr.Scorer, self.sketch, self.model, max_batch=-1)
        self.assertEqual(fattr.Scorer(self.sketch, self.model, max_batch=0).score(self.x).score.shape, (20,))
        bare = self.sketch.recalibrate(self.model, None)
        self.fails(fattr.StateError, "FA_ERR_STATE", "", fattr.Scorer, bare, self.model, alpha=0.1)
        self.fails(fattr.StateError, "FA_ERR_STATE", "", bare.calibration)
        with self.assertRaises(TypeError):
            fattr.Sketch.build(self.model, self.x, k_in=1.5)
        with self.assertRaises((TypeError, KeyError)):
            fattr.Sketch.build(self.model, self.x, k_inn=1)

    def test_reference_sets(self):
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "empty", fattr.RefSet, self.x[:0])
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "id 3", fattr.RefSet, self.x, ids=[3] * 20)
        self.fails(fattr.InputError, "FA_ERR_SHAPE", "labels", fattr.RefSet, self.x, labels=[1, 2])
        self.fails(fattr.InputError, "FA_ERR_DTYPE", "labels", fattr.RefSet, self.x, labels=[0.5] * 20)
        self.fails(fattr.StateError, "FA_ERR_STATE", "labels", lambda: fattr.RefSet(self.x).labels)
        self.fails(fattr.ArgumentError, "FA_ERR_ARGUMENT", "", fattr.Sketch.build, self.model, self.x[:1])

    def test_pickle(self):
        e = pickle.loads(pickle.dumps(errors.error("FA_ERR_CHECKSUM", "words")))
        self.assertEqual((type(e), e.name, e.status, str(e)), (fattr.FormatError, "FA_ERR_CHECKSUM", -5, "words"))

    def test_timeout(self):
        clean = fattr.Model.load(MODELS / "clean.onnx")
        self.fails(fattr.CancelledError, "FA_ERR_CANCELLED", "", fattr.Sketch.build, clean, images(200, 1), timeout=0.001)


if __name__ == "__main__":
    unittest.main()
