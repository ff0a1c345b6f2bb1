# SPDX-License-Identifier: Apache-2.0
"""Scoring inputs."""
from __future__ import annotations

import ctypes
import threading
from ctypes import c_double, c_float, c_int64
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from . import _arrays, _native, errors
from ._arrays import Inputs
from ._native import Handle, lib
from .loss import Gradient, Loss
from .model import Model
from .sketch import Sketch


class Result(NamedTuple):
    """What Scorer.score() found about n inputs. All scores: higher = more anomalous. The arrays are yours."""

    score: "np.ndarray[Any, Any]"  #: [n] the scorer's score
    p_value: "np.ndarray[Any, Any]"  #: [n] conformal p-values, NaN without calibration
    flagged: "Optional[np.ndarray[Any, Any]]"  #: [n] bool, p_value <= alpha; None without calibration: there is no verdict
    no_signal: "np.ndarray[Any, Any]"  #: [n] bool, the input's signature is zero
    predicted: "np.ndarray[Any, Any]"  #: [n] the model's classes
    confidence: "np.ndarray[Any, Any]"  #: [n] their softmax probabilities
    scores: "Dict[str, np.ndarray[Any, Any]]"  #: name: [n], those that were computed
    couplings: "np.ndarray[Any, Any]"  #: [n, references] cosine with every reference
    weights: "Optional[np.ndarray[Any, Any]]"  #: [n, references] what explains the input, >= 0 for cone; None for scores without weights
    residual: "Optional[np.ndarray[Any, Any]]"  #: [n, signature_length] what nothing explains, when asked for
    draws: "np.ndarray[Any, Any]"  #: [n] draws that were used; 0 for gradient sketches


_RESULT = _native.STRUCTS["fa_result"]
_COLUMNS = {"score": float, "p_value": float, "flagged": np.int32, "no_signal": bool, "predicted": np.int64, "confidence": float, "scores": float, "draws": np.int64}
_POINTERS = ("couplings", "weights", "residual")
#: fa_result as NumPy sees it, so that columns are copied in one go.
_RECORD = np.dtype({"names": [*_COLUMNS, *_POINTERS],
                    "formats": ["f8", "f8", "i4", "i4", "i8", "f8", ("f8", len(_native.SCORES)), "i8", "u8", "u8", "u8"],
                    "offsets": [getattr(_RESULT, name).offset for name in (*_COLUMNS, *_POINTERS)], "itemsize": ctypes.sizeof(_RESULT)})


class Tokens(NamedTuple):
    """What Scorer.tokens() found about the tokens of one response, in the order of the sequence."""

    position: "np.ndarray[Any, Any]"  #: [m] where in the sequence, from 1 on
    token: "np.ndarray[Any, Any]"  #: [m] which
    loss: "np.ndarray[Any, Any]"  #: [m] negative log-likelihoods, nats
    score: "np.ndarray[Any, Any]"  #: [m] the scorer's score of each token alone
    no_signal: "np.ndarray[Any, Any]"  #: [m] bool, its signature is zero
    couplings: "np.ndarray[Any, Any]"  #: [m, references] cosine with every reference
    weights: "Optional[np.ndarray[Any, Any]]"  #: [m, references] what explains the token; None for scores without weights


_TOKEN = _native.STRUCTS["fa_token"]
_TOKEN_COLUMNS = {"position": np.int64, "token": np.int64, "loss": float, "score": float, "no_signal": bool}


class Scorer(Handle):
    """Scores inputs with a sketch and its model. Threads that share one take turns; for speed make one per thread.

    score: "cone" (default), "span", "topk", "class" or "mean", what p-value and verdict refer to; all_scores: compute every one of them.
    alpha: false positive rate to hold, default 0.05; max_batch: inputs that share a pass; residual: return it too (cone and span). Inputs may have any size the
    model takes, whatever the references' was; plan_cache: sizes that the scorer stays ready for, default 4.
    threads: that share the inputs of a batch, or the layers of a single one (gradient sketches), default 1.
    signatures: how references are read for couplings (gradient sketches), "int16" (default), "f32" or "int8".
    For trace sketches: confidence, in (0, 1), stops before the last draw once the verdict is settled with this probability; draw_cache_bytes keeps draws
    ready to run. Their further scores are "mean_ccc" and "class_ccc".
    loss: the function that the sketch was built with, when it was one.
    """

    _type = "fa_scorer"

    def __init__(self, sketch: Sketch, model: Model, *, score: str = "cone", alpha: Optional[float] = None, max_batch: int = 16, all_scores: bool = False,
                 residual: bool = False, confidence: Optional[float] = None, draw_cache_bytes: Optional[int] = None,
                 plan_cache: Optional[int] = None, loss: Optional[Loss] = None, threads: Optional[int] = None, signatures: str = "int16") -> None:
        self._gradient = Gradient(loss, []) if callable(loss) else None
        o = _native.options("fa_scorer_options", max_batch=max_batch, score=_native.choice(_native.SCORES, "score", score), alpha=alpha,
                            all_scores=bool(all_scores), want_residual=bool(residual), confidence=confidence, draw_cache_bytes=draw_cache_bytes,
                            plan_cache=plan_cache, output_gradient=self._gradient and self._gradient.c, threads=threads, signatures=_native.choice(_native.SIGNATURES, "signatures", signatures))
        super().__init__(lib.fa_scorer_create, sketch.handle, model.handle, ctypes.byref(o))
        self.info = sketch.info
        self._lock = threading.Lock()
        self._batch = o.max_batch or 1
        self._weights = score in ("cone", "span")
        self._residual = residual

    def score(self, x: Inputs, *, mask: Any = None, target: Any = None) -> Result:
        """Scores an array [n, ...] of any n (several model inputs: a tuple of arrays by position, or a dict by name); mask and target as RefSet has them."""
        arrays = _arrays.inputs(x, target=target, mask=mask)
        n = _arrays.rows(arrays)
        out = self._empty(n)
        for first in range(0, n, self._batch):
            self._score_some(arrays, first, min(first + self._batch, n), out)
        scores = {name: np.ascontiguousarray(out["scores"][:, k]) for name, k in _native.SCORES.items()}
        out["scores"] = {name: column for name, column in scores.items() if not np.isnan(column).any()}
        out["flagged"] = out["flagged"] == 1 if self.info.calibration_count else None
        return Result(**out)

    def tokens(self, x: Inputs, *, mask: Any = None, target: Any = None) -> "List[Tokens]":
        """Takes responses of a language model apart (a sketch of the loss next-token): for each sequence of x, which references explain which token."""
        arrays = _arrays.inputs(x, target=target, mask=mask)
        return [self._tokens_of([(name, a[i:i + 1]) for name, a in arrays], i) for i in range(_arrays.rows(arrays))]

    def _tokens_of(self, one: Any, i: int) -> "Tokens":
        room, references, count = max(a[0].size for _, a in one), self.info.reference_count, c_int64()
        found = (_TOKEN * room)()
        couplings = np.empty((room, references), np.float32)
        weights = np.empty_like(couplings) if self._weights else None
        with self._lock:
            try:
                lib.fa_score_tokens(self.handle, _arrays.c_arrays(one), len(one), room, found, _arrays.pointer(couplings, c_float),
                                    None if weights is None else _arrays.pointer(weights, c_float), ctypes.byref(count))
            except errors.FattrError as e:
                raise errors.error(e.status, f"input {i}: {e.message}") from None if i else e
        n = count.value
        column = {name: np.array([getattr(t, name) for t in found[:n]], kind) for name, kind in _TOKEN_COLUMNS.items()}
        return Tokens(**column, couplings=couplings[:n].copy(), weights=None if weights is None else weights[:n].copy())

    def _empty(self, n: int) -> Dict[str, Any]:
        out: Dict[str, Any] = {name: np.empty(n, kind) for name, kind in _COLUMNS.items()}
        out["scores"] = np.empty((n, len(_native.SCORES)))
        out["couplings"] = np.empty((n, self.info.reference_count), np.float32)
        out["weights"] = np.empty_like(out["couplings"]) if self._weights else None
        out["residual"] = np.empty((n, self.info.signature_length), np.float32) if self._residual else None
        return out

    def _score_some(self, arrays: Any, first: int, end: int, out: Dict[str, Any]) -> None:
        part = [(name, a[first:end]) for name, a in arrays]
        results = (_RESULT * (end - first))()
        held = self.handle  # until the copies are made, whoever calls close()
        with self._lock:
            try:
                lib.fa_score_batch(held, _arrays.c_arrays(part), len(part), results, end - first)
            except errors.FattrError as e:
                if self._gradient and self._gradient.raised:
                    raised = self._gradient.raised.pop()
                    raise raised from None
                raise errors.error(e.status, f"inputs {first} to {end - 1}: {e.message}") from None if first else e
            records = np.frombuffer(results, _RECORD)
            for name in _COLUMNS:
                out[name][first:end] = records[name]
            for name in _POINTERS:
                rows = out[name]
                if rows is not None:
                    place, step = rows.ctypes.data + first * rows.strides[0], rows.strides[0]
                    for i, source in enumerate(records[name].tolist()):
                        ctypes.memmove(place + i * step, source, step)

    @property
    def timing(self) -> Any:
        """Nanoseconds of the last batch: forward_ns, backward_ns, coupling_ns, solve_ns."""
        with self._lock:
            return _native.info(lib.fa_scorer_get_timing, self.handle, "fa_score_timing")

    @property
    def flops(self) -> Tuple[float, float]:
        """(forward, score) FLOPs of one input, without couplings and solver."""
        forward, score = c_double(), c_double()
        lib.fa_scorer_get_flops(self.handle, ctypes.byref(forward), ctypes.byref(score))
        return forward.value, score.value


class ScorerPool:
    """Scorers that are not in use: threads that score at the same time have one each. Pickled it is sketch, model and options."""

    def __init__(self, sketch: Sketch, model: Model, options: Dict[str, Any]) -> None:
        self._made_of = sketch, model, options
        self._lock = threading.Lock()
        self._free: List[Scorer] = [Scorer(sketch, model, **options)]  # options are refused here, if at all

    def __reduce__(self) -> Tuple[Any, ...]:
        return ScorerPool, self._made_of

    def score(self, x: Inputs, **asides: Any) -> Result:
        """Scorer.score() by one of them."""
        with self._lock:
            scorer = self._free.pop() if self._free else None
        if scorer is None:
            sketch, model, options = self._made_of
            scorer = Scorer(sketch, model, **options)
        try:
            return scorer.score(x, **asides)
        finally:
            with self._lock:
                self._free.append(scorer)


def detection_metrics(clean: Any, anomalous: Any, *, acc: float = 1.0, asr: float = 1.0) -> Any:
    """auroc, aupr, aupr_clean, fpr95, der_best, best_threshold of scores (higher = more anomalous) of clean and anomalous inputs.

    acc, asr: the model's accuracy and the attack's success rate, for the defence effectiveness rating.
    """
    clean, anomalous = (np.ascontiguousarray(a, np.float64).ravel() for a in (clean, anomalous))

    def get(_: Any, out: Any) -> None:
        lib.fa_detection_metrics_compute(_arrays.pointer(clean, c_double), clean.size, _arrays.pointer(anomalous, c_double), anomalous.size, acc, asr, out)
    return _native.info(get, None, "fa_detection_metrics")
