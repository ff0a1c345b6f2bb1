# SPDX-License-Identifier: Apache-2.0
"""Pictures of a detector's findings, with matplotlib, which is imported when one is drawn."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from . import errors

if TYPE_CHECKING:
    from .detector import Detector

TRUSTED, THRESHOLD = "0.6", "0.2"


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as e:
        raise ImportError(f"plots need matplotlib: {e}") from None
    return plt


def scores(detector: "Detector", groups: Any, *, ax: Any = None) -> Any:
    """Detector.plot_scores."""
    detector._check_fitted()
    if not isinstance(groups, dict):
        groups = {"inputs": groups}
    measured = {str(name): detector.result(x).score for name, x in groups.items()}
    ax = ax or _pyplot().subplots()[1]
    trusted = detector.calibration_scores_
    every = np.concatenate([trusted, *measured.values()])
    bins = np.linspace(every.min(), every.max() + 1e-9, 41)
    ax.hist(trusted, bins, density=True, color=TRUSTED, alpha=0.7, label=f"calibration ({len(trusted)})")
    for name, values in measured.items():
        ax.hist(values, bins, density=True, histtype="step", linewidth=1.8, label=f"{name} ({len(values)}, {100 * np.mean(values > -detector.offset_):.0f} % flagged)")
    ax.axvline(-detector.offset_, color=THRESHOLD, linestyle="--", label=f"threshold at alpha {detector.alpha:g}")
    ax.set(xlabel=f"{detector.method} score (higher = more anomalous)", ylabel="density")
    ax.legend(frameon=False, fontsize="small")
    return ax


def explanation(detector: "Detector", x: Any, *, top: int = 5, figure: Any = None) -> Any:
    """Detector.plot_explanation."""
    detector._check_fitted()
    from .detector import _item_shape
    shape = _item_shape(detector.model_)
    x = np.asarray(x)
    x = x.reshape(1, -1) if shape is None or x.size == np.prod(shape) else x
    if len(x) != 1:
        raise errors.error("FA_ERR_SHAPE", f"plot_explanation draws one input, and got {len(x)}")
    e = detector.explain(x, top)
    place = {int(number): k for k, number in enumerate(detector.reference_ids_)}
    pictures = None
    if shape is not None and detector.references_ is not None:
        pictures = [_picture(x.reshape(shape))] + [_picture(detector.references_[place[int(number)]].reshape(shape)) for number in e.references[0]]
    title = f"class {e.predicted[0]}, {detector.method} score {e.score[0]:.3f}, p {e.p_value[0]:.3f}"
    names = [f"#{number}" for number in e.references[0]]
    figure = figure or _pyplot().figure(figsize=(1.5 * (top + 1), 2.4), layout="constrained")
    if pictures is None or pictures[0] is None:
        ax = figure.subplots()
        ax.barh(names[::-1], e.weights[0][::-1], color=TRUSTED)
        ax.set(title=title, xlabel="weight", ylabel="reference")
        return figure
    axes = np.atleast_1d(figure.subplots(1, len(pictures)))
    for ax, picture, words in zip(axes, pictures, ["input"] + [f"{n}\nweight {w:.2f}\ncoupling {c:.2f}" for n, w, c in zip(names, e.weights[0], e.couplings[0])]):
        ax.imshow(picture, cmap="gray")
        ax.set_title(words, fontsize="small")
        ax.axis("off")
    figure.suptitle(title, fontsize="medium")
    return figure


def _picture(item: Any) -> Optional[Any]:
    """[h, w] or [h, w, 3] of an input that is a picture, None for others."""
    if item.ndim == 3 and item.shape[0] in (1, 3):
        item = np.moveaxis(item, 0, -1)
    if item.ndim == 3 and item.shape[2] == 1:
        item = item[:, :, 0]
    if item.ndim not in (2, 3) or min(item.shape[:2]) < 4 or (item.ndim == 3 and item.shape[2] != 3):
        return None
    low, high = float(item.min()), float(item.max())
    return (item - low) / (high - low or 1.0)


def couplings(detector: "Detector", X: Any, *, ax: Any = None) -> Any:
    """Detector.plot_couplings."""
    r = detector.result(X)
    references = np.array([q.predicted for q in detector.sketch_.references])
    rows, columns = np.argsort(r.predicted, kind="stable"), np.argsort(references, kind="stable")
    ax = ax or _pyplot().subplots()[1]
    image = ax.imshow(r.couplings[rows][:, columns], aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    for classes, draw in ((references[columns], ax.axvline), (r.predicted[rows], ax.axhline)):
        for k in np.flatnonzero(np.diff(classes)):
            draw(k + 0.5, color="0.3", linewidth=0.4)
    ax.set(xlabel="references, by class", ylabel="inputs, by class")
    ax.figure.colorbar(image, ax=ax, label="coupling")
    return ax
