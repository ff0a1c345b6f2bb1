# SPDX-License-Identifier: Apache-2.0
"""Progress, cancelling, Ctrl-C."""
import gc
import signal
import subprocess
import sys
import threading
import unittest

import fattr
from support import MODELS, N_REF, images


class Cancel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = fattr.Model.load(MODELS / "mlp.onnx", context=fattr.Context())
        cls.references = fattr.RefSet(images(N_REF, 1), context=cls.model.context)

    def setUp(self):
        self.used = self.model.context.memory_used

    def build(self, progress=None, **options):
        return fattr.Sketch.build(self.model, self.references, progress=progress, batch=4, **options)

    def check_unchanged(self):
        gc.collect()
        self.assertEqual(self.model.context.memory_used, self.used)

    def test_progress(self):
        seen = []
        self.assertEqual(self.build(lambda *a: seen.append(a)).info.reference_count, N_REF)
        self.assertTrue(seen)
        for stage, done, total in seen:
            self.assertTrue(isinstance(stage, str) and 0 <= done <= total)

    def test_true_cancels(self):
        with self.assertRaises(fattr.CancelledError):
            self.build(lambda *_: True)
        self.check_unchanged()

    def test_exception_cancels(self):
        def progress(*_):
            raise KeyError("mine")
        with self.assertRaisesRegex(KeyError, "mine"):
            self.build(progress)
        self.check_unchanged()

    def test_interrupt_cancels(self):
        calls = []

        def progress(*_):
            calls.append(signal.raise_signal(signal.SIGINT))
        before = signal.getsignal(signal.SIGINT)
        with self.assertRaises(KeyboardInterrupt):
            self.build(progress)
        self.assertEqual(len(calls), 1)
        self.assertIs(signal.getsignal(signal.SIGINT), before)
        self.check_unchanged()

    def test_interrupt_from_outside(self):
        """Without a callback of one's own, at any moment: in another process, whose building never ends by itself."""
        program = ("import fattr, sys, numpy\n"
                   "m = fattr.Model.load(sys.argv[1])\n"
                   "r = fattr.RefSet(numpy.random.default_rng(0).random((300, 1, 28, 28), 'f4'))\n"
                   "print('started', flush=True)\n"
                   "kept = []\n"
                   "while True: kept.append(fattr.Sketch.build(m, r))\n")
        for delay in (0, 0.05, 0.13, 0.31):
            p = subprocess.Popen([sys.executable, "-c", program, MODELS / "clean.onnx"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                self.assertEqual(p.stdout.readline(), "started\n")
                threading.Event().wait(delay)
                p.send_signal(signal.SIGINT)
                _, said = p.communicate(timeout=60)
            finally:
                p.kill()
                p.wait()
            self.assertEqual(said.strip().splitlines()[-1], "KeyboardInterrupt")
            self.assertNotIn("Exception ignored", said)
            self.assertEqual(p.returncode, -signal.SIGINT)

    def test_another_thread_builds(self):
        out = []
        t = threading.Thread(target=lambda: out.append(self.build()))
        t.start()
        t.join()
        self.assertEqual(out[0].info.reference_count, N_REF)


if __name__ == "__main__":
    unittest.main()
