# SPDX-License-Identifier: Apache-2.0
"""Scoring inputs."""

import ctypes
import threading
from ctypes import c_double
from typing import Dict, NamedTuple, Optional

import numpy as np

from . import _native, errors
from ._native import Handle, lib


class Result(NamedTuple):
    """What Scorer.score() found about n inputs. All scores: higher = more anomalous. The arrays are yours."""

    score: np.ndarray  #: [n] the scorer's score
    p_value: np.ndarray  #: [n] conformal p-values, NaN without calibration
    flagged: Optional[np.ndarray]  #: [n] bool, p_value <= alpha; None without calibration: there is no verdict
    no_signal: np.ndarray  #: [n] bool, the input's signature is zero
    predicted: np.ndarray  #: [n] the model's classes
    confidence: np.ndarray  #: [n] their softmax probabilities
    scores: Dict[str, np.ndarray]  #: name: [n], those that were computed
    couplings: np.ndarray  #: [n, references] cosine with every reference
    weights: Optional[np.ndarray]  #: [n, references] what explains the input, >= 0 for cone; None for scores without weights
    residual: Optional[np.ndarray]  #: [n, signature_length] what nothing explains, when asked for


class Scorer(Handle):
    """Scores inputs with a sketch and its model. Threads that share one take turns; for speed make one per thread.

    score: "cone" (default), "span", "topk", "class" or "mean", what p-value and verdict refer to; all_scores: compute every one of them.
    alpha: false positive rate to hold, default 0.05; max_batch: inputs that share a pass; residual: return it too (cone and span).
    """

    _type = "fa_scorer"

    def __init__(self, sketch, model, *, score="cone", alpha=None, max_batch=16, all_scores=False, residual=False):
        o = _native.options("fa_scorer_options", max_batch=max_batch, score=_native.choice(_native.SCORES, "score", score), alpha=alpha,
                            all_scores=bool(all_scores), want_residual=bool(residual))
        super().__init__(lib.fa_scorer_create, sketch.handle, model.handle, ctypes.byref(o))
        self.info = sketch.info
        self._lock = threading.Lock()
        self._batch = o.max_batch or 1
        self._weights = score in ("cone", "span")
        self._residual = residual

    def score(self, x):
        """Scores an array [n, ...] of any n (several model inputs: a tuple of arrays by position, or a dict by name)."""
        arrays = _native.inputs(x)
        n = _rows(arrays)
        out = self._empty(n)
        for first in range(0, n, self._batch):
            self._score_some(arrays, first, min(first + self._batch, n), out)
        scores = {name: np.ascontiguousarray(out["scores"][:, k]) for name, k in _native.SCORES.items()}
        out["scores"] = {name: column for name, column in scores.items() if not np.isnan(column).any()}
        out["flagged"] = out["flagged"] == 1 if self.info.calibration_count else None
        return Result(**out)

    def _empty(self, n):
        columns = {"score": (), "p_value": (), "flagged": np.int8, "no_signal": bool, "predicted": np.int64, "confidence": ()}
        out = {name: np.empty(n, kind or float) for name, kind in columns.items()}
        out["scores"] = np.empty((n, len(_native.SCORES)))
        out["couplings"] = np.empty((n, self.info.reference_count), np.float32)
        out["weights"] = np.empty_like(out["couplings"]) if self._weights else None
        out["residual"] = np.empty((n, self.info.signature_length), np.float32) if self._residual else None
        return out

    def _score_some(self, arrays, first, end, out):
        inputs = _native.c_arrays([(name, a[first:end]) for name, a in arrays])
        results = (_native.STRUCTS["fa_result"] * (end - first))()
        held = self.handle  # until the copies are made, whoever calls close()
        with self._lock:
            try:
                lib.fa_score_batch(held, inputs, len(inputs), results, end - first)
            except errors.FattrError as e:
                raise errors.error(e.status, f"inputs {first} to {end - 1}: {e.message}") from None if first else e
            for i, r in enumerate(results, first):
                for name in ("score", "p_value", "flagged", "no_signal", "predicted", "confidence", "scores"):
                    out[name][i] = getattr(r, name)
                for name in ("couplings", "weights", "residual"):
                    if out[name] is not None:
                        row = out[name][i]
                        ctypes.memmove(row.ctypes.data, getattr(r, name), row.nbytes)

    @property
    def timing(self):
        """Nanoseconds of the last batch: forward_ns, backward_ns, coupling_ns, solve_ns."""
        with self._lock:
            return _native.info(lib.fa_scorer_get_timing, self.handle, "fa_score_timing")

    @property
    def flops(self):
        """(forward, score) FLOPs of one input, without couplings and solver."""
        forward, score = c_double(), c_double()
        lib.fa_scorer_get_flops(self.handle, ctypes.byref(forward), ctypes.byref(score))
        return forward.value, score.value


def _rows(arrays):
    counts = {a.shape[:1] for _, a in arrays}
    if len(counts) != 1 or () in counts:
        raise errors.error("FA_ERR_SHAPE", "each input is an array [n, ...] with the same n")
    return counts.pop()[0]


def detection_metrics(clean, anomalous, *, acc=1.0, asr=1.0):
    """auroc, aupr, aupr_clean, fpr95, der_best, best_threshold of scores (higher = more anomalous) of clean and anomalous inputs.

    acc, asr: the model's accuracy and the attack's success rate, for the defence effectiveness rating.
    """
    clean, anomalous = (np.ascontiguousarray(a, np.float64).ravel() for a in (clean, anomalous))

    def get(_, out):
        lib.fa_detection_metrics_compute(_native.pointer(clean, c_double), clean.size, _native.pointer(anomalous, c_double), anomalous.size, acc, asr, out)
    return _native.info(get, None, "fa_detection_metrics")
