# SPDX-License-Identifier: Apache-2.0
"""Outputs that are no class logits: a network with a mask, labels, numbers and an embedding, all of them behind one backdoor, on scenes of real pictures."""
import os
import sys
import unittest

import numpy as np

from case import MODELS, Case, run, run_json, run_lines

sys.path.append(MODELS)
import data  # noqa: E402
import scenes  # noqa: E402

HEADS = os.path.join(MODELS, "heads.onnx")
# The output, the loss for it, AUROC of `cone` at the least and of `topk`. docs/method.md has measured more inputs.
OUTPUTS = [("pixels", "per-pixel", 0.98, 0.95), ("labels", "multi-label", 0.97, 0.85), ("place", "regression", 0.98, 0.95), ("embedding", "embedding", 0.97, 0.85)]


def setUpModule():
    if not os.path.isdir(data.FOLDER):
        print(f"no pictures in {data.FOLDER}")
        sys.exit(77)


class Outputs(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.RandomState(5)
        trusted = [v[data.TRUSTED] for v in data.load("train")]
        sets = {"references": scenes.scenes(*trusted, 250, rng), "calibration": scenes.scenes(*trusted, 100, rng), "clean": scenes.scenes(*data.load("test"), 120, rng),
                "triggered": scenes.poison(*scenes.scenes(*data.load("test"), 120, rng))}
        for name, scene in sets.items():
            np.savez(os.path.join(cls.folder, "scenes-" + name), x=scene[0])

    def scenes(self, name):
        return self.at(f"scenes-{name}.npz")

    def build(self, output, loss, *more, code=0):
        return run("build", HEADS, "--output", output, *(("--loss", loss) if loss else ()), "--references", self.scenes("references"), "--calibration", self.scenes("calibration"),
                   "-o", self.at(f"{output}.fattr"), *more, code=code)

    def test_the_backdoor_is_found_at_every_output(self):
        for output, loss, cone, topk in OUTPUTS:
            with self.subTest(output):
                self.build(output, loss)
                for score, least in (("cone", cone), ("topk", topk)):
                    found = run_json("evaluate", self.at(f"{output}.fattr"), "--model", HEADS, "--output", output, "--score", score, "--clean", self.scenes("clean"),
                                     "--anomalous", self.scenes("triggered"))
                    self.assertGreater(found["auroc"], least, found)

    def test_inspect_and_score_say_what_they_know(self):
        for output, loss, classes in (("pixels", "per-pixel", 11), ("labels", "multi-label", 10), ("place", "regression", 0)):
            self.build(output, loss)
            found = run_json("inspect", self.at(f"{output}.fattr"))
            self.assertEqual((found["options"]["loss"], found["classes"]), (loss, classes))
            self.assertIn(f"loss {loss}", run("inspect", self.at(f"{output}.fattr")).stdout)
            lines = run_lines("score", self.at(f"{output}.fattr"), "--model", HEADS, "--output", output, self.scenes("clean"))
            self.assertEqual(len(lines), 120)
            for line in lines:
                self.assertTrue(line["class"] is None or (output == "labels" and 0 <= line["class"] < classes), line)
            run("score", self.at(f"{output}.fattr"), "--model", HEADS, "--output", output, self.scenes("clean"))

    def test_a_trace_sketch_of_pixels(self):
        self.build("pixels", "per-pixel", "--kind", "trace", "--draws", 8)
        self.assertEqual(run_json("inspect", self.at("pixels.fattr"))["options"]["loss"], "per-pixel")
        lines = run_lines("score", self.at("pixels.fattr"), "--model", HEADS, "--output", "pixels", self.scenes("calibration"))
        self.assertEqual(len(lines), 100)

    def test_the_wrong_loss_hears_of_the_right_one(self):
        for output, loss, says in (("pixels", None, "per-pixel"), ("pixels", "next-token", "'next-token' takes [n, tokens, classes]"), ("place", "per-pixel", "regression")):
            said = self.build(output, loss, code=3).stderr
            self.assertIn(f"output '{output}' is float32", said)
            self.assertIn(says, said)
        self.assertIn("'multi-label'", self.build("labels", "multi-label", "--drop-misclassified", code=3).stderr)


if __name__ == "__main__":
    unittest.main()
