# SPDX-License-Identifier: Apache-2.0
"""fattr mechanisms: what it prints, what it keeps, what it refuses; fingerprints against a computation of their own."""
import json
import os
import sys
import unittest

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from case import CLEAN, MLP, MODELS, Case, images, run, run_json, run_lines

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "data"))
import make_mechanism_seeds  # noqa: E402
import read_sketch  # noqa: E402


def patched(x):
    x = x.copy()
    x[:, :, -8:, -8:] = np.indices((8, 8)).sum(0) % 2
    return x


def striped(x):
    return (0.15 * x + 0.85 * (np.arange(28) % 14 < 7)).astype(np.float32)


class Mechanisms(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        x, _ = images(60, 5)
        parts = [patched(x[:20]), striped(x[20:40]), x[40:]]
        cls.truth = np.repeat([0, 1, 2], 20)
        cls.order = np.random.RandomState(0).permutation(60)
        np.savez(cls.at("parts.npz"), x=np.concatenate(parts))
        np.savez(cls.at("mixed.npz"), x=np.concatenate(parts)[cls.order])

    def group(self, name, *arguments, sketch=None, code=0):
        return run_lines("mechanisms", sketch or self.sketch, "--model", MLP, self.at(name), "--alpha", 0.1, *arguments, code=code)

    def test_lines(self):
        lines = self.group("parts.npz")
        self.assertEqual([line["index"] for line in lines], list(range(60)))
        scored = run_lines("score", self.sketch, "--model", MLP, self.at("parts.npz"), "--alpha", 0.1, "--batch", 1)
        names = {}
        for line, score in zip(lines, scored):
            self.assertEqual(list(line)[:3], ["index", "flagged", "group"])
            self.assertEqual(line["flagged"], score["flagged"])
            self.assertEqual(line["group"] >= 0, line["flagged"])
            if line["flagged"]:
                self.assertFalse(line["known"])
                self.assertEqual(names.setdefault(line["group"], line["name"]), line["name"])
        groups = np.array([line["group"] for line in lines])
        sizes = np.bincount(groups[groups >= 0])
        self.assertEqual(list(sizes), sorted(sizes, reverse=True))
        self.assertEqual(len(set(names.values())), len(sizes))
        # The stripes are one group, or nearly; nothing else is in it.
        stripes = groups[self.truth == 1]
        self.assertGreater((stripes >= 0).mean(), 0.7)
        largest = np.bincount(stripes[stripes >= 0]).argmax()
        self.assertGreater((stripes == largest).sum(), 0.7 * (stripes >= 0).sum())
        self.assertEqual((groups[self.truth != 1] == largest).sum(), 0)

    def test_order_and_threads(self):
        parts, mixed = self.group("parts.npz"), self.group("mixed.npz", "--threads", 3)
        for line, i in zip(mixed, self.order):
            self.assertEqual({**line, "index": i}, {**parts[i], "index": i})

    def test_known_groups(self):
        file = self.at("known.mechanisms")
        first = self.group("parts.npz", "--save", file)
        again = self.group("mixed.npz", "--known", file, "--save", file)
        found = 1 + max(line["group"] for line in first)
        names = {line["group"]: line["name"] for line in first if line["flagged"]}
        same = 0
        for line, i in zip(again, self.order):
            if line["flagged"] and line["known"]:
                self.assertLess(line["group"], found)
                self.assertEqual(line["name"], names[line["group"]])
                same += line["group"] == first[i]["group"]
        self.assertGreater(same, 0.8 * sum(line["flagged"] for line in first))
        self.assertEqual(os.listdir(self.folder).count("known.mechanisms"), 1)

    def test_text(self):
        lines = run("mechanisms", self.sketch, "--model", MLP, self.at("parts.npz"), "--alpha", 0.1).stdout.splitlines()
        self.assertEqual(lines[0].split(), ["group", "name", "inputs", "cohesion", "which"])
        self.assertRegex(lines[1], r"^ +0  [0-9a-f]{12}  new +\d+ +0\.\d\d  \d+")
        self.assertRegex(lines[-1], r"^\d+ of 60 inputs flagged$")

    def test_nothing_flagged_and_one(self):
        kept = [line["index"] for line in self.group("parts.npz") if not line["flagged"]]
        odd = [line["index"] for line in self.group("parts.npz") if line["flagged"]]
        x = np.load(self.at("parts.npz"))["x"]
        np.savez(self.at("calm.npz"), x=x[kept])
        np.savez(self.at("single.npz"), x=x[odd[:1]])
        self.assertEqual({line["group"] for line in self.group("calm.npz", "--save", self.at("none"))}, {-1})
        self.assertEqual(self.group("single.npz", "--known", self.at("none"))[0]["group"], 0)
        self.assertIn("0 of", run("mechanisms", self.sketch, "--model", MLP, self.at("calm.npz"), "--alpha", 0.1).stdout)

    def test_refuses(self):
        uncalibrated, other = self.at("uncalibrated.fattr"), self.at("other.fattr")
        run("build", MLP, "-r", self.at("references.npz"), "-o", uncalibrated)
        run("build", MLP, "-r", self.at("calibration.npz"), "-c", self.at("references.npz"), "-o", other)
        file = self.at("refused.mechanisms")
        self.group("parts.npz", "--save", file)
        good = ["--model", MLP, self.at("parts.npz")]
        with open(file, "rb") as f:
            data = bytearray(f.read())
        data[-100] ^= 1
        with open(self.at("damaged"), "wb") as f:
            f.write(data)
        for arguments, says in [
            ([uncalibrated, *good], "no calibration inputs"),
            ([self.sketch, "--model", CLEAN, self.at("parts.npz")], "clean.onnx"),
            ([other, *good, "--known", file], ["refused.mechanisms", "another sketch"]),
            ([self.sketch, *good, "--known", self.at("damaged")], "checksum"),
            ([self.sketch, *good, "--known", self.sketch], "not a file of mechanisms"),
            ([self.sketch, *good, "--known", self.at("nowhere")], "nowhere"),
            ([self.sketch, *good, "--known", self.at("parts.npz")], "parts.npz"),
            ([self.sketch, *good, "--save", self.folder], self.folder),
        ]:
            self.fails("mechanisms", *arguments, says=says)
        for arguments, says in [([self.sketch], "needs a sketch and a file"), ([self.sketch, self.at("parts.npz")], "needs --model"),
                                ([self.sketch, *good, "--known", file, "--likeness", 0.5], "--known brings"), ([self.sketch, *good, "--linkage", 2], "--linkage")]:
            self.fails("mechanisms", *arguments, says=says, code=2)


class Oracle(Case):
    """Fingerprints of references, whose signatures the sketch holds, from docs/mechanisms.md with NumPy and SciPy."""

    def test_fingerprints(self):
        file, ids = self.at("single.mechanisms"), 1000 + np.arange(60)
        # Every input that the threshold allows, and each a group of its own.
        lines = run_lines("mechanisms", self.sketch, "--model", MLP, self.at("references.npz"), "--alpha", 0.999, "--linkage", 0.99999, "--likeness", 1, "--save", file)
        meta, tensors = make_mechanism_seeds.read(file)
        where = {line["index"]: line["group"] for line in lines if line["flagged"]}
        self.assertGreater(len(where), 3)
        run("score", self.sketch, "--model", MLP, self.at("references.npz"), "--couplings", self.at("w.npz"), "--batch", 1)
        weights = np.load(self.at("w.npz"))["weights"].astype(float)
        self.assertEqual(np.load(self.at("w.npz"))["ids"].tolist(), ids.tolist())
        sketch_meta, sketch = make_mechanism_seeds.read(self.sketch)
        layers = [(layer["k_in"], layer["k_out"]) for layer in json.loads(sketch_meta["layers"]) if not layer["dropped"]]
        ridge = json.loads(sketch_meta["options"])["ridge"]
        tau = 1 / np.sqrt((sketch["references.share"] > 0).sum(1))
        signature = sketch["references.blocks"] * tau[:, None].astype(float)
        gram = sketch["references.gram"].astype(float)

        def features(residual):
            out, at = [], 0
            for rows, columns in layers:
                m = residual[at:at + rows * columns].reshape(rows, columns)
                at += rows * columns
                g = (m @ m.T) * np.where(np.eye(rows) > 0, 1, np.sqrt(2))
                g = g[np.triu_indices(rows)]
                out.append(g / np.linalg.norm(g))
            return np.concatenate(out)

        ordinary = []
        for j in range(60):
            rest = np.delete(np.arange(60), j)
            lower = np.linalg.cholesky(gram[np.ix_(rest, rest)] + ridge * np.eye(59))
            w, _ = nnls(lower.T, solve_triangular(lower, gram[rest, j], lower=True))
            ordinary.append(features(signature[j] - w @ signature[rest]))
        ordinary = np.array(ordinary)
        centred = ordinary - ordinary.mean(0)
        cov = centred.T @ centred / 60
        lower = np.linalg.cholesky(cov + np.trace(cov) / len(cov) * np.eye(len(cov)))
        for i, g in where.items():
            expected = solve_triangular(lower, features(signature[i] - weights[i] @ signature) - ordinary.mean(0), lower=True)
            expected /= np.linalg.norm(expected)
            self.assertEqual(tensors["groups.count"][g], 1)
            np.testing.assert_allclose(tensors["groups.sum"][g], expected, atol=2e-3)


class Three(Case):
    def test_three_backdoors(self):
        """The network with three backdoors: inputs that carry different triggers are not in one group. Made-up pictures, so few succeed; the
        quickstart measures on real ones."""
        three = os.path.join(MODELS, "three.onnx")
        run_json("build", three, "-r", self.at("references.npz"), "-c", self.at("calibration.npz"), "-o", self.at("three.fattr"))
        x, _ = images(30, 6)
        x[:, :, -3:, -3:] = 1
        wave = np.clip(x + 40 / 255 * np.sin(2 * np.pi * 6 * np.arange(28) / 28).astype(np.float32), 0, 1)
        np.savez(self.at("triggered.npz"), x=np.concatenate([x, wave]))
        lines = run_lines("mechanisms", self.at("three.fattr"), "--model", three, self.at("triggered.npz"))
        patch, sinusoid = ({line["group"] for line in part} - {-1} for part in (lines[:30], lines[30:]))
        self.assertEqual(len(lines), 60)
        self.assertTrue(sinusoid)
        self.assertFalse(patch & sinusoid & {max(sinusoid, key=lambda g: sum(line["group"] == g for line in lines))})


if __name__ == "__main__":
    unittest.main()
