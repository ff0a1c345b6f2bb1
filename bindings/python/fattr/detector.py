# SPDX-License-Identifier: Apache-2.0
"""Outlier detection by scikit-learn's conventions. scikit-learn itself is used where it is installed, and not needed."""
from __future__ import annotations

import inspect
import math
import os
from typing import Any, Dict, List, NamedTuple, Optional, Union

import numpy as np

from . import _native, errors
from .loss import Loss
from .model import Model, Path
from .progress import Progress
from .refset import RefSet
from .scorer import Result, ScorerPool
from .sketch import Sketch

try:
    from sklearn.base import BaseEstimator, OutlierMixin
    from sklearn.exceptions import NotFittedError
except ImportError:
    class BaseEstimator:  # type: ignore[no-redef]
        """What a detector uses of scikit-learn's."""

        @classmethod
        def _get_param_names(cls) -> List[str]:
            return sorted(p for p in inspect.signature(cls.__init__).parameters if p != "self")

        def get_params(self, deep: bool = True) -> Dict[str, Any]:
            return {name: getattr(self, name) for name in self._get_param_names()}

        def set_params(self, **params: Any) -> Any:
            for name, value in params.items():
                if name not in self._get_param_names():
                    raise ValueError(f"Invalid parameter {name!r} for estimator {type(self).__name__}")
                setattr(self, name, value)
            return self

    class OutlierMixin:  # type: ignore[no-redef]
        """What a detector uses of scikit-learn's."""

        _estimator_type = "outlier_detector"

        def fit_predict(self, X: Any, y: Any = None) -> Any:
            return self.fit(X).predict(X)  # type: ignore[attr-defined]

    class NotFittedError(ValueError, AttributeError):  # type: ignore[no-redef]
        """A detector is asked before fit()."""

Array = Any


class Explanation(NamedTuple):
    """What explains n inputs: their strongest references, strongest first."""

    references: Array  #: [n, top] rows of what fit() was given; for a loaded detector the references' ids
    weights: Array  #: [n, top] share of each in the explanation, >= 0; for scores without weights the couplings again
    couplings: Array  #: [n, top] cosine with each
    score: Array  #: [n] higher = more anomalous
    p_value: Array  #: [n]
    predicted: Array  #: [n] the model's classes


class Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Tells inputs whose output the network does not owe to what it does on trusted inputs. An outlier detector as scikit-learn has them.

    Read the signs: `score_samples` and `decision_function` are scikit-learn's, LOWER = more anomalous, while Scorer, Explanation and the C library
    have higher = more anomalous. `predict` gives -1 for anomalous inputs, 1 for others.

    Parameters
    ----------
    model : path of an ONNX file, Model, or a function of the trusted inputs [n, features] that returns either
    calibration : share of the trusted inputs that fit() holds out, chosen at random; their scores set the threshold
    method : "cone", "span", "topk", "class" or "mean"
    alpha : false positive rate to hold on trusted inputs; needs at least 1 / alpha - 1 calibration inputs. (Not scikit-learn's contamination, which is
        a share of outliers in the training set: here the training set is trusted.)
    max_batch : inputs that share a pass
    random_state : seed of the choice
    sketch_options : dict of Sketch.build's options
    loss : what the output is, "margin" (class logits, the default), "next-token", "per-token", "per-pixel", "multi-label", "regression", "embedding", or a function that gives
        the gradient at the outputs (fattr.Loss)
    progress : True for a bar, or a function; see Sketch.build

    Attributes
    ----------
    model_, sketch_ : the Model and the Sketch
    offset_ : decision_function = score_samples - offset_
    n_features_in_ : elements of one input
    references_ : the references [r, ...]; None for a loaded detector
    calibration_scores_ : the calibration inputs' scores, ascending, higher = more anomalous
    """

    def __init__(self, model: Any = None, *, calibration: float = 0.5, method: str = "cone", alpha: float = 0.05, max_batch: int = 16,
                 random_state: Optional[int] = 0, sketch_options: Optional[Dict[str, Any]] = None, progress: Progress = None, loss: Optional[Loss] = None) -> None:
        self.model = model
        self.calibration = calibration
        self.method = method
        self.alpha = alpha
        self.max_batch = max_batch
        self.random_state = random_state
        self.sketch_options = sketch_options
        self.progress = progress
        self.loss = loss

    def fit(self, X: Any, y: Any = None) -> "Detector":
        """Builds the sketch from trusted inputs: [n, features], or [n, ...] as the model takes them. y is ignored."""
        x = self._checked(X, fitting=True)
        n = len(x)
        if not 0 < self.calibration < 1:
            raise errors.error("FA_ERR_ARGUMENT", f"calibration: {self.calibration!r} is no share between 0 and 1")
        held = round(n * self.calibration)
        if n - held < 2 or held < 1:
            raise ValueError(f"n_samples={n} with calibration={self.calibration} leaves {n - held} references and {held} calibration inputs; at least 2 and 1 are needed")
        if held + 1 < 1 / self.alpha:
            raise errors.error("FA_ERR_ARGUMENT", f"alpha: {self.alpha} cannot be held with {held} calibration inputs; n_samples={n}, and at least "
                               f"{math.ceil((1 / self.alpha - 1) / self.calibration)} are needed")
        model = _as_model(self.model, x)
        x = _shaped(x, model)
        order = np.random.RandomState(self.random_state).permutation(n)
        chosen, rest = np.sort(order[held:]), np.sort(order[:held])
        references = RefSet(x[chosen], ids=chosen, context=model.context)
        sketch = Sketch.build(model, references, RefSet(x[rest], context=model.context), progress=self.progress,
                              **({} if self.loss is None else {"loss": self.loss}), **(self.sketch_options or {}))
        return self._take(model, sketch, x[chosen])

    def _take(self, model: Model, sketch: Sketch, references: Optional[Array]) -> "Detector":
        self.model_, self.sketch_, self.references_ = model, sketch, references
        self.reference_ids_ = np.array([r.id for r in sketch.references], np.int64)
        self.calibration_scores_ = sketch.calibration(self.method)
        # p <= alpha means that at most alpha (m + 1) - 1 calibration scores are as large: that the score lies above the next one.
        m = len(self.calibration_scores_)
        k = math.floor(self.alpha * (m + 1) * (1 + 1e-12)) - 1
        self.offset_ = -float(self.calibration_scores_[m - 1 - min(k, m - 1)])
        self._pool = self._scorers()
        return self

    def _scorers(self) -> ScorerPool:
        return ScorerPool(self.sketch_, self.model_, {"score": self.method, "alpha": self.alpha, "max_batch": self.max_batch,
                                                        "loss": self.loss if callable(self.loss) else None})

    def score_samples(self, X: Any) -> Array:
        """[n] minus the score: LOWER = more anomalous. Inputs without signal get -1, the lowest there is."""
        r = self.result(X)
        return -np.where(r.no_signal, 1.0, r.score)

    def decision_function(self, X: Any) -> Array:
        """[n] score_samples - offset_: negative = anomalous at the false positive rate alpha."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Array:
        """[n] -1 for anomalous inputs, 1 for others."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def result(self, X: Any) -> Result:
        """All that the scorer says: scores (higher = more anomalous), p-values, couplings, weights."""
        x = self._checked(X, fitting=False)
        return self._pool.score(_shaped(x, self.model_))

    def explain(self, X: Any, top: int = 5) -> Explanation:
        """The `top` references that explain each input."""
        r = self.result(X)
        strength = r.couplings if r.weights is None else r.weights
        best = np.argsort(-strength, axis=1, kind="stable")[:, :top]
        return Explanation(self.reference_ids_[best], np.take_along_axis(strength, best, 1), np.take_along_axis(r.couplings, best, 1), r.score, r.p_value, r.predicted)

    def save(self, path: Path) -> None:
        """Writes the sketch file, which fattr.Detector.load, the fattr program and the C library read. The model stays where it is."""
        self._check_fitted()
        self.sketch_.save(path)

    @classmethod
    def load(cls, path: Path, model: Union[Path, Model], **params: Any) -> "Detector":
        """A fitted detector from a sketch file with calibration and its model; params as of the constructor."""
        self = cls(model, **params)
        m = _as_model(model, None)
        sketch = Sketch.load(path, context=m.context)
        sketch.check_model(m)
        if not sketch.info.calibration_count:
            raise errors.error("FA_ERR_STATE", f"{os.fsdecode(path)} was built without calibration inputs: there is no threshold")
        shape = _item_shape(m)
        if shape:
            self.n_features_in_ = int(np.prod(shape))
        return self._take(m, sketch, None)

    def plot_scores(self, groups: Any, *, ax: Any = None) -> Any:
        """Scores of groups of inputs (a dict of arrays by name, or one array) beside the calibration inputs' and the threshold. Returns the axes."""
        from . import plot
        return plot.scores(self, groups, ax=ax)

    def plot_explanation(self, x: Any, *, top: int = 5, figure: Any = None) -> Any:
        """One input and the references that explain it, as pictures where inputs are pictures. Returns the figure."""
        from . import plot
        return plot.explanation(self, x, top=top, figure=figure)

    def plot_couplings(self, X: Any, *, ax: Any = None) -> Any:
        """Couplings of inputs with all references, both sorted by the model's class. Returns the axes."""
        from . import plot
        return plot.couplings(self, X, ax=ax)

    def _check_fitted(self) -> None:
        if not hasattr(self, "sketch_"):
            raise NotFittedError(f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments before using this estimator.")

    def _checked(self, X: Any, fitting: bool) -> Array:
        """[n, features], checked as scikit-learn does where it is there."""
        if not fitting:
            self._check_fitted()
        if isinstance(X, (dict, tuple)) and not hasattr(X, "toarray"):  # a sparse matrix may be a dict
            raise errors.error("FA_ERR_SHAPE", "Detector takes one array; for models with several inputs there are Sketch and Scorer")
        if not hasattr(X, "columns"):  # a data frame goes on as it is: its column names are remembered
            a = X if hasattr(X, "toarray") else np.asarray(X)
            X = a.reshape(len(a), math.prod(a.shape[1:])) if a.ndim > 2 else a
        return _validated(self, X, fitting)

    def __getstate__(self) -> Dict[str, Any]:
        state = super().__getstate__() if hasattr(super(), "__getstate__") else self.__dict__
        return {k: v for k, v in dict(state).items() if k != "_pool"}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        if hasattr(super(), "__setstate__"):
            super().__setstate__(state)
        else:
            self.__dict__.update(state)
        if hasattr(self, "sketch_"):
            self._pool = self._scorers()


def _as_model(model: Any, X: Any) -> Model:
    if model is None:
        raise errors.error("FA_ERR_ARGUMENT", "Detector needs a model: a path, a Model or a function that returns one")
    if callable(model):
        model = model(X)
    return model if isinstance(model, Model) else Model.load(model)


def _item_shape(model: Model) -> Optional[List[int]]:
    """Shape of one input, where the model says it."""
    inputs = model.inputs
    if len(inputs) != 1:
        raise errors.error("FA_ERR_ARGUMENT", f"Detector takes models with one input, and this one has {len(inputs)}; for others there are Sketch and Scorer")
    shape = inputs[0].shape
    return list(shape[1:]) if shape and all(d >= 0 for d in shape[1:]) else None


def _shaped(x: Array, model: Model) -> Array:
    shape = _item_shape(model)
    if shape is None:
        return x
    if x.shape[1] != math.prod(shape):
        raise errors.error("FA_ERR_SHAPE", f"X has {x.shape[1]} elements per input; the model takes {math.prod(shape)}, as {shape}")
    return x.reshape(len(x), *shape)


def _validated(estimator: Detector, X: Any, fitting: bool) -> Array:
    try:
        from sklearn.utils import validation
    except ImportError:
        x = np.asarray(X)
        if x.ndim < 2:
            raise errors.error("FA_ERR_SHAPE", f"X is an array [n, ...], not of shape {list(x.shape)}") from None
        if x.dtype.kind == "O":
            x = x.astype(float)
        if x.dtype.name not in _native.DTYPES:
            raise errors.error("FA_ERR_DTYPE", f"arrays of {x.dtype} are not supported") from None
        if x.size == 0:
            raise errors.error("FA_ERR_SHAPE", f"X is empty: {list(x.shape)}") from None
        if fitting:
            estimator.n_features_in_ = x.shape[1]
        elif getattr(estimator, "n_features_in_", x.shape[1]) != x.shape[1]:
            raise errors.error("FA_ERR_SHAPE", f"X has {x.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} features as input") from None
        return x
    if hasattr(validation, "validate_data"):  # 1.6 and newer
        return validation.validate_data(estimator, X, reset=fitting)
    return estimator._validate_data(X, reset=fitting)
