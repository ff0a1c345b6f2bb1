# SPDX-License-Identifier: Apache-2.0
"""Forward, score and build on the example networks, one thread, as one JSON object a line: bench_models.py FATTR MODELS."""
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

fattr, models = sys.argv[1], pathlib.Path(sys.argv[2])


def run(*arguments):
    return subprocess.run([fattr, *map(str, arguments)], stdout=subprocess.PIPE, check=True, text=True).stdout


rng = np.random.RandomState(0)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    # Smooth made-up pictures: what matters here is time.
    x = np.cumsum(np.cumsum(rng.randn(500, 1, 28, 28), 2), 3)
    x = ((x - x.min((2, 3), keepdims=True)) / np.ptp(x, (2, 3), keepdims=True)).astype(np.float32)
    np.savez(folder / "r.npz", x=x)
    for name in ("clean", "mlp"):
        model, sketch = models / f"{name}.onnx", folder / f"{name}.fattr"
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            run("build", model, "--references", folder / "r.npz", "-o", sketch, "--json")
            seconds.append(time.perf_counter() - start)
        print(json.dumps({"model": name, "references": 500, "build_s": round(float(np.median(seconds)), 3), "references_per_second": round(500 / float(np.median(seconds))), "sketch_bytes": sketch.stat().st_size}))
        for batch in (1, 32):
            print(json.dumps({"model": name, **json.loads(run("bench", model, "--sketch", sketch, "--batch", batch, "--json"))}))
