# SPDX-License-Identifier: Apache-2.0
"""The Python package, over the library it will be used with. Run by meson, which sets the FATTR_... variables."""

import ctypes
import gc
import json
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import numpy as np

import fattr
from fattr import _native, errors

ROOT = pathlib.Path(os.environ["FATTR_SOURCE_ROOT"])
MODELS = ROOT / "examples" / "models"
N_REF, N_CAL = 60, 40


def images(n, seed):
    """Made-up pictures [n, 1, 28, 28] in [0, 1]: blobs at random places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    out = np.zeros((n, 1, 28, 28), np.float32)
    for image in out[:, 0]:
        for _ in range(rng.integers(1, 4)):
            (cx, cy), (rx, ry) = rng.uniform(6, 22, 2), rng.uniform(3, 12, 2)
            image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = rng.uniform(0.3, 1)
        image *= rng.uniform(0.8, 1, (28, 28))
    return out


class Interface(unittest.TestCase):
    """_native.py against the compiler's view of the headers."""

    @classmethod
    def setUpClass(cls):
        cls.layout = json.loads(subprocess.run([os.environ["FATTR_LAYOUT"]], check=True, capture_output=True).stdout)

    def test_structs(self):
        kinds = {ctypes.c_double: "d", ctypes.c_float: "f", ctypes.c_uint8: "u1", ctypes.c_int32: "i4", ctypes.c_int64: "i8", ctypes.c_uint64: "u8"}
        self.assertEqual(set(self.layout["structs"]), set(_native.STRUCTS))
        for name, (size, fields) in self.layout["structs"].items():
            struct = _native.STRUCTS[name]
            self.assertEqual(ctypes.sizeof(struct), size, name)
            ours = []
            for field, kind in struct._fields_:
                place = getattr(struct, field)
                ours.append([field, place.offset, place.size, kinds.get(getattr(kind, "_type_", None) if issubclass(kind, ctypes.Array) else kind, "p")])
            self.assertEqual(ours, fields, name)

    def test_functions(self):
        declared = set()
        for header in (ROOT / "include" / "fattr").glob("*.h"):
            if header.name != "npz.h":
                text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.S)
                declared |= {" ".join(d.split()) for d in re.findall(r"^FA_API ([^;]+;)", text, flags=re.M)}
        self.assertEqual(declared, set(_native.FUNCTIONS.strip().splitlines()))
        self.assertGreater(len(declared), 50)
        self.assertIs(_native.lib.fa_score_batch.argtypes[4], ctypes.c_int64)
        self.assertIs(_native.lib.fa_context_kernels.restype, ctypes.c_char_p)

    def test_constants(self):
        ours = dict(errors.NUMBERS)
        ours.update({"FA_" + name.upper(): number for name, number in _native.DTYPES.items()})
        for prefix, table in (("FA_SCORE_", _native.SCORES), ("FA_BLOCKS_", _native.BLOCKS), ("FA_LOSS_", _native.LOSSES), ("FA_KERNELS_", _native.KERNELS),
                              ("FA_SAMPLER_", _native.SAMPLERS), ("FA_DRAWS_", _native.DRAWS), ("FA_BATCHNORM_", _native.BATCHNORM)):
            ours.update({prefix + name.upper().replace("-", "_"): number for name, number in table.items()})
        ours.update(FA_MAX_DIMS=_native.MAX_DIMS, FA_DIGEST_SIZE=_native.DIGEST_SIZE, FA_SCORE_COUNT=len(_native.SCORES), FA_SCORE_COMMON_COUNT=5)
        theirs = {n: v for n, v in self.layout["constants"].items() if not n.startswith(("FA_VERSION_", "FA_LOG_")) and n != "FA_OK"}
        self.assertEqual(ours, theirs)
        for name, number in errors.NUMBERS.items():
            self.assertEqual(_native.lib.fa_status_name(number).decode(), name)
        for name, number in _native.SCORES.items():
            self.assertEqual(_native.lib.fa_score_name(number).decode(), name)

    def test_version(self):
        c = self.layout["constants"]
        self.assertEqual(fattr.__version__, f"{c['FA_VERSION_MAJOR']}.{c['FA_VERSION_MINOR']}.{c['FA_VERSION_PATCH']}")
        self.assertTrue(fattr.build_info())


class Life(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.context = fattr.Context(threads=2)
        cls.references = images(N_REF, 1)
        cls.model = fattr.Model.load(MODELS / "clean.onnx", context=cls.context)
        cls.sketch = fattr.Sketch.build(cls.model, cls.references, images(N_CAL, 2), ridge=0.1)

    def test_references_explain_themselves(self):
        scorer = fattr.Scorer(self.sketch, self.model, max_batch=8, all_scores=True, residual=True)
        r = scorer.score(self.references)
        for name in ("score", "p_value", "flagged", "no_signal", "predicted", "confidence"):
            self.assertEqual(getattr(r, name).shape, (N_REF,), name)
        np.testing.assert_allclose(np.diag(r.couplings), 1, atol=1e-4)
        self.assertTrue((r.score >= 0).all() and (r.score < 0.1).all())
        self.assertTrue((r.weights >= 0).all())
        np.testing.assert_allclose((r.residual.astype(float) ** 2).sum(1), r.score, atol=1e-4)
        self.assertEqual(r.residual.shape[1], self.sketch.info.signature_length)
        self.assertEqual(list(r.scores), list(_native.SCORES)[:5])
        np.testing.assert_array_equal(r.scores["cone"], r.score)
        np.testing.assert_allclose(r.scores["mean"], -r.couplings.mean(1), atol=1e-5)
        np.testing.assert_array_equal(r.flagged, r.p_value <= 0.05)
        np.testing.assert_array_equal(r.predicted, [reference.predicted for reference in self.sketch.references])
        m = np.sort(self.sketch.calibration())
        np.testing.assert_allclose(r.p_value, [(1 + (m >= s).sum()) / (1 + len(m)) for s in r.score])
        self.assertGreater(scorer.timing.forward_ns, 0)
        forward, score = scorer.flops
        self.assertGreater(score, forward)

    def test_batches_give_what_single_calls_give(self):
        x = images(13, 9)
        many = fattr.Scorer(self.sketch, self.model, max_batch=5).score(x)
        one = fattr.Scorer(self.sketch, self.model, max_batch=1)
        singles = [one.score(x[i:i + 1]) for i in range(len(x))]
        np.testing.assert_allclose(many.score, [s.score[0] for s in singles], atol=1e-5)
        np.testing.assert_allclose(many.couplings, np.concatenate([s.couplings for s in singles]), atol=1e-5)
        np.testing.assert_allclose(many.weights, np.concatenate([s.weights for s in singles]), atol=1e-3)
        empty = one.score(x[:0])
        self.assertEqual((empty.score.shape, empty.couplings.shape), ((0,), (0, N_REF)))

    def test_results_are_copies(self):
        scorer = fattr.Scorer(self.sketch, self.model)
        first = scorer.score(images(3, 5))
        before = first.couplings.copy()
        scorer.score(images(3, 6))
        np.testing.assert_array_equal(first.couplings, before)

    def test_any_dtype_and_layout(self):
        scorer = fattr.Scorer(self.sketch, self.model)
        whole = np.round(images(4, 7) * 4)
        want = scorer.score(whole).score
        for kind in ("float64", "float16", ">f4", "uint8", "int8", ">i2", "uint16", "int32", "int64", "uint32", "uint64"):
            np.testing.assert_array_equal(scorer.score(whole.astype(kind)).score, want, kind)
        np.testing.assert_array_equal(scorer.score(whole > 1).score, scorer.score((whole > 1).astype(np.float32)).score)
        np.testing.assert_array_equal(scorer.score(np.asfortranarray(whole)).score, want)
        np.testing.assert_array_equal(scorer.score(whole.repeat(2, axis=0)[::2]).score, want)
        odd = np.frombuffer(b"x" + whole.tobytes(), np.uint8)[1:].view(np.float32).reshape(whole.shape)
        np.testing.assert_array_equal(scorer.score(odd).score, want)
        np.testing.assert_array_equal(scorer.score(whole.tolist()).score, want)
        np.testing.assert_array_equal(scorer.score({"image": whole}).score, want)
        np.testing.assert_array_equal(scorer.score((whole,)).score, want)

    def test_files(self):
        x = images(5, 4)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "s ü.fattr"
            self.sketch.save(path)
            data = path.read_bytes()
            read = fattr.Sketch.load(path)
        self.assertEqual(read.info, self.sketch.info)
        read.check_model(self.model)
        for sketch in (read, fattr.Sketch.from_bytes(data)):
            for a, b in zip(fattr.Scorer(sketch, self.model).score(x)[:6], fattr.Scorer(self.sketch, self.model).score(x)[:6]):
                np.testing.assert_array_equal(a, b)
        model = fattr.Model.from_bytes((MODELS / "clean.onnx").read_bytes())
        self.assertEqual(model.digest, self.model.digest)
        self.assertEqual(model.digest, self.sketch.info.model_digest)

    def test_model(self):
        info = self.model.info
        self.assertEqual((info.class_count, len(self.model.nodes), len(self.model.layers)), (10, info.node_count, info.layer_count))
        (x,) = self.model.inputs
        self.assertEqual((x.name, x.dtype, x.shape), ("image", "float32", (-1, 1, 28, 28)))
        logits = self.model.run(self.references)
        self.assertEqual((logits.shape, logits.dtype), ((N_REF, 10), np.float32))
        np.testing.assert_array_equal(logits.argmax(1), [r.predicted for r in self.sketch.references])
        node = next(n for n in self.model.nodes if n.op == "Conv")
        self.assertEqual(len(self.model.run(self.references[:2], node.name)), 2)
        constant = next(n for n in self.model.nodes if n.op == "Identity")
        np.testing.assert_array_equal(self.model.run(self.references[:2], constant.name), self.model.run(self.references, constant.output))
        self.assertTrue({layer.name for layer in self.sketch.layers} <= {layer.name for layer in self.model.layers})
        self.assertEqual(self.model.layers[0].inputs, next(layer.inputs for layer in self.sketch.layers if layer.name == self.model.layers[0].name))

    def test_reference_sets(self):
        labels = np.arange(N_REF, dtype=np.int16) % 10
        s = fattr.RefSet(self.references, labels=labels, ids=range(100, 100 + N_REF))
        self.assertEqual(len(s), N_REF)
        np.testing.assert_array_equal(s.labels, labels)
        np.testing.assert_array_equal(s.ids, np.arange(100, 100 + N_REF))
        sketch = fattr.Sketch.build(self.model, s, k_in=4, k_out=4, blocks="plain", loss="cross-entropy", seed=7, layers=self.model.layers[-1].name)
        self.assertEqual((sketch.info.k_in, sketch.info.blocks, sketch.info.loss, sketch.info.seed, sketch.info.layer_count), (4, 1, 1, 7, 1))
        self.assertEqual([(r.id, r.label) for r in sketch.references], list(zip(s.ids, labels)))
        self.assertEqual(sketch.info.references_digest, s.digest)
        r = fattr.Scorer(sketch, self.model, score="topk").score(self.references[:2])
        self.assertIsNone(r.flagged)
        self.assertIsNone(r.weights)
        self.assertIsNone(r.residual)
        self.assertTrue(np.isnan(r.p_value).all())
        again = sketch.recalibrate(self.model, images(N_CAL, 2))
        self.assertEqual(again.info.calibration_count, N_CAL)
        self.assertTrue((np.diff(again.calibration("span")) >= 0).all())

    def test_merge_shards(self):
        x = images(40, 7)
        parts = [fattr.RefSet(x[a:b], ids=range(a, b)) for a, b in ((0, 25), (25, 40))]
        shards = [fattr.Sketch.build(self.model, p, keep_moments=True) for p in parts]
        self.assertEqual(shards[0].info.has_moments, 1)
        merged = fattr.Sketch.merge_shards(self.model, shards, parts, images(N_CAL, 2))
        self.assertEqual((merged.info.reference_count, merged.info.calibration_count, merged.info.has_moments), (40, N_CAL, 0))
        other = fattr.Sketch.merge_shards(self.model, shards[::-1], parts[::-1], images(N_CAL, 2))
        self.assertTrue((merged.audit() == other.audit()).all())
        self.assertTrue((merged.calibration() == other.calibration()).all())
        with self.assertRaisesRegex(fattr.MismatchError, "sketch 0"):
            fattr.Sketch.merge_shards(self.model, shards, parts[::-1])
        with self.assertRaises(ValueError):
            fattr.Sketch.merge_shards(self.model, shards, parts[:1])

    def test_audit_and_estimate(self):
        for score in list(_native.SCORES)[:5]:
            a = self.sketch.audit(score)
            self.assertEqual(a.shape, (N_REF,))
            self.assertTrue(np.isfinite(a).all())
        e = fattr.Sketch.memory_estimate(self.model, self.references, images(N_CAL, 2))
        self.assertGreater(e.build_bytes, e.sketch_bytes)

    def test_mlp(self):
        """On a tree of one's own context everything is given back."""
        with fattr.Context(kernels="reference") as context:
            self.assertEqual(context.kernels, "reference")
            model = fattr.Model.load(MODELS / "mlp.onnx", context=context)
            sketch = fattr.Sketch.build(model, self.references, images(N_CAL, 2))
            scorer = fattr.Scorer(sketch, model)
            kept = model
            model.close()
            sketch.close()
            r = scorer.score(np.concatenate([self.references[:5], np.random.default_rng(0).random((5, 1, 28, 28), np.float32)]))
            self.assertLess(r.score[:5].max(), r.score[5:].min())
            self.assertGreater(context.memory_used, 0)
            with self.assertRaisesRegex(fattr.StateError, "Model is closed"):
                kept.run(self.references)
            del scorer
            gc.collect()
            self.assertEqual(context.memory_used, 0)
            self.assertGreater(context.memory_peak, 0)

    def test_metrics(self):
        m = fattr.detection_metrics([0.1, 0.2, 0.3], [0.25, 0.9], acc=0.9)
        self.assertAlmostEqual(m.auroc, 5 / 6)
        with self.assertRaises(fattr.InputError):
            fattr.detection_metrics([np.nan], [1])

    def test_threads(self):
        """One scorer shared by threads, and closed while they use it."""
        x = images(12, 3)
        scorer = fattr.Scorer(self.sketch, self.model, max_batch=2)
        want, got, refused = scorer.score(x), [], []

        def work():
            try:
                for _ in range(200):
                    got.append(scorer.score(x))
            except fattr.StateError as e:
                refused.append(e)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        while len(got) < 8 and any(t.is_alive() for t in threads):
            threading.Event().wait(0.01)
        scorer.close()
        for t in threads:
            t.join()
        self.assertEqual(len(refused), 4)
        for r in got:
            np.testing.assert_array_equal(r.score, want.score)
            np.testing.assert_array_equal(r.couplings, want.couplings)


class Cancel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = fattr.Model.load(MODELS / "mlp.onnx", context=fattr.Context())
        cls.references = fattr.RefSet(images(N_REF, 1), context=cls.model.context)

    def setUp(self):
        self.used = self.model.context.memory_used

    def build(self, progress=None, **options):
        return fattr.Sketch.build(self.model, self.references, progress=progress, batch=4, **options)

    def check_unchanged(self):
        gc.collect()
        self.assertEqual(self.model.context.memory_used, self.used)

    def test_progress(self):
        seen = []
        self.assertEqual(self.build(lambda *a: seen.append(a)).info.reference_count, N_REF)
        self.assertTrue(seen)
        for stage, done, total in seen:
            self.assertTrue(isinstance(stage, str) and 0 <= done <= total)

    def test_true_cancels(self):
        with self.assertRaises(fattr.CancelledError):
            self.build(lambda *_: True)
        self.check_unchanged()

    def test_exception_cancels(self):
        def progress(*_):
            raise KeyError("mine")
        with self.assertRaisesRegex(KeyError, "mine"):
            self.build(progress)
        self.check_unchanged()

    def test_interrupt_cancels(self):
        calls = []

        def progress(*_):
            calls.append(signal.raise_signal(signal.SIGINT))
        before = signal.getsignal(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.build(progress)
        self.assertEqual(len(calls), 1)
        self.assertIs(signal.getsignal(signal.SIGINT), before)
        self.check_unchanged()

    def test_interrupt_from_outside(self):
        """Without a callback of one's own, at any moment: in another process, whose building never ends by itself."""
        program = ("import fattr, sys, numpy\n"
                   "m = fattr.Model.load(sys.argv[1])\n"
                   "r = fattr.RefSet(numpy.random.default_rng(0).random((300, 1, 28, 28), 'f4'))\n"
                   "print('started', flush=True)\n"
                   "kept = []\n"
                   "while True: kept.append(fattr.Sketch.build(m, r))\n")
        for delay in (0, 0.05, 0.13, 0.31):
            p = subprocess.Popen([sys.executable, "-c", program, MODELS / "clean.onnx"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                self.assertEqual(p.stdout.readline(), "started\n")
                threading.Event().wait(delay)
                p.send_signal(signal.SIGINT)
                _, said = p.communicate(timeout=60)
            finally:
                p.kill()
                p.wait()
            self.assertEqual(said.strip().splitlines()[-1], "KeyboardInterrupt")
            self.assertNotIn("Exception ignored", said)
            self.assertEqual(p.returncode, -signal.SIGINT)

    def test_another_thread_builds(self):
        out = []
        t = threading.Thread(target=lambda: out.append(self.build()))
        t.start()
        t.join()
        self.assertEqual(out[0].info.reference_count, N_REF)


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


class Loading(unittest.TestCase):
    def test_a_wrong_path_is_said(self):
        p = subprocess.run([sys.executable, "-c", "import fattr"], env={**os.environ, "FATTR_LIBRARY": "/nowhere/libfattr.so.0"}, capture_output=True, text=True)
        self.assertIn("ImportError: libfattr was not found", p.stderr)
        self.assertIn("/nowhere/libfattr.so.0", p.stderr)

    def test_beside_the_package(self):
        environment = {k: v for k, v in os.environ.items() if k != "FATTR_LIBRARY"}
        with tempfile.TemporaryDirectory() as folder:
            package = pathlib.Path(folder) / "fattr"
            package.mkdir()
            for source in pathlib.Path(fattr.__file__).parent.glob("*.py"):
                (package / source.name).write_bytes(source.read_bytes())
            (package / _native.SONAME).symlink_to(os.path.abspath(os.environ["FATTR_LIBRARY"]))
            p = subprocess.run([sys.executable, "-c", "import fattr; print(fattr.__version__)"], env={**environment, "PYTHONPATH": folder}, cwd=folder,
                               capture_output=True, text=True)
        self.assertEqual(p.stdout.strip(), fattr.__version__, p.stderr)


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
