# SPDX-License-Identifier: Apache-2.0
"""Options of trace sketches, and what there is to say about one."""
from __future__ import annotations

import ctypes
import os
from typing import Any, Dict, List, Mapping, Optional, Union

import numpy as np

from . import _arrays, _native, errors
from ._native import lib

#: A dict of fa_trace_options' fields with "preset" to begin with, or a preset's name alone.
Trace = Union[str, Mapping[str, Any], None]

_CHOICES = {"sampler": _native.SAMPLERS, "storage": _native.DRAWS, "batchnorm": _native.BATCHNORM}


def into(options: Any, trace: Trace) -> Optional[Any]:
    """Sets `options.trace`, and by a preset other fields; the result holds what they point to."""
    if trace is None:
        return None
    given: Dict[str, Any] = {"preset": trace} if isinstance(trace, str) else dict(trace)
    preset, sampling = given.pop("preset", None), given.get("sampling")
    t = _native.options("fa_trace_options")
    if preset is not None:
        lib.fa_trace_options_preset(ctypes.byref(options), ctypes.byref(t), _native.encode(preset))
    for name, table in _CHOICES.items():
        if name in given:
            given[name] = _native.choice(table, name, given[name])
    if sampling is not None:
        if not hasattr(sampling, "handle"):
            raise errors.error("FA_ERR_ARGUMENT", "sampling: a RefSet is taken")
        given["sampling"] = sampling.handle._as_parameter_
    if given.get("checkpoint") is not None:
        given["checkpoint"] = os.fsencode(given["checkpoint"])
    for name in ("checkpoint", "parameters"):
        given[name] = _native.encode(given.get(name))
    _native.assign(t, **given)
    options.trace = ctypes.pointer(t)
    return t, sampling


def chain_ids(trace: Trace) -> range:
    """The ids of the chains that a build with `trace` makes."""
    o = _native.options("fa_sketch_options")
    kept = into(o, trace)
    if kept is None:
        raise errors.error("FA_ERR_ARGUMENT", "trace: chains are those of a trace sketch, and its options are missing")
    t = kept[0]
    return range(t.first_chain, t.first_chain + t.chains)


class Traces:
    """What a trace sketch has beside a gradient sketch; StateError for the latter."""

    handle: Any
    info: Any

    @property
    def trace_info(self) -> Any:
        """How its draws were made, the mean loss before and over them, the diagnosis of the chains and its verdict in words."""
        return _native.info(lib.fa_sketch_get_trace_info, self.handle, "fa_trace_info")

    @property
    def chains(self) -> List[Any]:
        """Seed, id, draws, losses, distance and diagnosis of each chain."""
        return [_native.info(lib.fa_sketch_get_chain, self.handle, "fa_chain_info", i) for i in range(self.trace_info.chain_count)]

    @property
    def traces(self) -> "np.ndarray[Any, Any]":
        """[references, draws] The references' losses, nats, chain after chain."""
        out = np.empty((self.info.reference_count, self.trace_info.draw_count), np.float32)
        lib.fa_sketch_get_traces(self.handle, _arrays.pointer(out, ctypes.c_float))
        return out
