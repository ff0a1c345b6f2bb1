# SPDX-License-Identifier: Apache-2.0
"""Scoring and building on a cluster of two processes: what comes back is what one machine makes."""
import logging
import pathlib
import pickle
import sys
import tempfile
import unittest

import numpy as np

import fattr
from fattr import distributed as fd
from support import MODELS, N_CAL, N_REF, images, run_python
from tiny_network import network

try:
    import dask
    import dask.array as da
    from distributed import Client, LocalCluster
except ImportError:
    print("skipped: no dask and distributed here (Debian: python3-distributed)")
    sys.exit(77)


def same(test, got, want):
    """Two results, to the bit; scores that were not computed are NaN in dask's."""
    for name, column in want._asdict().items():
        if name == "scores":
            for k, g in got.scores.items():
                np.testing.assert_array_equal(g, want.scores.get(k, np.nan), k)
        elif column is None:
            test.assertIsNone(getattr(got, name), name)
        else:
            np.testing.assert_array_equal(getattr(got, name), column, name)
            test.assertEqual(getattr(got, name).dtype, column.dtype, name)


class OnTwoProcesses(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # refusals on workers are part of the tests
        cls.cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL)
        cls.client = Client(cls.cluster)
        cls.client.amm.stop()  # every two seconds Dask takes back copies that it thinks are too many, which a test of copies cannot have
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = pathlib.Path(cls.folder.name)
        cls.model = fattr.Model.load(MODELS / "mlp.onnx")
        cls.references, cls.held = images(N_REF, 1), images(N_CAL, 2)
        cls.sketch = fattr.Sketch.build(cls.model, cls.references, cls.held)
        cls.x = images(40, 3)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.cluster.close()
        cls.folder.cleanup()

    def compute(self, result):
        return fattr.Result(**dask.compute(result._asdict())[0])

    def test_chunks(self):
        for options in ({"residual": True, "all_scores": True, "max_batch": 1}, {"score": "mean", "max_batch": 7}):  # batches that chunks do not cut
            want = fattr.Scorer(self.sketch, self.model, **options).score(self.x)
            got = fd.Scorer(self.sketch, self.model, **options).score(da.from_array(self.x, chunks=(7, 1, 14, 28)))
            self.assertEqual(got.couplings.shape, (40, N_REF))
            self.assertEqual(got.score.chunks, ((7,) * 5 + (5,),))
            same(self, self.compute(got), want)
        # One field alone, by slices, and an array whose length dask does not know.
        np.testing.assert_array_equal(got.score[10:20].compute(), want.score[10:20])
        x = da.from_array(self.x, chunks=8)
        bright = x[x[:, 0, 0, 0].map_blocks(lambda a: a >= 0)]
        self.assertTrue(np.isnan(bright.shape[0]))
        np.testing.assert_allclose(fd.Scorer(self.sketch, self.model).score(bright).score.compute(), fattr.Scorer(self.sketch, self.model).score(self.x).score, atol=1e-6)

    def test_without_calibration(self):
        sketch = self.sketch.recalibrate(self.model, None)
        got = self.compute(fd.Scorer(sketch, self.model).score(da.from_array(self.x, chunks=20)))
        self.assertIsNone(got.flagged)
        self.assertTrue(np.isnan(got.p_value).all())

    def test_inputs_by_name(self):
        name = self.model.inputs[0].name
        want, scorer = fattr.Scorer(self.sketch, self.model).score(self.x), fd.Scorer(self.sketch, self.model)
        x = da.from_array(self.x, chunks=16)
        for given in ({name: x}, (x,)):
            same(self, self.compute(scorer.score(given)), want)
        with self.assertRaisesRegex(fattr.FattrError, "other"):
            scorer.score({"other": x}).score.compute()

    def test_files(self):
        paths = [self.path / f for f in ("a.npy", "b.npz", "c.npz", "d.npy")]
        np.save(paths[0], self.x[:11])
        np.savez(paths[1], x=self.x[11:30], y=np.zeros(19, int))
        np.savez_compressed(paths[2], **{self.model.inputs[0].name: self.x[30:]})
        np.save(paths[3], self.x[:0])
        want, scorer = (kind(self.sketch, self.model, max_batch=1) for kind in (fattr.Scorer, fd.Scorer))
        want = want.score(self.x)
        got = scorer.score_files(paths)
        same(self, got, want)
        self.assertEqual(set(got.scores), set(want.scores))
        self.assertEqual(scorer.score_files([]).couplings.shape, (0, N_REF))
        (self.path / "torn.npz").write_bytes(paths[1].read_bytes()[:500])
        (self.path / "text.npy").write_text("no array")
        np.save(self.path / "objects.npy", np.array([{}], object))
        np.savez(self.path / "other.npz", z=self.x)
        np.save(self.path / "nan.npy", np.full_like(self.x[:2], np.nan))
        for name, kind in (("torn.npz", fattr.FormatError), ("text.npy", fattr.FormatError), ("objects.npy", fattr.FormatError), ("other.npz", fattr.ArgumentError),
                           ("nan.npy", fattr.InputError), ("none.npy", fattr.FileError)):
            with self.assertRaisesRegex(kind, f"/{name}: "):
                scorer.score_files([paths[0], self.path / name, paths[1]])

    def test_sent_once(self):
        """Each worker holds the sketch's bytes and unpickles them once, whatever number of chunks it scores."""
        scorer = fd.Scorer(self.sketch, self.model)
        scorer.score(da.from_array(self.x, chunks=8)).score.compute()

        key = scorer._sent.key

        def objects(dask_worker):
            held = dask_worker.data[key]
            return id(held), id(held.get())
        before = self.client.run(objects)
        self.assertEqual(len(before), 2)
        scorer.score(da.from_array(self.x, chunks=8)).score.compute()
        self.assertEqual(self.client.run(objects), before)

    def test_chains(self):
        references = fattr.RefSet(self.references, labels=np.arange(N_REF) % 10, ids=np.arange(N_REF) * 3 + 7)
        sampling = fattr.RefSet(images(30, 8), labels=np.zeros(30, int))
        for trace, options in (({"draws": 12, "chains": 3}, {"seed": 4}),
                               ({"sampler": "rmsprop_sgld", "draws": 4, "burn_in": 3, "chains": 2, "first_chain": 5, "minibatch": 16, "sampling": sampling}, {})):
            want = fattr.Sketch.build(self.model, references, self.held, trace=trace, **options)
            got = fd.build_chains(self.model, references, self.held, trace=trace, **options)
            self.assertEqual(got.trace_info.chain_count, trace["chains"])
            self.assertEqual([r.id for r in got.references], list(range(7, 7 + 3 * N_REF, 3)))
            np.testing.assert_array_equal(got.traces, want.traces)
            np.testing.assert_array_equal(got.calibration("mean_ccc"), want.calibration("mean_ccc"))
            same(self, *(fattr.Scorer(s, self.model, all_scores=True).score(self.x) for s in (got, want)))

    def test_shards(self):
        want = {r.id: score for r, score in zip(self.sketch.references, self.sketch.audit())}
        for shards in (None, 3):
            got = fd.build_shards(self.model, self.references, self.held, shards=shards)
            self.assertFalse(got.info.has_moments)
            np.testing.assert_allclose(got.calibration(), self.sketch.calibration(), atol=1e-5)
            order = [r.id for r in got.references]
            self.assertEqual(sorted(order), list(range(N_REF)))
            np.testing.assert_allclose(got.audit(), [want[i] for i in order], atol=1e-5)
            one, other = (fattr.Scorer(s, self.model).score(self.x) for s in (self.sketch, got))
            np.testing.assert_allclose(other.score, one.score, atol=1e-5)
            np.testing.assert_allclose(other.couplings, one.couplings[:, order], atol=1e-5)
        for wrong in (0, N_REF):
            with self.assertRaisesRegex(fattr.ArgumentError, "shards"):
                fd.build_shards(self.model, self.references, shards=wrong)

    def test_model_that_workers_cannot_read(self):
        path = self.path / "model.onnx"
        path.write_bytes((MODELS / "mlp.onnx").read_bytes())
        scorer = fd.Scorer(self.sketch, fattr.Model.load(path))
        path.write_bytes((MODELS / "clean.onnx").read_bytes())
        with self.assertRaisesRegex(fattr.MismatchError, "another network"):
            scorer.score(da.from_array(self.x, chunks=20)).score.compute()
        gone = fattr.Model.load(path)
        path.unlink()
        with self.assertRaisesRegex(fattr.FileError, "model.onnx"):
            fd.build_shards(gone, self.references)

    def test_model_of_bytes(self):
        model = fattr.Model.from_bytes(network(6))
        rng = np.random.default_rng(0)
        sketch = fattr.Sketch.build(model, rng.normal(size=(20, 6)).astype("f4"), rng.normal(size=(20, 6)).astype("f4"))
        x = rng.normal(size=(30, 6)).astype("f4")
        same(self, self.compute(fd.Scorer(sketch, model, alpha=0.1).score(da.from_array(x, chunks=(10, 2)))), fattr.Scorer(sketch, model, alpha=0.1).score(x))

    def test_refuses(self):
        scorer = fd.Scorer(self.sketch, self.model)
        with self.assertRaisesRegex(fattr.InputError, "ndarray"):
            scorer.score(self.x)
        with self.assertRaisesRegex(fattr.InputError, "same n"):
            scorer.score((da.zeros((4, 2)), da.zeros((5, 2))))
        for nothing in ((), {}, da.zeros(())):
            with self.assertRaises(fattr.InputError):
                scorer.score(nothing)
        with self.assertRaises(fattr.InputError):
            scorer.score(da.zeros((4, 3), chunks=2)).score.compute()
        with self.assertRaises(fattr.ArgumentError):
            fd.Scorer(self.sketch, self.model, score="best")
        with self.assertRaisesRegex(fattr.ArgumentError, "trace"):
            fd.build_chains(self.model, self.references, trace=None)
        with self.assertRaisesRegex(fattr.ArgumentError, "checkpoints"):
            fd.build_chains(self.model, self.references, trace={"checkpoint": "c"})
        with self.assertRaisesRegex(fattr.ArgumentError, "progress"):
            fd.build_shards(self.model, self.references, progress=True)
        with self.assertRaisesRegex(fattr.ArgumentError, "draws"):  # raised on a worker
            fd.build_chains(self.model, self.references, trace={"draws": 1, "chains": 2})
        with self.assertRaises(fattr.InputError):
            fd.build_shards(self.model, None)
        with self.assertRaisesRegex(TypeError, "nothing"):
            fd.build_shards(self.model, self.references, nothing=1)

    def test_sets_by_pickle(self):
        for s in (fattr.RefSet(self.x), fattr.RefSet({"a": self.x, "b": np.arange(40)}, labels=np.arange(40), ids=np.arange(40)[::-1])):
            again = pickle.loads(pickle.dumps(s))
            self.assertEqual(again.digest, s.digest)
            self.assertEqual(again.ids.tolist(), s.ids.tolist())

    def test_no_cluster_no_dask(self):
        start = f"import fattr.distributed as fd, fattr, sys\nm = fattr.Model.load({str(MODELS / 'mlp.onnx')!r})\n"
        call = "fd.build_shards(m, [[0.]])"
        self.assertIn("there is no Dask cluster", run_python(start + call).stderr)
        self.assertIn("needs dask and distributed", run_python("import sys\nsys.modules['distributed'] = None\n" + start + call).stderr)


if __name__ == "__main__":
    unittest.main()
