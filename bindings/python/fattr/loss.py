# SPDX-License-Identifier: Apache-2.0
"""Losses: the library's by name, or a function that gives the gradient at the outputs."""
from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Tuple, Union

import numpy as np

from . import _arrays, _interface, _native, errors

#: A name ("margin", "next-token", ...; fattr/loss.h says what each takes), or a function of outputs [n, length] and a tuple of the inputs [n, ...] they belong to, in the model's
#: order, that returns the gradient [n, length] of a loss of yours at the outputs. Each input's is taken to unit length. It is called from several threads.
Loss = Union[str, Callable[["np.ndarray[Any, Any]", Tuple["np.ndarray[Any, Any]", ...]], Any]]


class Gradient:
    """A function as the C library calls it. What it raises is kept in `raised`, and is raised anew when the library's call is over."""

    def __init__(self, function: Callable[..., Any], raised: List[BaseException]) -> None:
        self._function, self.raised = function, raised
        self.c = _native.OUTPUT_GRADIENT(self._call)

    def _call(self, _user: Any, batch: Any, to: Any) -> int:
        try:
            b = batch.contents
            shape = b.n, b.length
            inputs = tuple(_arrays.copied(b.inputs[i], b.first, b.n) for i in range(b.input_count))
            gradient = np.asarray(self._function(np.ctypeslib.as_array(b.outputs, shape).copy(), inputs), np.float32)
            if gradient.shape != shape:
                raise errors.error("FA_ERR_SHAPE", f"the loss returned a gradient of shape {list(gradient.shape)} where {list(shape)} is taken")
            np.ctypeslib.as_array(to, shape)[...] = gradient
            return 0
        except BaseException as e:
            self.raised.append(e)
            return int(_interface.CONSTANTS["FA_ERR_CANCELLED"])


def number(loss: Loss) -> int:
    """FA_LOSS_..."""
    return _native.LOSSES["host"] if callable(loss) else _native.choice(_native.LOSSES, "loss", loss)
