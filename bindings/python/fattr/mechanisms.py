# SPDX-License-Identifier: Apache-2.0
"""Flagged inputs grouped by the mechanism that made their outputs."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_double, c_float, c_int64
from typing import Any, Callable, NamedTuple, Optional, Tuple, Union

import numpy as np

from . import _native, errors
from ._arrays import pointer
from ._native import Handle, lib
from .sketch import Sketch



class Mechanism(NamedTuple):
    """A known group of inputs."""

    name: str  #: twelve hexadecimal digits that stay as the group grows and is saved
    count: int  # type: ignore[assignment]  #: inputs put into it so far
    cohesion: float  #: mean similarity among its members, in (0, 1]
    center: "np.ndarray[Any, Any]"  #: [fingerprint length] mean of their fingerprints


class Mechanisms(Handle):
    """What is known of the mechanisms behind flagged inputs of one sketch; at first nothing. Immutable; any number of threads may use one.

    linkage (0.35), likeness (0.55): how alike inputs, and groups, must be to be put together; higher makes more and purer groups.
    """

    _type = "fa_mechanisms"

    def __init__(self, sketch: Sketch, *, linkage: Optional[float] = None, likeness: Optional[float] = None) -> None:
        o = _native.options("fa_mechanisms_options", linkage=linkage, likeness=likeness)
        super().__init__(lib.fa_mechanisms_create, sketch.handle, ctypes.byref(o))
        self._residual_length = sketch.info.signature_length

    @classmethod
    def load(cls, sketch: Sketch, path: Union[str, "os.PathLike[str]"]) -> Mechanisms:
        """Reads a file of mechanisms; MismatchError when it belongs to another sketch."""
        return cls._known(sketch, lib.fa_mechanisms_load_file, sketch.handle, _native.encode(os.fsencode(path)))

    @classmethod
    def from_bytes(cls, sketch: Sketch, data: bytes) -> Mechanisms:
        """The same from the file's bytes."""
        return cls._known(sketch, lib.fa_mechanisms_load_memory, sketch.handle, bytes(data), len(data))

    @classmethod
    def _known(cls, sketch: Sketch, create: Callable[..., Any], *arguments: Any) -> Mechanisms:
        new = cls._made(create, *arguments)
        new._residual_length = sketch.info.signature_length
        return new

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes the known groups to a file, atomically."""
        lib.fa_mechanisms_save_file(self.handle, _native.encode(os.fsencode(path)))

    def fingerprints(self, residual: Any) -> "np.ndarray[Any, Any]":
        """[n, length] fingerprints at unit length of residuals [n, signature_length], as a Scorer made with residual=True gives them."""
        residual = np.ascontiguousarray(residual, np.float32)
        if residual.ndim != 2 or residual.shape[1] != self._residual_length:
            raise errors.error("FA_ERR_SHAPE", f"residuals are an array [n, {self._residual_length}], not {list(residual.shape)}")
        out = np.empty((len(residual), lib.fa_mechanisms_fingerprint_length(self.handle)), np.float32)
        for x, to in zip(residual, out):
            lib.fa_mechanisms_fingerprint(self.handle, pointer(x, c_float), pointer(to, c_float))
        return out

    def group(self, fingerprints: Any) -> Tuple["np.ndarray[Any, Any]", Mechanisms]:
        """(groups, known): the number of each input's group, and what is known now. Known groups keep their numbers, new ones follow, the largest first.

        The same for any order of inputs.
        """
        x = self._checked(fingerprints)
        groups = np.empty(len(x), np.int64)
        known = self._made(lib.fa_mechanisms_group, self.handle, pointer(x, c_float), len(x), pointer(groups, c_int64))
        known._residual_length = self._residual_length
        return groups, known

    def assign(self, fingerprints: Any) -> Tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
        """(groups, likeness): the known group that each input is most like, judged one by one; -1 for something new."""
        x = self._checked(fingerprints)
        groups, likeness = np.empty(len(x), np.int64), np.empty(len(x))
        for i, row in enumerate(x):
            group, like = c_int64(), c_double()
            lib.fa_mechanisms_assign(self.handle, pointer(row, c_float), ctypes.byref(group), ctypes.byref(like))
            groups[i], likeness[i] = group.value, like.value
        return groups, likeness

    def _checked(self, fingerprints: Any) -> "np.ndarray[Any, Any]":
        x = np.ascontiguousarray(fingerprints, np.float32)
        length = lib.fa_mechanisms_fingerprint_length(self.handle)
        if x.ndim != 2 or x.shape[1] != length:
            raise errors.error("FA_ERR_SHAPE", f"fingerprints are an array [n, {length}], not {list(x.shape)}")
        return x

    def __len__(self) -> int:
        return int(lib.fa_mechanisms_count(self.handle))

    def __getitem__(self, index: int) -> Mechanism:
        if not -len(self) <= index < len(self):
            raise IndexError(f"group {index} of {len(self)}")
        held = self.handle  # until the center is copied
        info = _native.info(lib.fa_mechanisms_get, held, "fa_mechanism_info", index % len(self))
        length = lib.fa_mechanisms_fingerprint_length(held)
        return Mechanism(info.name, info.count, info.cohesion, np.ctypeslib.as_array(info.center, (length,)).copy())
