# SPDX-License-Identifier: Apache-2.0
"""Logits equal to onnxruntime's, and the time of a forward pass beside its: test_onnxruntime.py FATTR MODELS. Runs are paired; medians are printed."""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime as ort

fattr, models = sys.argv[1], pathlib.Path(sys.argv[2])
options = ort.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3


def theirs(session, x, seconds=0.4):
    times, end = [], time.perf_counter() + seconds
    for _ in range(5):
        session.run(None, {"image": x})
    while time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, {"image": x})
        times.append(1e3 * (time.perf_counter() - start))
    return np.median(times)


def ours(model, batch):
    out = subprocess.run([fattr, "bench", model, "--batch", str(batch), "--json"], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(out.stdout)["forward_ms"]


x = np.random.RandomState(1).rand(64, 1, 28, 28).astype(np.float32)
with tempfile.TemporaryDirectory() as folder:
    np.savez(folder + "/x.npz", x=x)
    for model in sorted(models.glob("*.onnx")):
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        error = 0
        for name in (o.name for o in session.get_outputs()):
            subprocess.run([fattr, "features", model, folder + "/x.npz", "--node", name, "-o", folder + "/z.npz"], check=True, stdout=subprocess.DEVNULL)
            want, have = session.run([name], {"image": x})[0], np.load(folder + "/z.npz")["x"]
            error = max(error, np.abs(want - have.reshape(want.shape)).max() / np.abs(want).max())
            assert error < 1e-4, (model.name, name, error)
        line = {"model": model.name, "relative_error": float(f"{error:.2g}")}
        if model.name in ("clean.onnx", "mlp.onnx"):
            for batch in (1, 32):
                pairs = [(ours(model, batch), theirs(session, x[:batch])) for _ in range(5)]
                line[f"batch_{batch}"] = {"forward_ms": round(np.median([p[0] for p in pairs]), 4), "onnxruntime_ms": round(np.median([p[1] for p in pairs]), 4),
                                          "ratio": round(np.median([a / b for a, b in pairs]), 3)}
        print(json.dumps(line))
