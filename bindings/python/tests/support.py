# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Python package share: made-up pictures, where the example models are, running Python on its own."""
import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(os.environ["FATTR_SOURCE_ROOT"])
MODELS = ROOT / "examples" / "models"
N_REF, N_CAL = 60, 40


def images(n, seed):
    """Made-up pictures [n, 1, 28, 28] in [0, 1]: blobs at random places."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28]
    out = np.zeros((n, 1, 28, 28), np.float32)
    for image in out[:, 0]:
        for _ in range(rng.integers(1, 4)):
            (cx, cy), (rx, ry) = rng.uniform(6, 22, 2), rng.uniform(3, 12, 2)
            image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = rng.uniform(0.3, 1)
        image *= rng.uniform(0.8, 1, (28, 28))
    return out


def run_python(program, *arguments, timeout=60, **environment):
    """A program in an interpreter of its own; the finished process."""
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout,
                          cwd="/")  # where no package lies in wait
