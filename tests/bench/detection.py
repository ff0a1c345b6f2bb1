#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What options of a sketch change in detection: AUROC on the example networks, and the cost of a score beside a forward pass, for tables of docs/method.md.

    detection.py BINDINGS LIBRARY EXAMPLES OPTIONS... [--references N] [--score NAME] [--json]

EXAMPLES  the folder examples
OPTIONS   a column each: JSON objects of fattr.Sketch.build()'s options, '{}' for the defaults

Inputs are the quickstart's: 500 references, 1000 inputs for calibration, 500 clean and up to 500 anomalous ones.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("bindings")
parser.add_argument("library")
parser.add_argument("examples", type=pathlib.Path)
parser.add_argument("options", nargs="+", type=json.loads)
parser.add_argument("--references", type=int)
parser.add_argument("--score", default="cone")
args = parser.parse_args()
os.environ["FATTR_LIBRARY"] = args.library
sys.path[:0] = [args.bindings, str(args.examples / "quickstart")]

import fattr  # noqa: E402
import inputs  # noqa: E402
import numpy as np  # noqa: E402
import run  # noqa: E402

if args.references:
    inputs.REFERENCES = args.references


def measure(model, options, sets, anomaly):
    sketch = fattr.Sketch.build(model, sets("references"), sets("calibration"), **options)
    scorer = fattr.Scorer(sketch, model, score=args.score, max_batch=32)
    clean, bad = scorer.score(sets("clean")), scorer.score(sets(anomaly))
    forward, score = scorer.flops
    return {"auroc": round(fattr.detection_metrics(clean.score, bad.score).auroc, 4), "false_alarms": round(float(clean.flagged.mean()), 3),
            "caught": round(float(bad.flagged.mean()), 3), "layers": sketch.info.layer_count, "flop_ratio": round(score / forward, 3)}


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    inputs.write(folder)
    rows = []
    for title, network, anomaly, _ in run.CASES:
        model = fattr.Model.load(inputs.MODELS / f"{network}.onnx")
        if (folder / f"{anomaly}-all.npz").exists():
            inputs.keep_successful(folder, anomaly, model.run(np.load(folder / f"{anomaly}-all.npz")["x"]))
        row = [measure(model, o, lambda name: np.load(folder / f"{name}.npz")["x"], anomaly) for o in args.options]
        print(json.dumps({"case": title, "columns": row}), flush=True)
        rows.append([r["auroc"] for r in row])
    print("| case | " + " | ".join(json.dumps(o) for o in args.options) + " |")
    print("|---" * (1 + len(args.options)) + "|")
    for (title, *_), row in zip(run.CASES, rows):
        print(f"| {title} | " + " | ".join(f"{v:.3f}" for v in row) + " |")
    print("| mean | " + " | ".join(f"{v:.3f}" for v in np.mean(rows, 0)) + " |")
