#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Time of a draw of the published sampler (arXiv 2604.18970), by `fattr build --preset paper` and by PyTorch, one thread each, in turn.

    paper_speed.py FATTR MODELS [--inputs FOLDER] [--model NAME] [--pairs N] [--chunk N ...]

FATTR   the program
MODELS  examples/models
FOLDER  the folder that `sh examples/quickstart.sh` leaves its inputs in; without one, made-up pictures are taken: the time is the same

A draw is one step of the sampler (minibatch 256, BatchNormalization by the minibatch's statistics) and the losses of all observed inputs, 457 references and 500 others,
at the weights it arrives at. PyTorch's losses are taken in one pass over all of them, as the method is written down, and in chunks. Prints one JSON object a pair and one
with the medians; seconds are of the CPU, and of the wall behind `wall`. Exit status 77 where PyTorch or onnx is missing.
"""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

try:
    import onnx  # noqa: F401 -- for examples/models/network.py
    import torch

    import published
except ImportError:
    sys.exit(77)

REFERENCES, OTHERS = 457, 500


def inputs(folder):
    """[957, 1, 28, 28]"""
    if folder:
        return np.concatenate([np.load(folder / "references.npz")["x"][:REFERENCES], np.load(folder / "calibration.npz")["x"][:OTHERS]])
    x = np.cumsum(np.cumsum(np.random.RandomState(0).randn(REFERENCES + OTHERS, 1, 28, 28), 2), 3)
    return ((x - x.min((2, 3), keepdims=True)) / np.ptp(x, (2, 3), keepdims=True)).astype(np.float32)


def clocks():
    """CPU seconds of this process, of finished children, and of the wall."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime, time.perf_counter()])


def ours(fattr, model, folder, few=2, many=14):
    """(CPU, wall) seconds a draw: what the further draws of a longer build take."""
    took = []
    for draws in (few, many):
        start = clocks()
        subprocess.run([fattr, "build", model, "--references", folder / "r.npz", "--calibration", folder / "c.npz", "--kind", "trace", "--preset", "paper", "--burn-in", "1",
                        "--draws", str(draws), "-o", folder / "s.fattr", "--json"], check=True, stdout=subprocess.DEVNULL)
        took.append((clocks() - start)[1:])
    return (took[1] - took[0]) / (many - few)


def theirs(model, x, y, chunk, draws=4):
    chain = published.Chain(model, x[:REFERENCES], y[:REFERENCES])

    def draw():
        chain.step()
        chain.losses(x, y, chunk)

    draw()
    start = clocks()
    for _ in range(draws):
        draw()
    return (clocks() - start)[[0, 2]] / draws


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fattr")
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--inputs", type=pathlib.Path)
    parser.add_argument("--model", default="blended")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--chunk", type=int, nargs="*", default=[REFERENCES + OTHERS, 100])
    a = parser.parse_args()
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(a.models))
    import network

    torch.set_num_threads(1)
    path = a.models / f"{a.model}.onnx"
    x = torch.from_numpy(inputs(a.inputs))
    model, _ = network.load(path)
    with torch.no_grad():
        y = model(x).argmax(1)
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        np.savez(folder / "r.npz", x=x[:REFERENCES].numpy(), y=y[:REFERENCES].numpy())  # its own classes, so that none is dropped
        np.savez(folder / "c.npz", x=x[REFERENCES:].numpy())
        for _ in range(a.pairs):
            cpu, wall = ours(a.fattr, path, folder)
            line = {"ours": cpu, "ours_wall": wall}
            for chunk in a.chunk:
                cpu, wall = theirs(network.load(path)[0], x, y, chunk)
                line |= {f"pytorch_{chunk}": cpu, f"pytorch_{chunk}_wall": wall, f"ratio_{chunk}": cpu / line["ours"], f"ratio_{chunk}_wall": wall / line["ours_wall"]}
            pairs.append(line)
            print(json.dumps({k: round(v, 4) for k, v in line.items()}), flush=True)
    print(json.dumps({"pytorch": torch.__version__, "median": {k: round(float(np.median([p[k] for p in pairs])), 4) for k in pairs[0]}}))


main()
