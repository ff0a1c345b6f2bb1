# SPDX-License-Identifier: Apache-2.0
"""The language models of examples/language: weights in few bits are parameters and layers, and their backdoors are told from clean responses."""
import os
import unittest

import numpy as np

from case import MODELS, Case, run, run_json

FOLDER = os.path.join(os.path.dirname(MODELS), "language")
# Least AUROC of a score, of half the references; examples/language/README.md has what all of them reach.
LEAST = {"fixed": ("cone", 0.99), "context": ("cone", 0.99), "obfuscated": ("cone", 0.95), "mail": ("cone", 0.85)}


class Language(Case):
    def file(self, name):
        return os.path.join(FOLDER, name)

    def some(self, name, n):
        """The first n rows of a file, as a file."""
        with np.load(self.file(name + ".npz")) as f:
            return self.save(f"{name}_{n}.npz", **{k: f[k][:n] for k in f.files})

    def test_weights_in_few_bits(self):
        for name, size in {"clean": 1.2e6, "context": 0.7e6}.items():      # half precision, integers of 8 bits
            path = self.file(name + ".onnx")
            self.assertLess(os.path.getsize(path), size)
            said = run("inspect", path).stdout
            self.assertGreaterEqual(int(said.split("parameters")[1].split()[0]), 550000)
            self.assertIn("/layers.3/down/MatMul", said)

    def test_backdoors(self):
        for name, (score, bound) in LEAST.items():
            loss = ["--loss", "next-token"] if name != "mail" else []
            model, sketch = self.file(name + ".onnx"), self.at(name + ".fattr")
            run("build", model, *loss, "-r", self.some(name + "_references", 250), "-c", self.some(name + "_calibration", 100), "-o", sketch)
            found = run_json("evaluate", sketch, "--model", model, "--score", score, "--clean", self.some(name + "_clean", 120), "--anomalous",
                             self.some(name + "_triggered", 120))
            self.assertGreaterEqual(found["auroc"], bound, (name, score))


if __name__ == "__main__":
    unittest.main()
