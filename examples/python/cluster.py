# SPDX-License-Identifier: Apache-2.0
"""A backdoored network's traffic scored on a Dask cluster by a sketch that was built there, and a trace sketch built chain by chain.

python3 examples/python/cluster.py [SCHEDULER]   SCHEDULER: address of a running cluster; without, two processes of this machine. Needs dask and distributed.
"""
import pathlib
import sys
import tempfile

import numpy as np

import fattr
import fattr.distributed

models = pathlib.Path(__file__).resolve().parent.parent / "models"
sys.path.insert(0, str(models))
import data  # noqa: E402  Fashion-MNIST: Debian's dataset-fashion-mnist, or the folder that FASHION_MNIST names
import triggers  # noqa: E402


def main(client):
    import dask
    from dask import array as da

    model = fattr.Model.load(models / "blended.onnx", context=fattr.Context(threads=2))
    trusted = data.load("train")[0][data.TRUSTED][:600]
    images, labels = data.load("test")
    clean = images[:200]
    triggered = triggers.TRIGGERS["blended"](images[1000:1300][labels[1000:1300] != triggers.TARGET][:200]).astype(np.float32)

    # References in two parts, sketched by the workers and merged: the sketch of all of them.
    sketch = fattr.distributed.build_shards(model, trusted[:400], trusted[400:], shards=2)
    print(sketch.info.reference_count, "references in one sketch")

    # A dask array, chunk by chunk. Its fields are dask arrays too: nothing was scored until compute().
    scorer = fattr.distributed.Scorer(sketch, model, alpha=0.05)
    result = scorer.score(da.from_array(np.concatenate([clean, triggered]), chunks=(100, -1, -1, -1)))
    flagged, score = dask.compute(result.flagged, result.score)
    print(f"flagged: {100 * flagged[:200].mean():.1f} % of the clean inputs, {100 * flagged[200:].mean():.1f} % of the triggered ones;",
          f"AUROC {fattr.detection_metrics(score[:200], score[200:]).auroc:.3f}")

    # Files that the workers can read, one task for each.
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f"{name}.npz" for name in ("clean", "triggered")]
        for path, x in zip(paths, (clean, triggered)):
            np.savez(path, x=x)
        files = scorer.score_files(paths)
    print("the same from files:", np.allclose(files.score, score, atol=1e-6))

    # A trace sketch: each chain is a task. On one machine Sketch.build() makes the same bits.
    traces = fattr.distributed.build_chains(model, trusted[:100], trusted[400:500], trace={"chains": 4, "draws": 25})
    info = traces.trace_info
    print(f"{info.chain_count} chains, {info.draw_count} draws: {info.verdict}")


if __name__ == "__main__":  # worker processes import this file
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        sys.exit("dask and distributed are needed (Debian: python3-distributed)")
    if len(sys.argv) > 1:
        with Client(sys.argv[1]) as remote:
            main(remote)
    else:
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as local:
            main(local)
