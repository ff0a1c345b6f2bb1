# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays as the C interface takes them: without a copy where they are C-contiguous, aligned and in native byte order."""
from __future__ import annotations

import ctypes
from ctypes import POINTER, c_int64
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np

from . import errors
from ._native import DTYPE_NAMES, DTYPES, MAX_DIMS, STRUCTS, encode

#: An array [n, ...]; for a model with several inputs a tuple of them by position, or a dict by name.
Inputs = Union[Any, Tuple[Any, ...], Dict[str, Any]]
Named = List[Tuple[Optional[str], "np.ndarray[Any, Any]"]]


#: Arrays that may stand beside the inputs, by the names that the library knows them by.
ASIDES = ("target", "mask")


def inputs(x: Inputs, **asides: Any) -> Named:
    """[(name or None, array)] of what a call was given; asides that are None were not."""
    named = list(x.items()) if isinstance(x, dict) else [(None, a) for a in (x if isinstance(x, tuple) else (x,))]
    named += [(name, a) for name, a in asides.items() if a is not None]
    return [(name, _array(name, a)) for name, a in named]


def _array(name: Any, given: Any) -> "np.ndarray[Any, Any]":
    if name is not None and not isinstance(name, str):
        raise errors.error("FA_ERR_ARGUMENT", f"{name!r} is no name of an input")
    if isinstance(given, np.ma.MaskedArray):
        raise errors.error("FA_ERR_DTYPE", "masked arrays are not supported: the library would see what the mask hides")
    try:
        a = np.asarray(given)
    except ValueError as e:  # rows of different lengths
        raise errors.error("FA_ERR_SHAPE", f"an input is no array: {e}") from None
    if a.dtype.name not in DTYPES:
        raise errors.error("FA_ERR_DTYPE", f"arrays of {a.dtype} are not supported; there are {', '.join(DTYPES)}")
    if a.ndim > MAX_DIMS:
        raise errors.error("FA_ERR_SHAPE", f"an input has {a.ndim} dimensions; at most {MAX_DIMS} are allowed")
    # ENSUREARRAY: subclasses (np.matrix) have slicing rules of their own.
    return np.require(a, a.dtype.newbyteorder("="), ["C", "ALIGNED", "ENSUREARRAY"])


def c_arrays(named: Named) -> Any:
    """fa_array[] for what inputs() returned, which the caller keeps alive."""
    out = (STRUCTS["fa_array"] * len(named))()
    for c, (name, a) in zip(out, named):
        c.shape = ctypes.cast(a.ctypes.shape_as(c_int64), POINTER(c_int64)) if a.ndim else None
        c.data, c.ndim, c.dtype, c.name = a.ctypes.data, a.ndim, DTYPES[a.dtype.name], encode(name)
    return out


def copied(view: Any, first: int = 0, n: Optional[int] = None) -> "np.ndarray[Any, Any]":
    """What an fa_array shows, or n rows of it, as an array of Python's own."""
    shape = view.shape[:view.ndim]
    out = np.empty(shape if n is None else [n, *shape[1:]], DTYPE_NAMES[view.dtype])
    if out.nbytes:
        ctypes.memmove(out.ctypes.data, view.data + first * (out.nbytes // len(out) if view.ndim else 0), out.nbytes)
    return out


def rows(named: Named) -> int:
    """n, on which all arrays have to agree."""
    counts = {a.shape[:1] for _, a in named}
    if len(counts) != 1 or () in counts:
        raise errors.error("FA_ERR_SHAPE", "each input is an array [n, ...] with the same n")
    return int(counts.pop()[0])


def column(name: str, values: Any, n: int) -> "np.ndarray[Any, Any]":
    """[n] int64, of integers alone."""
    a = np.asarray(values)
    if a.shape != (n,):
        raise errors.error("FA_ERR_SHAPE", f"{name}: shape {list(a.shape)} where {[n]} is taken")
    if a.dtype.kind not in "iu" or (a.dtype == np.uint64 and n and a.max() > np.iinfo(np.int64).max):
        raise errors.error("FA_ERR_DTYPE", f"{name}: {a.dtype} where integers that fit int64 are taken")
    return np.ascontiguousarray(a, np.int64)


def pointer(a: "np.ndarray[Any, Any]", kind: Any) -> Any:
    """To the elements of an array that the caller keeps alive."""
    return a.ctypes.data_as(POINTER(kind))
