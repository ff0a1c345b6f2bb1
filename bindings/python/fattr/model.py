# SPDX-License-Identifier: Apache-2.0
"""Contexts and models."""

import ctypes
import os
import threading
from ctypes import POINTER

import numpy as np

from . import _native
from ._native import Handle, lib

_REALS = {number: name for name, number in _native.DTYPES.items()}


class Context(Handle):
    """What every other object hangs on. Any number of threads may use one.

    threads: that building a sketch may use; kernels: "auto", "reference" or "fast"; memory_limit: bytes of all objects together, 0 for none.
    """

    _type = "fa_context"

    def __init__(self, *, threads=1, kernels="auto", memory_limit=0):
        kernels = _native.choice(_native.KERNELS, "kernels", kernels)
        o = _native.options("fa_context_options", threads=threads, kernels=kernels, memory_limit=memory_limit)
        super().__init__(lib.fa_context_create, ctypes.byref(o))

    @property
    def memory_used(self):
        """Bytes that this context's objects hold now."""
        return lib.fa_context_memory_used(self.handle)

    @property
    def memory_peak(self):
        """The most bytes they ever held together."""
        return lib.fa_context_memory_peak(self.handle)

    @property
    def kernels(self):
        return _native.decode(lib.fa_context_kernels(self.handle))


_default = None
_default_lock = threading.Lock()


def default_context():
    """The context of all objects that were made without one: one thread, the fastest kernels, no memory limit."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context()
        return _default


class Model(Handle):
    """A network from an ONNX file. Immutable; any number of threads may use one."""

    _type = "fa_model"

    @classmethod
    def load(cls, path, *, output=None, context=None):
        """Reads an ONNX file. output: name of the value that holds the class logits; None: the first output, before a trailing Softmax."""
        o = _native.options("fa_model_options", output=_native.encode(output))
        context = context or default_context()
        return cls._open(context, lib.fa_model_load_file, context.handle, _native.encode(os.fsencode(path)), ctypes.byref(o))

    @classmethod
    def from_bytes(cls, data, *, output=None, context=None):
        """The same from the file's bytes."""
        o = _native.options("fa_model_options", output=_native.encode(output))
        context = context or default_context()
        return cls._open(context, lib.fa_model_load_memory, context.handle, bytes(data), len(data), ctypes.byref(o))

    def __init__(self, path, *, output=None, context=None):
        raise TypeError("Model.load() and Model.from_bytes() make models")

    @classmethod
    def _open(cls, context, create, *arguments):
        model = cls._made(create, *arguments)
        model.context = context
        return model

    @property
    def digest(self):
        """Of graph and weights, in hex: the same for two files that hold the same network."""
        return _native.digest(lib.fa_model_digest, self.handle)

    @property
    def info(self):
        return _native.info(lib.fa_model_get_info, self.handle, "fa_model_info")

    @property
    def inputs(self):
        """name, dtype, ndim and shape (-1: open; None: not said) of each input."""
        return [self._value(lib.fa_model_get_input, i) for i in range(self.info.input_count)]

    @property
    def outputs(self):
        return [self._value(lib.fa_model_get_output, i) for i in range(self.info.output_count)]

    def _value(self, function, i):
        v = _native.info(function, self.handle, "fa_value_info", i)
        return v._replace(dtype=_REALS.get(v.dtype), shape=tuple(v.shape[:v.ndim]) if v.ndim >= 0 else None)

    @property
    def nodes(self):
        """The nodes in topological order."""
        return [_native.info(lib.fa_model_get_node, self.handle, "fa_node_info", i) for i in range(self.info.node_count)]

    @property
    def layers(self):
        """The layers with weights; a sketch's `layers` patterns are matched against their names."""
        return [_native.info(lib.fa_model_get_layer, self.handle, "fa_layer_info", i) for i in range(self.info.layer_count)]

    def run(self, x, name=None):
        """Runs the network; returns the value `name` (of a node: its first output; None: the logits) as an array.

        x: an array [n, ...], for several inputs a tuple of them by position or a dict by name.
        """
        arrays = _native.inputs(x)
        tensor = POINTER(_native.HANDLES["fa_tensor"])()
        lib.fa_model_run(self.handle, _native.c_arrays(arrays), len(arrays), _native.encode(name), ctypes.byref(tensor))
        try:
            view = _native.STRUCTS["fa_array"]()
            lib.fa_tensor_view(tensor, ctypes.byref(view))
            out = np.empty(view.shape[:view.ndim], _REALS[view.dtype])
            ctypes.memmove(out.ctypes.data, view.data, out.nbytes)
        finally:
            lib.fa_tensor_release(tensor)
        return out
