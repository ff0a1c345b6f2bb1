# SPDX-License-Identifier: Apache-2.0
"""fattr merge of gradient sketches over shards of references."""
import unittest

import numpy as np

from case import CLEAN, MLP, Case, images, run, run_json, run_lines


class Shards(Case):
    CUTS = {"a": (0, 35), "b": (35, 45), "c": (45, 120)}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        x, y = images(120, 5)
        cls.rows = dict(x=x, y=y, id=np.arange(120))
        for name, (first, end) in cls.CUTS.items():
            np.savez(cls.at(name + ".npz"), **{k: v[first:end] for k, v in cls.rows.items()})
            run("build", MLP, "-r", cls.at(name + ".npz"), "--keep-moments", "-o", cls.at(name + ".fattr"))

    def merge_arguments(self, order, to, *more):
        return ["merge", *(self.at(name + ".fattr") for name in order), "--model", MLP,
                *(f"--references={self.at(name + '.npz')}" for name in order), "-o", self.at(to), *more]

    def scores(self, sketch):
        return np.array([r["score"] for r in run_lines("score", self.at(sketch), self.at("clean.npz"), "--model", MLP)])

    def test_is_the_sketch_of_all_references(self):
        calibration = ("--calibration", self.at("calibration.npz"))
        m = run_json(*self.merge_arguments("abc", "merged.fattr", *calibration))
        self.assertEqual((m["merged"], m["references"], m["calibration"], m["layers"]), (3, 120, 39, 3))
        run("build", MLP, "-r", self.save("all.npz", **self.rows), *calibration, "-o", self.at("single.fattr"))
        self.assertLess(np.abs(self.scores("merged.fattr") - self.scores("single.fattr")).max(), 1e-5)

    def test_same_bytes_in_any_order(self):
        run(*self.merge_arguments("abc", "abc.fattr"))
        text = run(*self.merge_arguments("cab", "cab.fattr", "--threads", 3)).stdout
        self.assertIn("120 references of 3 sketches", text)
        self.assertIn("calibration  none", text)
        with open(self.at("abc.fattr"), "rb") as one, open(self.at("cab.fattr"), "rb") as other:
            self.assertEqual(one.read(), other.read())

    def test_inspect_says_whether_moments_are_kept(self):
        for name, kept in (("a.fattr", True), ("model.fattr", False)):
            self.assertIs(run_json("inspect", self.at(name))["options"]["keep_moments"], kept)
        self.assertIn("moments     kept", run("inspect", self.at("a.fattr")).stdout)
        self.assertIn("moments     not kept", run("inspect", self.sketch).stdout)
        run(*self.merge_arguments("ab", "plain.fattr"))
        run(*self.merge_arguments("ab", "again.fattr", "--keep-moments"))
        self.assertIs(run_json("inspect", self.at("plain.fattr"))["options"]["keep_moments"], False)
        self.assertIs(run_json("inspect", self.at("again.fattr"))["options"]["keep_moments"], True)

    def test_memory_counts_moments(self):
        with_moments = run_json("build", MLP, "-r", self.at("a.npz"), "--memory", "--keep-moments")
        without = run_json("build", MLP, "-r", self.at("a.npz"), "--memory")
        layers = run_json("inspect", self.at("a.fattr"))["layers"]
        moments = sum(4 * n * (n + 1) for layer in layers for n in (layer["in"], layer["out"]))
        for what in ("sketch_bytes", "file_bytes"):
            self.assertAlmostEqual((with_moments[what] - without[what]) / moments, 1, delta=0.01)

    def test_refuses(self):
        a, b = self.at("a.fattr"), self.at("b.fattr")
        ra, rb = "--references=" + self.at("a.npz"), "--references=" + self.at("b.npz")
        out = ["-o", self.at("x.fattr")]
        trace = self.at("trace.fattr")
        run("build", MLP, "-r", self.at("a.npz"), "--kind", "trace", "--draws", 4, "-o", trace)
        same = self.save("same.npz", x=self.rows["x"][50:60], id=np.arange(10))
        run("build", MLP, "-r", same, "--keep-moments", "-o", self.at("same.fattr"))
        for arguments, says in [
            ([a, b, *out], "is a gradient sketch: merging needs --model"),
            ([a, b, "--model", MLP, ra, *out], "1 for 2 sketches"),
            ([a, b, "--model", MLP, rb, ra, *out], "sketch 0 of the merge was built from other references"),
            ([a, b, "--model", CLEAN, ra, rb, *out], "another model"),
            ([a, self.at("same.fattr"), "--model", MLP, ra, "--references=" + same, *out], "is given to more than one input"),
            ([a, self.sketch, "--model", MLP, ra, "--references=" + self.at("references.npz"), *out], "sketch 1 of the merge has no moments"),
            ([trace, "--model", MLP, ra, *out], "is a trace sketch"),
            ([a, trace, "--model", MLP, ra, ra, *out], "sketch 1 is a trace sketch"),
            ([trace, a, *out], "sketch 1 is a gradient sketch"),
        ]:
            with self.subTest(says=says):
                self.fails("merge", *arguments, says=says)
        self.fails("merge", a, ra, *out, says="need --model", code=2)
        self.fails("build", MLP, "-r", self.at("a.npz"), "--kind", "trace", "--keep-moments", *out, says="keep_moments")


if __name__ == "__main__":
    unittest.main()
