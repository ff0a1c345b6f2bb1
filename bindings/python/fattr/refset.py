# SPDX-License-Identifier: Apache-2.0
"""Sets of trusted inputs."""

import ctypes
from ctypes import c_int64

import numpy as np

from . import _native, errors
from ._native import Handle, lib
from .model import default_context


class RefSet(Handle):
    """A copy of trusted inputs: references, or held-out ones for calibration. Immutable; any number of threads may use one.

    x: an array [n, ...], for a model with several inputs a tuple of them by position or a dict by name.
    labels: [n] true classes, -1 where unknown; ids: [n] distinct numbers of yours, by default 0 to n - 1.
    """

    _type = "fa_refset"

    def __init__(self, x, *, labels=None, ids=None, context=None):
        arrays = _native.inputs(x)
        n = arrays[0][1].shape[:1] if arrays else ()
        kept = {name: _column(name, values, n) for name, values in (("labels", labels), ("ids", ids)) if values is not None}
        o = _native.options("fa_refset_options", **{name: _native.pointer(a, c_int64) for name, a in kept.items()})
        super().__init__(lib.fa_refset_create, (context or default_context()).handle, _native.c_arrays(arrays), len(arrays), ctypes.byref(o))

    def __len__(self):
        return lib.fa_refset_count(self.handle)

    @property
    def ids(self):
        return self._numbers(lib.fa_refset_get_id)

    @property
    def labels(self):
        """[n] true classes; StateError for a set without."""
        return self._numbers(lib.fa_refset_get_label)

    def _numbers(self, function):
        handle, out = self.handle, np.empty(len(self), np.int64)
        for i in range(len(out)):
            function(handle, i, ctypes.cast(out.ctypes.data + 8 * i, ctypes.POINTER(c_int64)))
        return out

    @property
    def digest(self):
        """Of shapes, types, elements, labels and ids, in hex."""
        return _native.digest(lib.fa_refset_digest, self.handle)


def _column(name, values, shape):
    a = np.asarray(values)
    if a.shape != shape:
        raise errors.error("FA_ERR_SHAPE", f"{name}: shape {list(a.shape)} where {list(shape)} is taken")
    if a.dtype.kind not in "iu":
        raise errors.error("FA_ERR_DTYPE", f"{name}: {a.dtype} where integers are taken")
    return np.ascontiguousarray(a, np.int64)


def as_refset(x, context):
    return x if x is None or isinstance(x, RefSet) else RefSet(x, context=context)
