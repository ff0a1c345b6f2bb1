# SPDX-License-Identifier: Apache-2.0
"""other_cpu.py SKETCH: scores by the kernels chosen on this CPU are those of the reference kernels. Builds the sketch where there is no file yet; test_wheel.sh
does so, and then runs this under emulated CPUs, which are slow."""
import os
import sys

import numpy as np

import fattr
from support import MODELS, images

path = sys.argv[1]
if not os.path.exists(path):
    model = fattr.Model.load(MODELS / "clean.onnx", context=fattr.Context(kernels="reference"))
    fattr.Sketch.build(model, images(30, 1), images(20, 2)).save(path)
scores = []
for kernels in ("auto", "reference"):
    context = fattr.Context(kernels=kernels)
    model = fattr.Model.load(MODELS / "clean.onnx", context=context)
    scores.append(fattr.Scorer(fattr.Sketch.load(path, context=context), model).score(images(4, 3)).score)
    print(context.kernels, *np.round(scores[-1], 5))
np.testing.assert_allclose(*scores, atol=1e-4)
