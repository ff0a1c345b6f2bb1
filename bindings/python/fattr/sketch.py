# SPDX-License-Identifier: Apache-2.0
"""Sketches: what the references do in the network."""

import contextlib
import ctypes
import os
import signal
import threading
from ctypes import c_double

import numpy as np

from . import _native
from ._native import Handle, lib
from .model import default_context
from .refset import as_refset


class Sketch(Handle):
    """Projections, signatures and calibration of a reference set. Immutable; any number of threads may use one."""

    _type = "fa_sketch"

    def __init__(self, *_, **__):
        raise TypeError("Sketch.build(), Sketch.load() and Sketch.from_bytes() make sketches")

    @classmethod
    def build(cls, model, references, calibration=None, **options):
        """Builds a sketch on the threads of the model's context.

        references, calibration: RefSets, or what makes one; calibration inputs are trusted, held out and no references. Without them there is
        neither p-value nor verdict.
        options: k_in, k_out (16), beta (0.25), damping (0.1), ridge (1), blocks ("both", "plain", "layer-unit"), loss ("margin", "cross-entropy"), topk (5),
        layers (shell patterns over layer names, with commas, '!' takes out), seed (0), batch (16), drop_misclassified (False), keep_moments (False),
        timeout (seconds), and progress(stage, done, total), called a few times per second: a true result cancels, an exception cancels and is raised here. Ctrl-C cancels too.
        """
        with _options(**options) as o:
            return cls._made(lib.fa_sketch_build, model.handle, *_sets(model, references, calibration), ctypes.byref(o))

    @classmethod
    def merge_shards(cls, model, sketches, references, calibration=None, **options):
        """The sketch of all references, from sketches built with keep_moments over parts of them, and those parts in the same order; their ids must be
        distinct. The order of shards makes no difference. Options: batch, keep_moments, timeout, progress."""
        held, *sets = _sets(model, calibration, *references)
        shards = [s.handle for s in sketches]
        if len(shards) != len(sets):
            raise ValueError(f"{len(shards)} sketches, but {len(sets)} sets of references")
        with _options(**options) as o:
            return cls._made(lib.fa_sketch_merge_shards, model.handle, _native.handles("fa_sketch", shards), _native.handles("fa_refset", sets), len(shards), held,
                             ctypes.byref(o))

    def recalibrate(self, model, calibration, **options):
        """A sketch with the same signatures and another calibration set (None: none). Options: batch, timeout, progress."""
        with _options(**options) as o:
            return self._made(lib.fa_sketch_recalibrate, self.handle, model.handle, _sets(model, calibration)[0], ctypes.byref(o))

    @staticmethod
    def memory_estimate(model, references, calibration=None, **options):
        """What build() with the same arguments will take: build_bytes, sketch_bytes, scorer_bytes, file_bytes."""
        with _options(**options) as o:
            def get(handle, out):
                lib.fa_sketch_memory_estimate(handle, *_sets(model, references, calibration), ctypes.byref(o), out)
            return _native.info(get, model.handle, "fa_memory_estimate")

    @classmethod
    def load(cls, path, *, context=None):
        """Reads a sketch file."""
        return cls._made(lib.fa_sketch_load_file, (context or default_context()).handle, _native.encode(os.fsencode(path)))

    @classmethod
    def from_bytes(cls, data, *, context=None):
        """The same from the file's bytes."""
        return cls._made(lib.fa_sketch_load_memory, (context or default_context()).handle, bytes(data), len(data))

    def save(self, path):
        """Writes the sketch file, atomically."""
        lib.fa_sketch_save_file(self.handle, _native.encode(os.fsencode(path)))

    def check_model(self, model):
        """Raises MismatchError, saying what differs, when the sketch was made for another model."""
        lib.fa_sketch_check_model(self.handle, model.handle)

    @property
    def info(self):
        return _native.info(lib.fa_sketch_get_info, self.handle, "fa_sketch_info")

    @property
    def layers(self):
        """The tapped layers, those dropped for want of signal last."""
        info = self.info
        return [_native.info(lib.fa_sketch_get_layer, self.handle, "fa_sketch_layer_info", i) for i in range(info.layer_count + info.dropped_layer_count)]

    @property
    def references(self):
        """id, predicted class, true class (or -1) and no_signal of each reference."""
        return [_native.info(lib.fa_sketch_get_reference, self.handle, "fa_reference_info", i) for i in range(self.info.reference_count)]

    def audit(self, score="cone"):
        """[references] Scores of each reference against the others; higher = more anomalous. A poisoned reference set shows itself here."""
        return self._scores(lib.fa_sketch_audit, score, self.info.reference_count)

    def calibration(self, score="cone"):
        """[calibration inputs] Their scores, ascending; StateError without calibration."""
        return self._scores(lib.fa_sketch_get_calibration, score, self.info.calibration_count)

    def _scores(self, function, score, n):
        out = np.empty(n)
        function(self.handle, _native.choice(_native.SCORES, "score", score), _native.pointer(out, c_double))
        return out


def _sets(model, *sets):
    owners = [as_refset(s, model.context) for s in sets]
    return [s and s.handle for s in owners]


@contextlib.contextmanager
def _options(*, progress=None, timeout=None, blocks=None, loss=None, layers=None, **numbers):
    """The C options, for one long call. Python would lose an exception raised in a callback, so they are caught and raised when the call is over."""
    raised = []

    @_native.PROGRESS
    def tick(_user, stage, done, total):
        try:
            return int(bool(raised) or bool(progress and progress(_native.decode(stage), done, total)) or bool(raised))
        except BaseException as e:
            raised.append(e)
            return 1

    with _held_interrupts(raised):
        try:
            yield _native.options("fa_sketch_options", progress=tick, layers=_native.encode(layers),
                                  blocks=None if blocks is None else _native.choice(_native.BLOCKS, "blocks", blocks),
                                  loss=None if loss is None else _native.choice(_native.LOSSES, "loss", loss),
                                  timeout_ms=None if timeout is None else max(1, round(timeout * 1000)), **numbers)
        except Exception:
            if not raised:
                raise
    if raised:
        raise raised[0]


@contextlib.contextmanager
def _held_interrupts(raised):
    """Ctrl-C goes into `raised`: it may strike between C and the first line of a callback, where nothing could catch it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def hold(number, frame):
        try:
            before(number, frame)
        except BaseException as e:
            raised.append(e)

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
