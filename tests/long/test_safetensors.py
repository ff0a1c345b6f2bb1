# SPDX-License-Identifier: Apache-2.0
"""A sketch opens with the safetensors package as it comes: test_safetensors.py FATTR MLP.onnx"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from safetensors import safe_open

fattr, model = sys.argv[1:3]
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    x = np.random.RandomState(0).rand(60, 1, 28, 28).astype(np.float32)
    np.savez(folder / "r.npz", x=x[:40])
    np.savez(folder / "c.npz", x=x[40:])
    subprocess.run([fattr, "build", model, "--references", folder / "r.npz", "--calibration", folder / "c.npz", "-o", folder / "s.fattr", "--json"], check=True)
    with safe_open(folder / "s.fattr", framework="numpy") as f:
        meta, names = f.metadata(), [n for n in f.keys() if not n.startswith("pad.")]
        tensors = {n: f.get_tensor(n) for n in names}
assert meta["format"] == "fattr-sketch", meta
assert len(tensors) > 5 and all(np.isfinite(t).all() for t in tensors.values() if t.dtype.kind == "f")
gram = next(t for n, t in tensors.items() if "gram" in n)
assert gram.shape == (40, 40) and np.allclose(np.diag(gram), 1, atol=1e-5)
print(f"{len(tensors)} tensors, {meta['format']} {meta['format_version']}")
