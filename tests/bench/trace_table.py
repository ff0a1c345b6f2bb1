#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Detection by trace sketches: samplers x draws x scores on the example networks, the table of docs/method.md.

    trace_table.py FATTR MODELS INPUTS OUT [--samplers NAME ...] [--cases NAME ...] [--draws T] [--seeds S ...] [--count N]

FATTR   the program
MODELS  examples/models
INPUTS  the folder that `sh examples/quickstart.sh` leaves its inputs in (references.npz, clean.npz, blended.npz, ...)
OUT     a folder for the traces, which are kept: a second run goes on where the first one ended

A sketch is built per network and sampler with all tested inputs as its calibration set, so that their losses at every draw are in the file. Everything else is
NumPy: a score at fewer draws takes the first ones. On one sketch of 200 draws that second implementation of the scores was 4e-5 off the library's at the most.
The gradient sketch is scored on the same inputs. A network of 500 references and 500 tested inputs takes about 10 s at
100 gaussian draws; a chain's step costs as much as 1000 losses. Prints one Markdown table per case, means over the seeds of the draws; OUT/auroc.json has every figure.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np

NETWORK = {"badnets": "badnets", "blended": "blended", "sig": "sig", "bpp": "bpp", "lf": "lf", "wanet": "wanet", "obfuscated": "obfuscated", "pgd": "clean", "digits": "clean"}
CHAIN = ["--sampler", "rmsprop_sgld"]
SAMPLERS = {
    **{"gaussian " + gamma: ["--gamma", gamma] for gamma in ("1e2", "3e2", "1e3", "3e3", "1e4", "3e4", "1e5")},
    "rmsprop_sgld": CHAIN,
    "rmsprop_sgld reestimate": [*CHAIN, "--batchnorm", "reestimate"],
    "rmsprop_sgld mixing": [*CHAIN, "--step-size", "1e-5"],
    "sgld": ["--sampler", "sgld"],
}
RIDGE, TOPK = 1, 5  # the defaults
DRAWS = (25, 50, 100, 200, 400, 800)


def tensors(path, names):
    """Some tensors of a safetensors file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header, found = json.loads(file.read(length)), []
        for name in names:
            entry = header[name]
            file.seek(8 + length + entry["data_offsets"][0])
            kind = {"F32": "<f4", "I64": "<i8"}[entry["dtype"]]
            found.append(np.frombuffer(file.read(entry["data_offsets"][1] - entry["data_offsets"][0]), kind).reshape(entry["shape"]))
    return found


# ---- scores, from losses [n, T] of one chain
def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)


def centred(x):
    return x - x.mean(1, keepdims=True)


def concordance(x, r):
    apart = x.mean(1)[:, None] - r.mean(1)
    return 2 * centred(x) @ centred(r).T / x.shape[1] / (x.var(1)[:, None] + r.var(1) + apart ** 2 + 1e-8)


def cone(c, gram, rounds=500):
    """Accelerated projected gradient for all inputs at once, begun anew where it overshoots; until no weight moves by 1e-5."""
    curved = gram + RIDGE * np.eye(len(gram))
    size = 1 / np.linalg.eigvalsh(curved)[-1]
    w = y = np.zeros_like(c)
    t = np.ones((len(c), 1))
    for _ in range(rounds):
        slope = y @ curved - c
        new = np.maximum(y - size * slope, 0)
        t = np.where(((y - new) * (new - w)).sum(1, keepdims=True) > 0, 1, t)
        faster = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y = new + (t - 1) / faster * (new - w)
        moved = np.abs(new - w).max()
        w, t = new, faster
        if moved < 1e-5:
            break
    return explained(c, gram, w)


def explained(c, gram, w):
    return 1 - 2 * (w * c).sum(1) + ((w @ gram) * w).sum(1)


def by_class(c, of):
    return -np.stack([c[:, of == k].mean(1) for k in np.unique(of)], 1).max(1)


def from_couplings(c, gram, of):
    return {"cone": cone(c, gram), "span": explained(c, gram, np.linalg.solve(gram + RIDGE * np.eye(len(gram)), c.T).T),
            "topk": -np.sort(c, 1)[:, -TOPK:].mean(1), "class": by_class(c, of), "mean": -c.mean(1)}


def all_scores(loss, reference, of):
    loss, reference = loss.astype(np.float64), reference.astype(np.float64)
    x, r = centred(loss), centred(reference)
    scores = from_couplings(unit(x) @ unit(r).T, unit(r) @ unit(r).T, of)
    agree = concordance(loss, reference)
    scores.update({"mean_ccc": -agree.mean(1), "class_ccc": by_class(agree, of)})
    common = unit(r.mean(0, keepdims=True))
    x, r = unit(x - x @ common.T * common), unit(r - r @ common.T * common)
    scores.update({name + " partial": value for name, value in from_couplings(x @ r.T, r @ r.T, of).items()})
    return scores


def auroc(clean, anomalous):
    order = np.sort(clean)
    return (np.searchsorted(order, anomalous, "left") + np.searchsorted(order, anomalous, "right")).mean() / (2 * len(clean))


# ---- what the program makes
class Table:
    def __init__(self, arguments):
        self.of = arguments
        self.out = pathlib.Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)

    def fattr(self, *arguments):
        return json.loads(subprocess.run([self.of.fattr, *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=True).stdout)

    def inputs(self, name):
        return np.load(pathlib.Path(self.of.inputs) / f"{name}.npz")["x"][:self.of.count]

    def model(self, network):
        return pathlib.Path(self.of.models) / f"{network}.onnx"

    def parts(self, network):
        """Where each kind of input is among the tested inputs of a network."""
        at, found = 0, {}
        for name in ["clean", *(case for case, of in NETWORK.items() if of == network)]:
            n = len(self.inputs(name))
            found[name] = slice(at, at + n)
            at += n
        return found

    def traces(self, network, sampler, seed):
        """(losses of the tested inputs, of the references, classes of the references)"""
        kept = self.out / f"{network} {sampler} {self.of.draws} draws {self.of.count} inputs seed {seed}.npz"
        if not kept.exists():
            tested, sketch = self.out / "tested.npz", self.out / "building.fattr"
            np.savez(tested, x=np.concatenate([self.inputs(name) for name in self.parts(network)]))
            said = self.fattr("build", self.model(network), "-r", pathlib.Path(self.of.inputs) / "references.npz", "-c", tested, "--kind", "trace", "--draws", self.of.draws,
                              "--batch", 32, "--seed", seed, *SAMPLERS[sampler], "-o", sketch)
            print(kept.stem, json.dumps(said["trace"]), said["seconds"], "s", file=sys.stderr)
            loss, reference, of = tensors(sketch, ["calibration.loss", "references.loss", "references.predicted"])
            np.savez(kept, loss=loss, reference=reference, of=of)
            sketch.unlink()
        found = np.load(kept)
        return found["loss"], found["reference"], found["of"]

    def gradient(self, case):
        sketch, clean, anomalous = self.out / f"{NETWORK[case]}.fattr", self.out / "clean.npz", self.out / "anomalous.npz"
        if not sketch.exists():
            self.fattr("build", self.model(NETWORK[case]), "-r", pathlib.Path(self.of.inputs) / "references.npz", "-o", sketch)
        np.savez(clean, x=self.inputs("clean"))
        np.savez(anomalous, x=self.inputs(case))
        return {name: self.fattr("evaluate", sketch, "--model", self.model(NETWORK[case]), "--clean", clean, "--anomalous", anomalous, "--score", name)["auroc"]
                for name in ("cone", "span", "topk", "class", "mean")}

    def at_draws(self, case, sampler, seed):
        """{draws: {score: AUROC}}"""
        loss, reference, of = self.traces(NETWORK[case], sampler, seed)
        parts, found = self.parts(NETWORK[case]), {}
        for draws in [d for d in DRAWS if d <= self.of.draws]:
            scores = all_scores(loss[:, :draws], reference[:, :draws], of)
            found[draws] = {name: auroc(s[parts["clean"]], s[parts[case]]) for name, s in scores.items()}
        return found

    def record(self, case, sampler, draws, seed, found):
        kept = self.out / "auroc.json"
        known = json.loads(kept.read_text()) if kept.exists() else []
        row = {"case": case, "signature": sampler, "draws": draws, "seed": seed, "count": self.of.count}
        known = [k for k in known if {n: k[n] for n in row} != row]
        kept.write_text(json.dumps([*known, {**row, "auroc": found}], indent=1))

    def case(self, case):
        rows = [("gradient", 0, self.gradient(case))]
        self.record(case, *rows[0][:2], None, rows[0][2])
        for sampler in self.of.samplers:
            seeds = [self.at_draws(case, sampler, seed) for seed in self.of.seeds]
            for draws in seeds[0]:
                for seed, found in zip(self.of.seeds, seeds):
                    self.record(case, sampler, draws, seed, found[draws])
                rows.append((sampler, draws, {name: np.mean([found[draws][name] for found in seeds]) for name in seeds[0][draws]}))
        names = list(rows[-1][2])
        print(f"\n{case}\n\n| signature | draws | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}")
        for signature, draws, found in rows:
            print(f"| {signature} | {draws or ''} | " + " | ".join("%.3f" % found[name] if name in found else "" for name in names) + " |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("fattr", "models", "inputs", "out"):
        p.add_argument(name)
    p.add_argument("--samplers", nargs="+", default=["gaussian 1e3"], choices=SAMPLERS)
    p.add_argument("--cases", nargs="+", default=list(NETWORK), choices=NETWORK)
    p.add_argument("--draws", type=int, default=200)
    p.add_argument("--seeds", nargs="+", type=int, default=[0])
    p.add_argument("--count", type=int, default=250, help="inputs of each kind")
    arguments = p.parse_args()
    table = Table(arguments)
    for case in arguments.cases:
        table.case(case)


if __name__ == "__main__":
    main()
