# SPDX-License-Identifier: Apache-2.0
"""Language models' own continuations of prompts."""
from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int64
from typing import Any, NamedTuple, Optional

import numpy as np

from . import _arrays, _native
from ._native import lib
from .model import Model
from .progress import Progress, long_options


class Responses(NamedTuple):
    """What generate() wrote: what RefSet and Scorer.score() take, RefSet(r.tokens, mask=r.mask)."""

    tokens: "np.ndarray[Any, Any]"  #: [n, length] int64: prompt, response, padding
    mask: "np.ndarray[Any, Any]"  #: [n, length] uint8, 1 where a token belongs to the response


def generate(model: Model, prompts: Any, *, tokens: int = 32, lengths: Any = None, stop: Optional[int] = None, pad: int = 0, batch: int = 16, name: Optional[str] = None,
             progress: Progress = None, timeout: Optional[float] = None) -> Responses:
    """The model's greedy continuation of prompts [n, t], padded on the right where lengths [n] says how many tokens each has.

    tokens: new ones of each prompt, at most; stop: a token that ends a response, as its last; pad: what stands behind one; batch: prompts per pass; name: of the
    model's input that holds tokens (None: the first of integers). progress and timeout as in Sketch.build().
    """
    given = _arrays.inputs({name: prompts} if name else prompts)
    held = None if lengths is None else _arrays.column("lengths", lengths, given[0][1].shape[0] if given[0][1].ndim else 0)
    made = [POINTER(_native.HANDLES["fa_tensor"])() for _ in range(2)]
    with long_options(progress=progress, timeout=timeout) as long:
        o = _native.options("fa_generate_options", tokens=tokens, stop=stop, pad=pad, batch=batch, timeout_ms=long.timeout_ms)
        o.progress = long.progress
        if held is not None:
            o.lengths = _arrays.pointer(held, c_int64)
        lib.fa_model_generate(model.handle, _arrays.c_arrays(given), ctypes.byref(o), *map(ctypes.byref, made))
    try:
        return Responses(*map(_taken, made))
    finally:
        for tensor in made:
            lib.fa_tensor_release(tensor)


def _taken(tensor: Any) -> "np.ndarray[Any, Any]":
    view = _native.STRUCTS["fa_array"]()
    lib.fa_tensor_view(tensor, ctypes.byref(view))
    return _arrays.copied(view)
