# SPDX-License-Identifier: Apache-2.0
"""Scoring from 4 Python threads beside one: calls do not hold the interpreter lock. Prints JSON; fails where two cores give nothing."""
import json
import os
import statistics
import sys
import threading
import time

import numpy as np

import fattr
from support import MODELS, images

THREADS, ROUNDS = 4, 9


def seconds(scorers, x):
    share = np.array_split(x, len(scorers))
    out = [None] * len(scorers)

    def work(i):
        out[i] = scorers[i].score(share[i])
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(scorers))]
    start = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return time.perf_counter() - start, np.concatenate([r.score for r in out])


model = fattr.Model.load(MODELS / "clean.onnx")
sketch = fattr.Sketch.build(model, images(200, 1), images(50, 2))
x = images(512, 3)
scorers = [fattr.Scorer(sketch, model) for _ in range(THREADS)]
want = scorers[0].score(x).score
ratios = []
for _ in range(ROUNDS):  # pairs, so that a busy machine slows both
    alone, _ = seconds(scorers[:1], x)
    together, scores = seconds(scorers, x)
    np.testing.assert_array_equal(scores, want)
    ratios.append(alone / together)
speedup = statistics.median(ratios)
print(json.dumps({"threads": THREADS, "cores": os.cpu_count(), "inputs": len(x), "speedup": round(speedup, 2)}))
sys.exit(os.cpu_count() > 1 and speedup < 1.1)
