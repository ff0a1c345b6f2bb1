# SPDX-License-Identifier: Apache-2.0
"""Models, sets, sketches and scorers at work."""
import gc
import pathlib
import pickle
import tempfile
import threading
import unittest

import numpy as np

import fattr
from fattr import _native
from support import MODELS, N_CAL, N_REF, ROOT, images


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

    def test_bound_inputs(self):
        path = ROOT / "tests/fuzz/corpus/onnx/branches.onnx"
        x = np.array([3, -4], np.float32)
        for p, q, want in ((False, False, [3, -4]), (True, False, [-9, -16]), (True, True, [4, -2])):
            model = fattr.Model.load(path, bound={"p": np.array(p), "q": np.array(q)})
            self.assertEqual([i.name for i in model.inputs], ["x"])
            np.testing.assert_allclose(model.run(x), want)
            again = pickle.loads(pickle.dumps(model))
            self.assertEqual(again.digest, model.digest)
            np.testing.assert_allclose(fattr.Model.from_bytes(path.read_bytes(), bound={"q": q, "p": p}).run(x), want)
        with self.assertRaisesRegex(fattr.InputError, "bound input 'x': shape"):
            fattr.Model.load(path, bound={"x": np.zeros((1, 2, 3), np.float32)})

    def test_models_keep_so_many_plans(self):
        want = fattr.Model.load(MODELS / "mlp.onnx").run(images(3, 5))
        for plans in (1, 1024):
            model = pickle.loads(pickle.dumps(fattr.Model.load(MODELS / "mlp.onnx", plan_cache=plans)))
            np.testing.assert_array_equal(model.run(images(3, 5)), want)
        with fattr.Context() as context:
            used = []
            for plans in (1, 8):
                with fattr.Model.load(MODELS / "mlp.onnx", plan_cache=plans, context=context) as model:
                    for n in range(1, 9):
                        model.run(images(n, 5))
                    used.append(context.memory_used)
            self.assertGreater(used[1], used[0])
        for plans in (-1, 1025):
            with self.assertRaisesRegex(fattr.FattrError, "fa_model_options.plan_cache"):
                fattr.Model.load(MODELS / "mlp.onnx", plan_cache=plans)

    def test_packing(self):
        once = fattr.Model.load(MODELS / "clean.onnx", packing="once", context=self.context)
        self.assertEqual(once.digest, self.model.digest)
        pickle.loads(pickle.dumps(once))
        with self.assertRaisesRegex(fattr.ArgumentError, "packing: 'twice' is none of fast, once"):
            fattr.Model.load(MODELS / "clean.onnx", packing="twice")

    def test_precision(self):
        rounded = fattr.Model.load(MODELS / "clean.onnx", precision="bf16", context=self.context)
        self.assertEqual((self.model.info.precision, rounded.info.precision), ("f32", "bf16"))
        self.assertEqual(rounded.digest, self.model.digest)
        self.assertEqual(pickle.loads(pickle.dumps(rounded)).info.precision, "bf16")
        x = images(5, 7)
        y, z = self.model.run(x), rounded.run(x)
        self.assertTrue(1e-6 < abs(y - z).max() < 2e-2 * abs(y).max())
        np.testing.assert_allclose(fattr.Scorer(self.sketch, rounded).score(x).score, fattr.Scorer(self.sketch, self.model).score(x).score, atol=0.05)
        self.assertEqual(fattr.Sketch.build(rounded, self.references).info.precision, "bf16")
        with self.assertRaisesRegex(fattr.ArgumentError, "precision: 'bf8' is none of f32, bf16"):
            fattr.Model.load(MODELS / "clean.onnx", precision="bf8")

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

    def test_trace_sketches(self):
        model = fattr.Model.load(MODELS / "mlp.onnx")
        parts = [fattr.Sketch.build(model, self.references, images(N_CAL, 2), trace={"draws": 20, "first_chain": k}) for k in (0, 1)]
        sketch = fattr.Sketch.merge(parts[::-1])
        info = sketch.trace_info
        self.assertEqual((sketch.info.is_trace, info.draw_count, info.chain_count, len(sketch.chains)), (1, 40, 2, 2))
        self.assertEqual(info.diagnosis.shortest, 20)
        self.assertTrue(info.verdict)
        np.testing.assert_array_equal(sketch.traces, np.concatenate([p.traces for p in parts], axis=1))
        r = fattr.Scorer(sketch, model, score="mean_ccc", all_scores=True).score(self.references[:6])
        self.assertEqual(list(r.draws), [40] * 6)
        np.testing.assert_array_equal(r.scores["mean_ccc"], r.score)
        with tempfile.TemporaryDirectory() as folder:
            chain = fattr.Sketch.build(model, self.references, trace={"sampler": "sgld", "storage": "f32", "draws": 4, "burn_in": 2, "checkpoint": folder + "/c", "parameters": "*"}, seed=3)
        self.assertEqual((chain.trace_info.sampler, chain.trace_info.burn_in, chain.chains[0].seed), (_native.SAMPLERS["sgld"], 2, 3))
        paper = fattr.Sketch.memory_estimate(model, fattr.RefSet(self.references, labels=np.zeros(N_REF, int)), trace={"preset": "paper", "batchnorm": "frozen"})
        self.assertGreater(paper.draw_bytes, 0)
        for trace in ("none", {"sampler": "best"}, {"sampling": 3}, {"draws": 1}, {"nothing": 1}):
            with self.assertRaises((fattr.ArgumentError, TypeError)):
                fattr.Sketch.build(model, self.references, trace=trace)
        with self.assertRaises(fattr.StateError):
            self.sketch.traces
        with self.assertRaises(fattr.ArgumentError):
            fattr.Sketch.merge([self.sketch, self.sketch])
        with self.assertRaises(fattr.ArgumentError):
            fattr.Sketch.merge([])

    def test_metrics(self):
        m = fattr.detection_metrics([0.1, 0.2, 0.3], [0.25, 0.9], acc=0.9)
        self.assertAlmostEqual(m.auroc, 5 / 6)
        with self.assertRaises(fattr.InputError):
            fattr.detection_metrics([np.nan], [1])

    def test_interpreter_is_free_during_calls(self):
        """This thread goes on while another is in C."""
        x, turns = images(400, 5), 0
        builder = threading.Thread(target=fattr.Sketch.build, args=(self.model, x))
        builder.start()
        while builder.is_alive():
            threading.Event().wait(0.001)
            turns += 1
        self.assertGreater(turns, 20)

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


if __name__ == "__main__":
    unittest.main()
