# SPDX-License-Identifier: Apache-2.0
"""Sketches: what the references do in the network."""
from __future__ import annotations

import ctypes
import os
import tempfile
from ctypes import c_double
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from . import _arrays, _native
from ._native import Handle, lib
from .model import Context, Model, Path, default_context
from .progress import long_options
from .refset import as_refset
from .trace import Traces


class Sketch(Traces, Handle):
    """Projections, signatures and calibration of a reference set. Immutable; any number of threads may use one, and copies are the same object."""

    _type = "fa_sketch"

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Sketch.build(), Sketch.load() and Sketch.from_bytes() make sketches")

    @classmethod
    def build(cls, model: Model, references: Any, calibration: Any = None, **options: Any) -> "Sketch":
        """Builds a sketch on the threads of the model's context.

        references, calibration: RefSets, or what makes one; calibration inputs are trusted, held out and no references. Without them there is
        neither p-value nor verdict.
        options: k_in, k_out (16), beta (0.25), damping (0.1), ridge (1), blocks ("both", "plain", "layer-unit"), loss ("margin", "cross-entropy" and others, or a function:
        fattr.Loss), topk (5),
        layers (shell patterns over layer names, with commas, '!' takes out), max_forwards (of these the last alone, so that a score costs no more; 0: all),
        subset ("all", or "class": only references of the predicted class explain an input), seed (0), batch (16), drop_misclassified (False), keep_moments (False),
        timeout (seconds), and progress: True for a bar (tqdm's, where it is installed), or a function of (stage, done, total), called a few times per second: a true result
        cancels, an exception cancels and is raised here. Ctrl-C cancels too.
        trace: "paper", or a dict of fa_trace_options' fields (docs/method.md; preset="paper" may be one) makes a trace sketch.
        """
        with long_options(**options) as o:
            return cls._made(lib.fa_sketch_build, model.handle, *_sets(model, references, calibration), ctypes.byref(o))

    @classmethod
    def merge(cls, sketches: Sequence["Sketch"]) -> "Sketch":
        """Joins trace sketches with different chains over the same model, references and options; their order does not matter."""
        kept = [s.handle for s in sketches]
        return cls._made(lib.fa_sketch_merge, _native.handles("fa_sketch", kept), len(kept))

    @classmethod
    def merge_shards(cls, model: Model, sketches: Sequence["Sketch"], references: Sequence[Any], calibration: Any = None, **options: Any) -> "Sketch":
        """The sketch of all references, from sketches built with keep_moments over parts of them, and those parts in the same order; their ids must be
        distinct. The order of shards makes no difference. Options: batch, keep_moments, timeout, progress, and the
        loss where it is a function."""
        held, *sets = _sets(model, calibration, *references)
        shards = [s.handle for s in sketches]
        if len(shards) != len(sets):
            raise ValueError(f"{len(shards)} sketches, but {len(sets)} sets of references")
        with long_options(**options) as o:
            return cls._made(lib.fa_sketch_merge_shards, model.handle, _native.handles("fa_sketch", shards), _native.handles("fa_refset", sets), len(shards), held,
                             ctypes.byref(o))

    def recalibrate(self, model: Model, calibration: Any, **options: Any) -> "Sketch":
        """A sketch with the same signatures and another calibration set (None: none). Options: batch, timeout, progress, and the loss where it is a function."""
        with long_options(**options) as o:
            return self._made(lib.fa_sketch_recalibrate, self.handle, model.handle, _sets(model, calibration)[0], ctypes.byref(o))

    @staticmethod
    def memory_estimate(model: Model, references: Any, calibration: Any = None, **options: Any) -> Any:
        """What build() with the same arguments will take: build_bytes, sketch_bytes, scorer_bytes, file_bytes."""
        with long_options(**options) as o:
            def get(handle: Any, out: Any) -> None:
                lib.fa_sketch_memory_estimate(handle, *_sets(model, references, calibration), ctypes.byref(o), out)
            return _native.info(get, model.handle, "fa_memory_estimate")

    @classmethod
    def load(cls, path: Path, *, context: Optional[Context] = None) -> "Sketch":
        """Reads a sketch file."""
        return cls._made(lib.fa_sketch_load_file, (context or default_context()).handle, _native.encode(os.fsencode(path)))

    @classmethod
    def from_bytes(cls, data: bytes, *, context: Optional[Context] = None) -> "Sketch":
        """The same from the file's bytes."""
        data = bytes(data)
        return cls._made(lib.fa_sketch_load_memory, (context or default_context()).handle, data, len(data))

    def save(self, path: Path) -> None:
        """Writes the sketch file, atomically."""
        lib.fa_sketch_save_file(self.handle, _native.encode(os.fsencode(path)))

    def to_bytes(self) -> bytes:
        """The sketch file's bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "sketch.fattr")
            self.save(path)
            with open(path, "rb") as f:
                return f.read()

    def __copy__(self) -> "Sketch":
        return self

    def __deepcopy__(self, memo: Any) -> "Sketch":
        return self

    def __reduce__(self) -> Tuple[Any, ...]:
        return Sketch.from_bytes, (self.to_bytes(),)

    def check_model(self, model: Model) -> None:
        """Raises MismatchError, saying what differs, when the sketch was made for another model."""
        lib.fa_sketch_check_model(self.handle, model.handle)

    @property
    def info(self) -> Any:
        """Counts of references, calibration inputs, classes and layers; the options it was built with; precision of the model it was built with; digests."""
        i = _native.info(lib.fa_sketch_get_info, self.handle, "fa_sketch_info")
        return i._replace(precision=_native.PRECISION_NAMES[i.precision])

    @property
    def layers(self) -> List[Any]:
        """The tapped layers, those dropped for want of signal last."""
        info = self.info
        return [_native.info(lib.fa_sketch_get_layer, self.handle, "fa_sketch_layer_info", i) for i in range(info.layer_count + info.dropped_layer_count)]

    @property
    def references(self) -> List[Any]:
        """id, predicted class, true class (or -1) and no_signal of each reference."""
        return [_native.info(lib.fa_sketch_get_reference, self.handle, "fa_reference_info", i) for i in range(self.info.reference_count)]

    def audit(self, score: str = "cone") -> "np.ndarray[Any, Any]":
        """[references] Scores of each reference against the others; higher = more anomalous. A poisoned reference set shows itself here."""
        return self._scores(lib.fa_sketch_audit, score, self.info.reference_count)

    def calibration(self, score: str = "cone") -> "np.ndarray[Any, Any]":
        """[calibration inputs] Their scores, ascending; StateError without calibration."""
        return self._scores(lib.fa_sketch_get_calibration, score, self.info.calibration_count)

    def _scores(self, function: Any, score: str, n: int) -> "np.ndarray[Any, Any]":
        out = np.empty(n)
        function(self.handle, _native.choice(_native.SCORES, "score", score), _arrays.pointer(out, c_double))
        return out


def _sets(model: Model, *sets: Any) -> List[Any]:
    owners = [as_refset(s, model.context) for s in sets]
    return [s.handle if s is not None else None for s in owners]
