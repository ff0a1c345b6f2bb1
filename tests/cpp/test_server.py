# SPDX-License-Identifier: Apache-2.0
"""The example server answers as the fattr program does, for any number of threads; a bad request harms nobody else."""
import os
import subprocess
import unittest

from case import MLP, Case, noise, run_lines


class Server(Case):
    def serve(self, data, threads, code=0):
        done = subprocess.run([os.environ["FATTR_SERVER"], MLP, self.sketch, str(threads)], input=data, capture_output=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        return [line.split(" ", 1) for line in done.stdout.decode().splitlines()], done.stderr.decode()

    def test_answers(self):
        x = noise(200, 5)
        self.save("requests.npz", x=x)
        want = run_lines("score", self.sketch, "--model", MLP, self.at("requests.npz"), "--batch", 1)
        for threads in (1, 3):
            lines, _ = self.serve(x.tobytes(), threads)
            self.assertEqual(sorted(int(number) for number, _ in lines), list(range(200)))
            for number, answer in lines:
                predicted, score, p_value, verdict = answer.split()
                w = want[int(number)]
                self.assertEqual((int(predicted), verdict == "flagged"), (w["class"], bool(w["flagged"])))
                self.assertAlmostEqual(float(score), w["score"], places=4)
                self.assertAlmostEqual(float(p_value), w["p"], places=3)

    def test_bad_requests(self):
        x = noise(9, 6)
        good = dict(map(tuple, self.serve(x.tobytes(), 1)[0]))
        x[4, 0, 2, 2] = float("inf")
        lines, said = self.serve(x.tobytes() + b"\0" * 40, 2, code=1)
        answers = dict(map(tuple, lines))
        self.assertIn("element 58 of input 0", answers.pop("4"))
        good.pop("4")
        self.assertEqual(answers, good)
        self.assertIn("10 of 784", said)
        self.assertEqual(self.serve(b"", 2)[0], [])


if __name__ == "__main__":
    unittest.main()
