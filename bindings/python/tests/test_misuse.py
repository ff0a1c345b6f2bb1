# SPDX-License-Identifier: Apache-2.0
"""Arrays, objects and moments that a caller should not have brought: each is an exception with the reason, or simply works; never a crash."""
import gc
import threading
import unittest

import numpy as np

import fattr
from support import MODELS, images, run_python

BUILD = """
import fattr, numpy, sys, threading, time
model = fattr.Model.load(sys.argv[1])
x = numpy.random.default_rng(0).random((300, 1, 28, 28), "f4")
sketch = fattr.Sketch.build(model, x[:150], x[150:])
scorer = fattr.Scorer(sketch, model)
"""


class Arrays(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = fattr.Model.load(MODELS / "mlp.onnx")
        cls.x = images(24, 1)
        cls.sketch = fattr.Sketch.build(cls.model, cls.x, images(20, 2))
        cls.scorer = fattr.Scorer(cls.sketch, cls.model)
        cls.want = cls.scorer.score(cls.x).score

    def entries(self):
        """Every function that takes inputs."""
        yield "score", self.scorer.score
        yield "run", self.model.run
        yield "refset", fattr.RefSet
        yield "build", lambda x: fattr.Sketch.build(self.model, x)
        yield "calibration", lambda x: fattr.Sketch.build(self.model, self.x, x)
        yield "recalibrate", lambda x: self.sketch.recalibrate(self.model, x)
        yield "estimate", lambda x: fattr.Sketch.memory_estimate(self.model, x)
        yield "fit", fattr.Detector(MODELS / "mlp.onnx", alpha=0.2).fit

    def test_refused_by_all(self):
        x = self.x
        bad = {"object": np.full((3, 1, 28, 28), None), "objects": x.astype(object).astype(str), "complex": x.astype(complex), "text": np.array(["a"]),
               "dates": np.zeros((3, 784), "M8[s]"), "record": np.zeros(3, [("a", "f4")]), "scalar": 1.0, "string": "image", "ragged": [[1.0], [1.0, 2.0]],
               "nan": np.full_like(x, np.nan), "overflow": np.full((9, 1, 28, 28), 1e300), "shape": x[:, :, :27], "zero-width": x[:, :, :, :0], "rank 9": x.reshape((24,) + (1,) * 6 + (28, 28)),
               "masked": np.ma.masked_less(x, 0.5), "names": {1: x}, "zero byte": {"a\0b": x}, "nobody": {"nobody": x}, "none": (), "no names": {}, "two": (x, x), "generator": (v for v in x),
               "class": object(), "float128": x.astype(np.longdouble)}
        for what, value in bad.items():
            for entry, call in self.entries():
                if (entry, what) in (("fit", "masked"), ("fit", "float128"), ("fit", "overflow"), ("fit", "rank 9")) or (entry == "refset" and what in ("shape", "zero-width", "nobody", "two")):
                    continue  # a set alone knows no model; scikit-learn's check of arrays takes the data of masked ones and converts long doubles; fit() flattens
                with self.subTest(f"{entry}: {what}"):
                    with self.assertRaises((fattr.FattrError, ValueError, TypeError)) as caught:
                        call(value)
                    self.assertTrue(str(caught.exception))
        np.testing.assert_array_equal(self.scorer.score(x).score, self.want)

    def test_empty(self):
        for entry, call in self.entries():
            if entry == "score":
                self.assertEqual(call(self.x[:0]).score.shape, (0,))
            else:
                with self.subTest(entry), self.assertRaises((fattr.FattrError, ValueError)):
                    call(self.x[:0])

    def test_taken_as_they_are(self):
        x = self.x
        frozen = x.copy()
        frozen.flags.writeable = False
        backwards = np.ascontiguousarray(x[::-1])[::-1]
        for what, value in {"read-only": frozen, "reversed": backwards, "Fortran": np.asfortranarray(x), "transposed": np.ascontiguousarray(x.T).T, "strided": np.repeat(x, 2, 0)[::2],
                            "broadcast": None, "big-endian": x.astype(">f4"), "list": x.tolist(), "memoryview": memoryview(x), "bytes": np.frombuffer(x.tobytes(), "f4").reshape(x.shape)}.items():
            if what == "broadcast":
                one = np.broadcast_to(x[0], x.shape)
                np.testing.assert_allclose(self.scorer.score(one).score, self.want[0], atol=1e-5)
            else:
                np.testing.assert_array_equal(self.scorer.score(value).score, self.want, what)
        self.assertFalse(frozen.flags.writeable)

    def test_no_copies(self):
        """What fits is handed over where it is."""
        from fattr import _arrays
        for kind in ("float32", "uint8", "float64", "int64", "bool", "float16"):
            a = np.zeros((4, 1, 28, 28), kind)
            a.flags.writeable = False
            (_, taken), = _arrays.inputs(a)
            self.assertEqual(_arrays.c_arrays([(None, taken)])[0].data, a.ctypes.data)

    def test_changed_while_scoring(self):
        """Another thread overwrites the array: some result or an error, no crash."""
        x, stop = self.x.copy(), threading.Event()

        def scribble():
            while not stop.is_set():
                x[:] = np.nan
                x[:] = 1
        t = threading.Thread(target=scribble)
        t.start()
        try:
            for _ in range(200):
                try:
                    self.scorer.score(x)
                except fattr.InputError:
                    pass
        finally:
            stop.set()
            t.join()
        np.testing.assert_array_equal(self.scorer.score(self.x).score, self.want)


class Closed(unittest.TestCase):
    def setUp(self):
        self.context = fattr.Context()
        self.model = fattr.Model.load(MODELS / "mlp.onnx", context=self.context)
        self.x = images(24, 1)
        self.set = fattr.RefSet(self.x, context=self.context)
        self.sketch = fattr.Sketch.build(self.model, self.set, images(20, 2))
        self.scorer = fattr.Scorer(self.sketch, self.model)

    def test_each(self):
        """Every public member of a closed object says so."""
        used = {"run": (self.x,), "score": (self.x,), "tokens": (self.x,), "save": ("/tmp/never",), "check_model": (self.model,), "recalibrate": (self.model, None)}
        for o in (self.scorer, self.sketch, self.set, self.model, self.context):
            o.close()
            o.close()
            for name in dir(type(o)):
                if name.startswith("_") or name in ("close", "load", "from_bytes", "build", "merge", "merge_shards", "memory_estimate"):
                    continue
                if name in ("context", "info") and isinstance(o, (fattr.Model, fattr.Scorer)) and name in vars(o):
                    continue
                with self.subTest(f"{type(o).__name__}.{name}"), self.assertRaisesRegex(fattr.StateError, "is closed"):
                    member = getattr(o, name)
                    member(*used.get(name, ()))
        with self.assertRaises(fattr.StateError):
            len(self.set)

    def test_as_arguments(self):
        model = fattr.Model.load(MODELS / "mlp.onnx")
        self.model.close()
        self.set.close()
        self.context.close()
        for call in (lambda: fattr.Scorer(self.sketch, self.model), lambda: fattr.Sketch.build(self.model, self.x), lambda: fattr.Sketch.build(model, self.set),
                     lambda: fattr.Model.load(MODELS / "mlp.onnx", context=self.context), lambda: self.sketch.check_model(self.model)):
            with self.assertRaisesRegex(fattr.StateError, "is closed"):
                call()
        self.assertEqual(self.scorer.score(self.x).score.shape, (24,))  # it holds references of its own

    def test_closed_default_context(self):
        fattr.default_context().close()
        self.assertGreater(fattr.Model.load(MODELS / "mlp.onnx").info.layer_count, 0)

    def test_half_made(self):
        for kind in (fattr.Model, fattr.Sketch, fattr.Scorer, fattr.RefSet):
            with self.assertRaises(fattr.StateError):
                kind.__new__(kind).handle
        with self.assertRaises(fattr.FattrError):
            fattr.RefSet(self.x[:0])
        gc.collect()

    def test_of_another_kind(self):
        for call in (lambda: fattr.Scorer(self.model, self.sketch), lambda: fattr.Sketch.build(self.sketch, self.x), lambda: self.sketch.check_model(None),
                     lambda: fattr.Sketch.build(self.model, self.model), lambda: fattr.Model.load(None), lambda: fattr.Model.from_bytes(None), lambda: fattr.Context(threads="many"),
                     lambda: fattr.Scorer(self.sketch, self.model, alpha="low"), lambda: fattr.Scorer(self.sketch, self.model, score=None), lambda: self.sketch.audit(3),
                     lambda: fattr.Sketch.build(self.model, self.set, progress=3), lambda: fattr.Sketch.build(self.model, self.set, progress_user=3),
                     lambda: fattr.Sketch.build(self.model, self.set, struct_size=3), lambda: fattr.Sketch.build(self.model, self.set, timeout="long")):
            with self.assertRaises(Exception) as caught:
                call()
            self.assertNotIsInstance(caught.exception, (SystemError, MemoryError))


class Exits(unittest.TestCase):
    def run_clean(self, program, model="mlp.onnx"):
        done = run_python(BUILD + program, MODELS / model)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def test_live_handles(self):
        self.run_clean("kept = [fattr.Scorer(sketch, model) for _ in range(3)]\nkept.append(kept)\nsys.modules['keep'] = kept")

    def test_threads_in_calls(self):
        self.run_clean("def work():\n    s = fattr.Scorer(sketch, model)\n    while True: s.score(x)\n"
                       "for _ in range(3): threading.Thread(target=work, daemon=True).start()\ntime.sleep(0.3)")

    def test_building_thread(self):
        self.run_clean("threading.Thread(target=lambda: [fattr.Sketch.build(model, x, progress=lambda *_: None) for _ in range(1000)], daemon=True).start()\ntime.sleep(0.3)", "clean.onnx")

    def test_exit_in_a_callback(self):
        done = run_python(BUILD + "fattr.Sketch.build(model, x, progress=lambda *_: sys.exit(7))", MODELS / "mlp.onnx")
        self.assertEqual((done.returncode, done.stderr), (7, ""))

    def test_callback_uses_the_library(self):
        self.run_clean("seen = []\nfattr.Sketch.build(model, x, batch=4, progress=lambda *_: seen.append(scorer.score(x[:1])) or fattr.Sketch.build(model, x[:9]) and None)\nassert seen")

    def test_callback_closes_the_model(self):
        self.run_clean("m = fattr.Model.load(sys.argv[1])\nassert fattr.Sketch.build(m, x, batch=4, progress=lambda *_: m.close()).info.reference_count == 300")

    def test_bar(self):
        """progress=True: tqdm's bar, or a line where tqdm is not installed."""
        for block, says in (("sys.modules['tqdm.auto'] = None; sys.modules['tqdm'] = None\n", "%"), ("", None)):
            done = run_python(BUILD + block + "fattr.Sketch.build(model, x, batch=4, progress=True)", MODELS / "clean.onnx")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stderr if says is None else says in done.stderr)


if __name__ == "__main__":
    unittest.main()
