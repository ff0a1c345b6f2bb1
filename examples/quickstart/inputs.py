# SPDX-License-Identifier: Apache-2.0
"""Trusted, clean, triggered and foreign inputs of the quickstart as .npz files, from Fashion-MNIST and scikit-learn's digits."""
import pathlib
import sys

import numpy as np

MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
sys.path.insert(0, str(MODELS))
import data  # noqa: E402
import triggers  # noqa: E402

REFERENCES, CALIBRATION, TESTED = 500, 1000, 500


def write(folder):
    """One file per kind of input; nothing here was seen in training. Triggered inputs are images of other classes than the target."""
    rng = np.random.RandomState(0)
    images, labels = data.load("train")
    trusted = np.arange(data.TRUSTED.start, data.TRUSTED.stop)[rng.permutation(data.TRUSTED.stop - data.TRUSTED.start)]
    pick = {"references": trusted[:REFERENCES], "calibration": trusted[REFERENCES:REFERENCES + CALIBRATION]}
    for name, index in pick.items():
        np.savez(folder / f"{name}.npz", x=images[index], y=labels[index], id=index)
    images, labels = data.load("test")
    order = rng.permutation(len(images))
    clean, rest = order[:TESTED], order[TESTED:]
    np.savez(folder / "clean.npz", x=images[clean], y=labels[clean])
    others = rest[labels[rest] != triggers.TARGET]
    victims = others[:TESTED + 100]
    for name, trigger in triggers.TRIGGERS.items():
        np.savez(folder / f"{name}-all.npz", x=trigger(images[victims]).astype(np.float32), y=labels[victims])
    for network, names in triggers.TOGETHER.items():  # each trigger on images of its own
        for k, name in enumerate(names):
            victims = others[k * (TESTED + 100):(k + 1) * (TESTED + 100)]
            np.savez(folder / f"{network}-{name}-all.npz", x=triggers.TRIGGERS[name](images[victims]).astype(np.float32), y=labels[victims])
    for name, file in (("pgd", "pgd_inputs.npz"), ("three-pgd", "pgd_inputs_three.npz")):
        attacked = np.load(MODELS / file)
        np.savez(folder / f"{name}.npz", x=attacked["images"].astype(np.float32) / 255, y=attacked["label"].astype(np.int64))
    digits = data.digits()
    np.savez(folder / "digits.npz", x=digits[rng.permutation(len(digits))[:TESTED]])


def keep_successful(folder, name, logits):
    """Of the triggered inputs, those that the network sends to the target class: the others are no attack. Returns the success rate."""
    every = np.load(folder / f"{name}-all.npz")
    hit = logits.argmax(1) == triggers.TARGET
    np.savez(folder / f"{name}.npz", x=every["x"][hit][:TESTED], y=every["y"][hit][:TESTED])
    return hit.mean()
