# SPDX-License-Identifier: Apache-2.0
"""Contexts and models."""
from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np

from . import _arrays, _native, errors
from ._arrays import Inputs
from ._native import Handle, lib

Path = Union[str, bytes, "os.PathLike[str]"]


class Context(Handle):
    """What every other object hangs on. Any number of threads may use one.

    threads: that building a sketch may use; kernels: "auto", "reference" or "fast"; memory_limit: bytes of all objects together, 0 for none.
    """

    _type = "fa_context"

    def __init__(self, *, threads: int = 1, kernels: str = "auto", memory_limit: int = 0) -> None:
        o = _native.options("fa_context_options", threads=threads, kernels=_native.choice(_native.KERNELS, "kernels", kernels), memory_limit=memory_limit)
        super().__init__(lib.fa_context_create, ctypes.byref(o))

    @property
    def memory_used(self) -> int:
        """Bytes that this context's objects hold now."""
        return lib.fa_context_memory_used(self.handle)  # type: ignore[no-any-return]

    @property
    def memory_peak(self) -> int:
        """The most bytes they ever held together."""
        return lib.fa_context_memory_peak(self.handle)  # type: ignore[no-any-return]

    @property
    def kernels(self) -> str:
        """The kernel set in use on this CPU."""
        return _native.decode(lib.fa_context_kernels(self.handle))  # type: ignore[no-any-return]


_default: Optional[Context] = None
_default_lock = threading.Lock()


def default_context() -> Context:
    """The context of all objects that were made without one: one thread, the fastest kernels, no memory limit."""
    global _default
    with _default_lock:
        if _default is None or _default._owner is None:
            _default = Context()
        return _default


class Model(Handle):
    """A network from an ONNX file. Immutable; any number of threads may use one, and copies are the same object.

    A pickled model holds its path, or the bytes it was made of, and its digest: unpickling reads it again and refuses another network.
    """

    _type = "fa_model"
    context: Context
    _source: Tuple[Any, Dict[str, Any]]

    @classmethod
    def load(cls, path: Path, *, output: Optional[str] = None, bound: Optional[Dict[str, Any]] = None, plan_cache: Optional[int] = None,
             precision: str = "f32", packing: str = "fast", context: Optional[Context] = None) -> "Model":
        """Reads an ONNX file. output: name of the value that holds the class logits; None: the first output, before a trailing Softmax.

        bound: inputs by name that are the same in every run (a sample rate, a mode): part of the model from then on, and given to no run.
        plan_cache: sizes of inputs and values that run() stays ready for, default 8.
        precision: "f32", or "bf16": layers round their weights and what they multiply to bfloat16, up to twice as fast where the CPU multiplies those.
        packing: "fast", or "once": weights are held once, in about the file's size, and a pass takes longer.
        """
        return cls._open(lib.fa_model_load_file, os.path.abspath(os.fsencode(path)), (_native.encode(os.fsencode(path)),), context, bound, output=output, plan_cache=plan_cache,
                         precision=precision, packing=packing)

    @classmethod
    def from_bytes(cls, data: bytes, *, output: Optional[str] = None, bound: Optional[Dict[str, Any]] = None, plan_cache: Optional[int] = None,
                   precision: str = "f32", packing: str = "fast", context: Optional[Context] = None) -> "Model":
        """The same from the file's bytes."""
        data = bytes(data)
        return cls._open(lib.fa_model_load_memory, bytearray(data), (data, len(data)), context, bound, output=output, plan_cache=plan_cache, precision=precision, packing=packing)

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("Model.load() and Model.from_bytes() make models")

    @classmethod
    def _open(cls, create: Any, source: Any, arguments: Tuple[Any, ...], context: Optional[Context], bound: Optional[Dict[str, Any]], output: Optional[str],
              plan_cache: Optional[int], precision: str, packing: str) -> "Model":
        held = _arrays.inputs(bound or {})
        o = _native.options("fa_model_options", output=_native.encode(output), bound=_arrays.c_arrays(held) if held else None, bound_count=len(held), plan_cache=plan_cache,
                            precision=_native.choice(_native.PRECISIONS, "precision", precision),
                            packing=_native.choice(_native.PACKINGS, "packing", packing))
        context = context or default_context()
        model = cls._made(create, context.handle, *arguments, ctypes.byref(o))
        model.context = context
        model._source = source, {"output": output, "bound": {name: a.copy() for name, a in held}, "plan_cache": plan_cache, "precision": precision, "packing": packing}
        return model

    def __copy__(self) -> "Model":
        return self

    def __deepcopy__(self, memo: Any) -> "Model":
        return self

    def __reduce__(self) -> Tuple[Any, ...]:
        return _unpickle_model, (*self._source, self.digest)

    @property
    def digest(self) -> str:
        """Of graph and weights, in hex: the same for two files that hold the same network."""
        return _native.digest(lib.fa_model_digest, self.handle)

    @property
    def info(self) -> Any:
        """Counts of parameters, nodes, layers and classes; opset; logits, the name of the value taken as such; producer; precision."""
        i = _native.info(lib.fa_model_get_info, self.handle, "fa_model_info")
        return i._replace(precision=_native.PRECISION_NAMES[i.precision])

    @property
    def inputs(self) -> List[Any]:
        """name, dtype, ndim and shape (-1: open; None: not said) of each input."""
        return [self._value(lib.fa_model_get_input, i) for i in range(self.info.input_count)]

    @property
    def outputs(self) -> List[Any]:
        """The same of each output."""
        return [self._value(lib.fa_model_get_output, i) for i in range(self.info.output_count)]

    def _value(self, function: Any, i: int) -> Any:
        v = _native.info(function, self.handle, "fa_value_info", i)
        return v._replace(dtype=_native.DTYPE_NAMES.get(v.dtype), shape=tuple(v.shape[:v.ndim]) if v.ndim >= 0 else None)

    @property
    def nodes(self) -> List[Any]:
        """The nodes in topological order: name, op, output, domain."""
        return [_native.info(lib.fa_model_get_node, self.handle, "fa_node_info", i) for i in range(self.info.node_count)]

    @property
    def layers(self) -> List[Any]:
        """The layers with weights; a sketch's `layers` patterns are matched against their names."""
        return [_native.info(lib.fa_model_get_layer, self.handle, "fa_layer_info", i) for i in range(self.info.layer_count)]

    def run(self, x: Inputs, name: Optional[str] = None) -> "np.ndarray[Any, Any]":
        """Runs the network; returns the value `name` (of a node: its first output; None: the logits) as an array.

        x: an array [n, ...], for several inputs a tuple of them by position or a dict by name.
        """
        arrays = _arrays.inputs(x)
        tensor = POINTER(_native.HANDLES["fa_tensor"])()
        lib.fa_model_run(self.handle, _arrays.c_arrays(arrays), len(arrays), _native.encode(name), ctypes.byref(tensor))
        try:
            view = _native.STRUCTS["fa_array"]()
            lib.fa_tensor_view(tensor, ctypes.byref(view))
            return _arrays.copied(view)
        finally:
            lib.fa_tensor_release(tensor)


def _unpickle_model(source: Any, options: Dict[str, Any], digest: str) -> Model:
    model = Model.from_bytes(bytes(source), **options) if isinstance(source, bytearray) else Model.load(source, **options)
    if model.digest != digest:
        raise errors.error("FA_ERR_MISMATCH", f"{os.fsdecode(source) if isinstance(source, bytes) else 'the model'} holds another network than the one that was pickled")
    return model
