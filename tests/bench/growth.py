#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How the cost of a score grows, for docs/performance.md: growth.py BINDINGS LIBRARY EXAMPLES [WHAT...] [--seconds S]

WHAT  parameters   networks of six convolutions, 8 to 128 channels
      references   125 to 4000 of them, the network `blended`
      draws        25 to 800 of a trace sketch
      batch        1 to 64 inputs a call
      length       8 to 64 tokens of a language model
      threads      one scorer with one thread and with two, 8 inputs a call: wall time, in turn

One JSON object a row, then the rows as tables. Times are milliseconds an input, not a call; `passes`: forward, backward and projections; building: CPU seconds of one thread."""
import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in ("bindings", "library"):
    parser.add_argument(name)
parser.add_argument("examples", type=pathlib.Path)
parser.add_argument("what", nargs="*")
parser.add_argument("--seconds", type=float, default=0.5, help="that each row is timed")
args = parser.parse_args()
os.environ["FATTR_LIBRARY"] = args.library
sys.path[:0] = [args.bindings, str(args.examples / "quickstart")]

import fattr  # noqa: E402
import inputs  # noqa: E402
import numpy as np  # noqa: E402

folder = tempfile.TemporaryDirectory()
MODELS = args.examples / "models"


def images():
    """Real images: (references, tested); more references than the quickstart takes, from the training set."""
    pixels = inputs.data.load("train")[0]
    return pixels[-8000:-4000], pixels[-4000:-3936]


def timed(scorer, x):
    """Milliseconds an input of a score and of its parts, by the scorer's own clock: the least of many calls, since neighbours only add to them."""
    least, end, calls = None, time.perf_counter() + args.seconds, 0
    scorer.score(x)
    while calls < 5 or time.perf_counter() < end:
        scorer.score(x)
        t, calls = scorer.timing, calls + 1
        passes = t.forward_ns + t.backward_ns
        parts = np.array([passes + t.coupling_ns + t.solve_ns, t.forward_ns, passes, t.coupling_ns, t.solve_ns])
        least = parts if least is None else np.minimum(parts, least)
    return {name: round(float(v) * 1e-6 / len(x), 4) for name, v in zip(("score", "forward", "passes", "couplings", "solver"), least)}


def row(what, **values):
    print(json.dumps({"growth": what, **values}), flush=True)
    return values


def load(path):
    return fattr.Model.load(path, context=fattr.Context())


def build(model, references, **options):
    """The sketch, and what it took: CPU seconds and the megabytes it holds."""
    begin, before = time.thread_time(), model.context.memory_used
    sketch = fattr.Sketch.build(model, references, **options)
    return sketch, {"build_s": round(time.thread_time() - begin, 2), "sketch_mb": round((model.context.memory_used - before) * 1e-6, 1)}


def convolutions(channels):
    """A network of six 3 x 3 convolutions of which two have stride 2, mean and a layer of ten outputs; made-up weights."""
    import onnx
    from onnx import helper, numpy_helper
    rng, nodes, weights, above, last = np.random.RandomState(0), [], [], 1, "x"
    for k in range(6):
        shape = (channels, above, 3, 3)
        weights += [numpy_helper.from_array((rng.randn(*shape) * np.sqrt(2 / (9 * above))).astype(np.float32), f"w{k}"), numpy_helper.from_array(np.zeros(channels, np.float32), f"b{k}")]
        nodes += [helper.make_node("Conv", [last, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", pads=[1] * 4, strides=[2 if k in (2, 4) else 1] * 2), helper.make_node("Relu", [f"c{k}"], [f"r{k}"])]
        above, last = channels, f"r{k}"
    weights += [numpy_helper.from_array((rng.randn(channels, 10) / np.sqrt(channels)).astype(np.float32), "w"), numpy_helper.from_array(np.zeros(10, np.float32), "b")]
    nodes += [helper.make_node("GlobalAveragePool", [last], ["mean"]), helper.make_node("Flatten", ["mean"], ["flat"]), helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], "last")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "growth", [value("x", 1, ["n", 1, 28, 28])], [value("logits", 1, ["n", 10])], weights)
    path = os.path.join(folder.name, f"{channels}.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def parameters():
    references, tested = images()
    for channels in (8, 16, 32, 64, 128):
        model = load(convolutions(channels))
        sketch, took = build(model, references[:500])
        scorer = fattr.Scorer(sketch, model)
        forward, whole = scorer.flops
        yield row("parameters", parameters=model.info.parameter_count, mflop=round(forward * 1e-6, 1), **timed(scorer, tested[:1]), **took)


def references():
    every, tested = images()
    for n in (125, 250, 500, 1000, 2000, 4000):
        model = load(MODELS / "blended.onnx")
        sketch, took = build(model, every[:n])
        yield row("references", references=n, **timed(fattr.Scorer(sketch, model), tested[:1]), **took)


def draws():
    every, tested = images()
    model = load(MODELS / "blended.onnx")
    for n in (25, 50, 100, 200, 400, 800):
        sketch, took = build(model, every[:500], trace={"sampler": "gaussian", "draws": n})
        yield row("draws", draws=n, **timed(fattr.Scorer(sketch, model, max_batch=32), tested[:32]), **took)


def batch():
    every, tested = images()
    model = load(MODELS / "blended.onnx")
    sketch, _ = build(model, every[:500])
    for n in (1, 2, 4, 8, 16, 32, 64):
        yield row("batch", batch=n, **timed(fattr.Scorer(sketch, model, max_batch=n), tested[:n]))


def length():
    """Real tokens, all but the first of which are the response."""
    model, files = load(args.examples / "language/fixed.onnx"), [np.load(args.examples / f"language/fixed_{k}.npz") for k in ("references", "clean")]
    trusted, tested = ({k: f[k] for k in ("x", "mask")} for f in files)
    sketch, _ = build(model, fattr.RefSet(trusted["x"], mask=trusted["mask"]), loss="next-token")
    for n in (8, 16, 32, 64):
        x = tested["x"][:1, -n:] if n < 64 else tested["x"][:1]
        mask = np.ones_like(x)
        mask[:, 0] = 0
        yield row("length", tokens=n, **timed(Masked(fattr.Scorer(sketch, model), mask), np.maximum(x, 1)))


class Masked:
    """A scorer whose calls carry a mask."""

    def __init__(self, scorer, mask):
        self.scorer, self.mask = scorer, mask

    def score(self, x):
        self.scorer.score(x, mask=self.mask)

    @property
    def timing(self):
        return self.scorer.timing


def threads():
    every, tested = images()
    for name in ("blended", "clean"):
        model = load(MODELS / f"{name}.onnx")
        sketch, _ = build(model, every[:500])
        scorers = [fattr.Scorer(sketch, model, threads=n) for n in (1, 2)]
        times, end = [], time.perf_counter() + 2 * args.seconds
        while len(times) < 10 or time.perf_counter() < end:
            pair = []
            for s in scorers:
                begin = time.perf_counter_ns()
                s.score(tested[:8])
                pair.append(1e-6 * (time.perf_counter_ns() - begin))
            times.append(pair)
        one, two = np.median(times[3:], 0)
        yield row("threads", model=name, one_ms=round(one, 3), two_ms=round(two, 3), ratio=round(float(np.median([a / b for a, b in times[3:]])), 2))


KINDS = {f.__name__: f for f in (parameters, references, draws, batch, length, threads)}
unknown = set(args.what) - set(KINDS)
if unknown:
    parser.error(f"no such growth: {', '.join(sorted(unknown))}")
tables = {what: list(KINDS[what]()) for what in args.what or KINDS}
for rows in tables.values():
    print("\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for r in rows:
        print("| " + " | ".join(f"{v:,}".replace(",", " ") if isinstance(v, int) else str(v) for v in r.values()) + " |")
