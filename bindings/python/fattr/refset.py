# SPDX-License-Identifier: Apache-2.0
"""Sets of trusted inputs."""
from __future__ import annotations

import ctypes
from ctypes import c_int64
from typing import Any, Dict, Optional, Tuple

import numpy as np

from . import _arrays, _native, errors
from ._arrays import Inputs
from ._native import Handle, lib
from .model import Context, default_context


class RefSet(Handle):
    """A copy of trusted inputs: references, or held-out ones for calibration. Immutable; any number of threads may use one.

    x: an array [n, ...], for a model with several inputs a tuple of them by position or a dict by name.
    labels: [n] true classes, -1 where unknown; ids: [n] distinct numbers of yours, by default 0 to n - 1.
    For models with an output at every position: mask [n, positions], what each counts (of a language model 1 where a token belongs to the response), and target
    [n, positions], the class that each is held against, negative for none.
    """

    _type = "fa_refset"

    def __init__(self, x: Inputs, *, labels: Any = None, ids: Any = None, mask: Any = None, target: Any = None, context: Optional[Context] = None) -> None:
        arrays = _arrays.inputs(x, target=target, mask=mask)
        n = arrays[0][1].shape[0] if arrays and arrays[0][1].ndim else 0
        kept = {name: _arrays.column(name, values, n) for name, values in (("labels", labels), ("ids", ids)) if values is not None}
        o = _native.options("fa_refset_options", **{name: _arrays.pointer(a, c_int64) for name, a in kept.items()})
        super().__init__(lib.fa_refset_create, (context or default_context()).handle, _arrays.c_arrays(arrays), len(arrays), ctypes.byref(o))

    def __len__(self) -> int:
        return lib.fa_refset_count(self.handle)  # type: ignore[no-any-return]

    def __reduce__(self) -> Tuple[Any, ...]:
        return _unpickle_refset, self.arguments()

    def arguments(self) -> Tuple[Inputs, Any, "np.ndarray[Any, Any]", Any, Any]:
        """x, labels, ids, mask and target (None for a set without) that make this set."""
        try:
            labels = self.labels
        except errors.StateError:
            labels = None
        inputs, asides = self._split()
        return inputs, labels, self.ids, asides.get("mask"), asides.get("target")

    @property
    def inputs(self) -> Inputs:
        """Copies of the arrays: a tuple by position, or a dict where they have names."""
        return self._split()[0]

    @property
    def mask(self) -> "Optional[np.ndarray[Any, Any]]":
        """The mask that came beside the inputs; None without (where all have names, it is among `inputs`)."""
        return self._split()[1].get("mask")

    @property
    def target(self) -> "Optional[np.ndarray[Any, Any]]":
        """The same of the targets."""
        return self._split()[1].get("target")

    def _split(self) -> "Tuple[Inputs, Dict[str, np.ndarray[Any, Any]]]":
        held, views = self.handle, []
        for i in range(lib.fa_refset_input_count(held)):
            view = _native.STRUCTS["fa_array"]()
            lib.fa_refset_get_input(held, i, ctypes.byref(view))
            views.append((_native.decode(view.name) if view.name else None, _arrays.copied(view)))
        if all(name for name, _ in views):
            return dict(views), {}
        return tuple(a for name, a in views if name not in _arrays.ASIDES), {name: a for name, a in views if name in _arrays.ASIDES}

    @property
    def ids(self) -> "np.ndarray[Any, Any]":
        """[n] the ids."""
        return self._numbers(lib.fa_refset_get_id)

    @property
    def labels(self) -> "np.ndarray[Any, Any]":
        """[n] true classes; StateError for a set without."""
        return self._numbers(lib.fa_refset_get_label)

    def _numbers(self, function: Any) -> "np.ndarray[Any, Any]":
        handle, out, number = self.handle, np.empty(len(self), np.int64), c_int64()
        for i in range(len(out)):
            function(handle, i, ctypes.byref(number))
            out[i] = number.value
        return out

    @property
    def digest(self) -> str:
        """Of shapes, types, elements, labels and ids, in hex."""
        return _native.digest(lib.fa_refset_digest, self.handle)


def _unpickle_refset(inputs: Inputs, labels: Any, ids: Any, mask: Any = None, target: Any = None) -> RefSet:
    return RefSet(inputs, labels=labels, ids=ids, mask=mask, target=target)


def as_refset(x: Any, context: Context) -> Optional[RefSet]:
    """x itself when it is a set or None, otherwise a set of it."""
    return x if x is None or isinstance(x, RefSet) else RefSet(x, context=context)
