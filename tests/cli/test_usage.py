# SPDX-License-Identifier: Apache-2.0
"""Help, version, wrong usage."""
import subprocess
import unittest

from case import FATTR, MLP, Case, run

COMMANDS = ["build", "score", "evaluate", "inspect", "features", "report", "bench"]


class Usage(Case):
    def test_help_lists_commands(self):
        text = run("--help").stdout
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", text)
        self.assertEqual(run("-h").stdout, text)

    def test_help_of_commands(self):
        for command in COMMANDS:
            text = run(command, "--help").stdout
            self.assertTrue(text.startswith(f"Usage: fattr {command} "), text[:60])
            self.assertIn("Example", text)
            self.assertLessEqual(max(map(len, text.splitlines())), 80, command)
        text = run("build", "--help").stdout
        for words in ["(default 16)", "(default 0.25)", "(default 0.1)", "(default 1)"]:
            self.assertIn(words, text)

    def test_version(self):
        self.assertRegex(run("--version").stdout, r"^fattr \d+\.\d+\.\d+ ")

    def test_no_command(self):
        self.assertIn("Commands:", run(code=2).stderr)
        self.fails("sketch", says=["'sketch'", "fattr --help"], code=2)

    def test_wrong_options(self):
        for arguments, says in [
            (["build"], "model"),
            (["build", MLP, "-o", "x"], "--references"),
            (["build", MLP, "--references", "r.npz"], "-o"),
            (["build", MLP, "b.onnx", "--references", "r.npz", "-o", "x"], "'b.onnx'"),
            (["build", MLP, "--k-in", "0"], "--k-in"),
            (["build", MLP, "--k-in", "many"], "'many'"),
            (["build", MLP, "--beta", "nan"], "--beta"),
            (["build", MLP, "--blocks", "some"], "layer-unit"),
            (["build", MLP, "--loss", "hinge"], "cross-entropy"),
            (["build", MLP, "--threads", "0"], "--threads"),
            (["build", MLP, "--no-such-option"], "no-such-option"),
            (["build", MLP, "--seed"], "--seed"),
            (["score", self.sketch], "sketch and a file"),
            (["score", self.sketch, "x.npz"], "--model"),
            (["score", self.sketch, "x.npz", "--score", "best"], "cone, span, topk, class, mean"),
            (["score", self.sketch, "x.npz", "--alpha", "1"], "--alpha"),
            (["evaluate", self.sketch, "--model", MLP], "--clean"),
            (["inspect"], "file"),
            (["features", MLP, "x.npz"], "--node"),
            (["bench", MLP, "--shape", "1,,2"], "--shape"),
            (["report", self.sketch, "-o", "x.html"], "--manifest"),
            (["report", self.sketch, "--anomalous", "x.npz"], "NAME=FILE"),
            (["report", "--manifest", "m.json"], "-o"),
        ]:
            with self.subTest(arguments=arguments):
                self.fails(*arguments, says=says, code=2)

    def test_output_to_a_full_disk(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([FATTR, "inspect", MLP], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("cannot write the output", done.stderr)


if __name__ == "__main__":
    unittest.main()
