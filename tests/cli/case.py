# SPDX-License-Identifier: Apache-2.0
"""What the tests of the fattr program share: small inputs, one sketch made once, running the program."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import numpy as np
from scipy.ndimage import gaussian_filter

FATTR = os.environ["FATTR"]
MODELS = os.environ["FATTR_MODELS"]
CLEAN, BADNETS, MLP = (os.path.join(MODELS, name + ".onnx") for name in ("clean", "badnets", "mlp"))


def images(n, seed):
    """[n, 1, 28, 28] in [0, 1]: ten smooth shapes, moved and disturbed. Returns which shape each is, too."""
    shapes = gaussian_filter(np.random.RandomState(1).rand(10, 28, 28), (0, 3, 3))
    shapes = (shapes - shapes.min((1, 2), keepdims=True)) / np.ptp(shapes, (1, 2)).reshape(-1, 1, 1)
    rng = np.random.RandomState(seed)
    kind = rng.randint(0, 10, n)
    x = np.stack([np.roll(shapes[k], rng.randint(-2, 3, 2), (0, 1)) for k in kind])
    x = (x > 0.5) * (0.6 + 0.4 * x) + 0.05 * rng.rand(n, 28, 28)
    return x.clip(0, 1).astype(np.float32)[:, None], kind.astype(np.int64)


def noise(n, seed):
    return np.random.RandomState(seed).rand(n, 1, 28, 28).astype(np.float32)


def run(*arguments, code=0, **options):
    """Runs the program, checks its exit status, and returns the finished process."""
    done = subprocess.run([FATTR, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)
    if done.returncode != code:
        raise AssertionError(f"fattr {' '.join(map(str, arguments))}: exit {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done


def run_json(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code).stdout)


def run_lines(*arguments, code=0):
    return [json.loads(line) for line in run(*arguments, "--json", code=code).stdout.splitlines()]


class Case(unittest.TestCase):
    """`self.at(name)` is a file in a folder that all tests of the class share."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="fattr-cli-")
        cls.x, cls.y = images(40, 3)
        for name, arrays in {
            "references": dict(zip("xy", images(60, 1))) | {"id": 1000 + np.arange(60)},
            "calibration": dict(zip("xy", images(39, 2))),
            "clean": {"x": cls.x, "y": cls.y},
            "odd": {"x": noise(30, 4)},
        }.items():
            np.savez(cls.at(name + ".npz"), **arrays)
        cls.sketch = cls.at("model.fattr")
        cls.built = run_json("build", MLP, "--ridge", 0.1, "--references", cls.at("references.npz"), "--calibration", cls.at("calibration.npz"),
                             "-o", cls.sketch)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def at(cls, name):
        return os.path.join(cls.folder, name)

    def save(self, name, **arrays):
        np.savez(self.at(name), **arrays)
        return self.at(name)

    def fails(self, *arguments, says, code=3):
        """The program refuses, says why on stderr as `fattr: ...`, and prints nothing else."""
        done = run(*arguments, code=code)
        self.assertTrue(done.stderr.startswith("fattr: "), done.stderr)
        for words in [says] if isinstance(says, str) else says:
            self.assertIn(words, done.stderr)
        self.assertEqual(done.stdout, "")
        return done
