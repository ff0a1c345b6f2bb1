#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The published configuration (arXiv 2604.18970) to its end, by `fattr build --preset paper` and by PyTorch, at the same time: AUROC of every score, CPU and wall time.

    paper_detection.py FATTR MODELS INPUTS OUT [--case NAME] [--count N] [--draws T] [--chunk N] [--seed S] [--cores A B]

FATTR, MODELS, INPUTS as in trace_table.py; OUT is a folder for the traces. Each has one thread on a core of its own (--cores; of a virtual machine's none need be idle) and
both start together. Both drop the references that the network misclassifies, draw minibatches from the others with their true labels and observe the losses of
them and of the tested inputs, to the network's own classes. They differ in their random numbers. Scores are those of trace_table.py in double precision, for both alike, so
that what is compared is the draws. Prints one JSON object. Exit status 77 where PyTorch or onnx is missing.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np

import trace_table

try:
    import onnx  # noqa: F401 -- for examples/models/network.py
    import torch

    import published
except ImportError:
    sys.exit(77)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("fattr")
    for name in ("models", "inputs", "out"):
        p.add_argument(name, type=pathlib.Path)
    p.add_argument("--case", default="blended", choices=trace_table.NETWORK)
    p.add_argument("--count", type=int, default=200, help="inputs of each kind")
    p.add_argument("--draws", type=int, default=published.DRAWS)
    p.add_argument("--chunk", type=int, default=100, help="inputs whose losses PyTorch takes in one pass")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--cores", type=int, nargs=2, default=[0, 1])
    p.add_argument("--pytorch", action="store_true", help=argparse.SUPPRESS)  # the process that is PyTorch's side
    return p.parse_args()


def tested(a):
    return np.concatenate([np.load(a.inputs / f"{name}.npz")["x"][:a.count] for name in ("clean", a.case)])


def pytorch(a):
    """The traces by PyTorch, kept in OUT."""
    sys.path.insert(0, str(a.models))
    import network

    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    model, _ = network.load(a.models / f"{trace_table.NETWORK[a.case]}.onnx")
    references = np.load(a.inputs / "references.npz")
    x, labels = torch.from_numpy(references["x"]), torch.from_numpy(references["y"]).long()
    with torch.no_grad():
        right = model(x).argmax(1) == labels
        x, labels = x[right], labels[right]
        observed = torch.cat([x, torch.from_numpy(tested(a))])
        y = model(observed).argmax(1)
    chain = published.Chain(model, x, labels)
    traces = np.empty((len(observed), a.draws), np.float32)
    for t in range(-published.BURN_IN, a.draws):
        chain.step()
        if t >= 0:
            traces[:, t] = chain.losses(observed, y, a.chunk)
    np.savez(a.out / "pytorch.npz", loss=traces[len(x):], reference=traces[:len(x)], of=y[:len(x)])


def both(a):
    """{side: (CPU seconds, wall seconds)} of the two processes, each on its core."""
    np.savez(a.out / "tested.npz", x=tested(a))
    model = a.models / f"{trace_table.NETWORK[a.case]}.onnx"
    commands = {
        "fattr": [a.fattr, "build", model, "-r", a.inputs / "references.npz", "-c", a.out / "tested.npz", "--preset", "paper", "--draws", str(a.draws), "--seed", str(a.seed),
                  "-o", a.out / "paper.fattr", "--json"],
        "pytorch": [sys.executable, *sys.argv, "--pytorch"],
    }
    environment = {**os.environ, "FATTR_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    running = {}
    start = time.perf_counter()
    for (side, command), core in zip(commands.items(), a.cores):
        with open(a.out / f"{side}.json", "w") as out:
            running[subprocess.Popen(command, stdout=out, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, [core])).pid] = side
    took = {}
    while running:
        pid, status, used = os.wait4(-1, 0)
        side = running.pop(pid)
        if status:
            for other in running:
                os.kill(other, signal.SIGTERM)
            sys.exit(f"{side} failed")
        took[side] = {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - start}
    return took


def main():
    a = arguments()
    sys.dont_write_bytecode = True
    a.out.mkdir(parents=True, exist_ok=True)
    if a.pytorch:
        return pytorch(a)
    took = both(a)
    traces = {"fattr": trace_table.tensors(a.out / "paper.fattr", ["calibration.loss", "references.loss", "references.predicted"])}
    with np.load(a.out / "pytorch.npz") as kept:
        traces["pytorch"] = [kept["loss"], kept["reference"], kept["of"]]
    found = {"case": a.case, "draws": a.draws, "tested": a.count, "chunk": a.chunk, "seed": a.seed, "torch": torch.__version__}
    for side, (loss, reference, of) in traces.items():
        scores = trace_table.all_scores(loss, reference, of)
        found[side] = {"references": len(reference), "seconds": took[side], "loss": float(reference.mean()),
                       "auroc": {name: trace_table.auroc(s[:a.count], s[a.count:]) for name, s in scores.items()}}
    found["ratio"] = {clock: took["pytorch"][clock] / took["fattr"][clock] for clock in ("cpu", "wall")}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
