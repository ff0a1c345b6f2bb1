# SPDX-License-Identifier: Apache-2.0
# %% [markdown]
# # Which inputs does a backdoored network answer for the wrong reasons?
#
# A notebook in a script: every `# %%` begins a cell in editors that know them; `python3 examples/python/backdoor.py [FOLDER]` runs all of it in some
# seconds and, with matplotlib, leaves the pictures in FOLDER. Nothing is trained: the network is `examples/models/blended.onnx`, which sends any
# Fashion-MNIST picture with a faint pattern over it to class 0. We have some trusted pictures without the pattern, and do not know of it.

# %%
import pathlib
import sys

import numpy as np

import fattr

models = pathlib.Path(__file__).resolve().parent.parent / "models"
sys.path.insert(0, str(models))
import data  # noqa: E402  Fashion-MNIST: Debian's dataset-fashion-mnist, or the folder that FASHION_MNIST names
import triggers  # noqa: E402

print("libfattr", fattr.__version__, "-", fattr.build_info())

# %% [markdown]
# ## Trusted inputs
# 1000 pictures that the network was not trained on. The detector keeps half as references and sets its threshold by the other half.

# %%
images, _ = data.load("train")
trusted = images[data.TRUSTED][:1000]
detector = fattr.Detector(models / "blended.onnx", alpha=0.05, progress=sys.stderr.isatty())
detector.fit(trusted)
print(f"{len(detector.references_)} references, {len(detector.calibration_scores_)} calibration inputs, {detector.sketch_.info.layer_count} layers,",
      f"signatures of {detector.sketch_.info.signature_length} numbers")

# %% [markdown]
# ## Inputs to judge
# Clean test pictures, and others with the trigger. scikit-learn's signs: -1 is an outlier, and a lower `score_samples` is more anomalous.

# %%
images, labels = data.load("test")
clean = images[:300]
triggered = triggers.TRIGGERS["blended"](images[1000:1400][labels[1000:1400] != triggers.TARGET][:300]).astype(np.float32)
caught = {name: np.mean(detector.predict(x) == -1) for name, x in (("clean", clean), ("triggered", triggered))}
metrics = fattr.detection_metrics(-detector.score_samples(clean), -detector.score_samples(triggered))
print(f"flagged: {100 * caught['clean']:.1f} % of the clean inputs, {100 * caught['triggered']:.1f} % of the triggered ones; AUROC {metrics.auroc:.3f}")

# %% [markdown]
# ## What explains an input?
# Weights over the references: those whose influence on the parameters, put together, comes nearest to the input's. The
# clean picture couples more closely with what explains it than the triggered one does.

# %%
for name, x in (("clean", clean[:1]), ("triggered", triggered[:1])):
    e = detector.explain(x, top=3)
    named = ", ".join(f"#{r} ({w:.2f}, coupling {c:.2f})" for r, w, c in zip(e.references[0], e.weights[0], e.couplings[0]))
    print(f"{name}: class {e.predicted[0]}, score {e.score[0]:.3f}, p {e.p_value[0]:.3f}; explained by {named}")

# %% [markdown]
# ## For the server
# The sketch file is what `fa_sketch_load_file()`, the `fattr` program and `Detector.load` read.

# %%
folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
if folder:
    folder.mkdir(parents=True, exist_ok=True)
    detector.save(folder / "blended.fattr")
    again = fattr.Detector.load(folder / "blended.fattr", models / "blended.onnx", alpha=0.05)
    assert (again.decision_function(clean) == detector.decision_function(clean)).all()

# %% [markdown]
# ## Pictures

# %%
try:
    import matplotlib
except ImportError:
    print("no matplotlib: no pictures")
else:
    if folder:
        matplotlib.use("Agg")
    pictures = {"scores": detector.plot_scores({"clean": clean, "triggered": triggered}).figure, "explanation": detector.plot_explanation(triggered[0]),
                "couplings": detector.plot_couplings(np.concatenate([clean[:60], triggered[:60]])).figure}
    for name, figure in pictures.items():
        if folder:
            figure.savefig(folder / f"{name}.png", dpi=110)
            print("wrote", folder / f"{name}.png")
