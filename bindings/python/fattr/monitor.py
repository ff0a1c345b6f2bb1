# SPDX-License-Identifier: Apache-2.0
"""Drift: has the traffic as a whole left the references?"""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import c_double
from typing import Any, Optional, Union

import numpy as np

from . import _native
from ._arrays import pointer
from ._native import Handle, lib
from .model import Context, default_context


class Monitor(Handle):
    """Bets on a stream of p-values; its wealth grows when they are smaller than those of clean inputs would be. Threads that share one take turns.

    false_alarm (0.01): chance that a clean stream, however long, ever raises the alarm.
    calibration_count: inputs in the calibration set that the p-values come from, Sketch.info.calibration_count; 0: p-values are independent.
    """

    _type = "fa_monitor"

    def __init__(self, *, false_alarm: Optional[float] = None, calibration_count: Optional[int] = None, context: Optional[Context] = None) -> None:
        o = _native.options("fa_monitor_options", false_alarm=false_alarm, calibration_count=calibration_count)
        super().__init__(lib.fa_monitor_create, (context or default_context()).handle, ctypes.byref(o))
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path: Union[str, "os.PathLike[str]"], *, context: Optional[Context] = None) -> Monitor:
        """Goes on from a file."""
        new = cls._made(lib.fa_monitor_load_file, (context or default_context()).handle, _native.encode(os.fsencode(path)))
        new._lock = threading.Lock()
        return new

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes options and state to a file, atomically."""
        with self._lock:
            lib.fa_monitor_save_file(self.handle, _native.encode(os.fsencode(path)))

    def update(self, p_values: Any) -> bool:
        """Goes on with one p-value or an array of them, in the order of the inputs. Returns whether the alarm has been raised, now or before."""
        p = np.ascontiguousarray(p_values, np.float64).ravel()
        with self._lock:
            lib.fa_monitor_update(self.handle, pointer(p, c_double), p.size)
        return bool(self.state.alarm_at > 0)

    def reset(self) -> None:
        """Forgets what was seen."""
        with self._lock:
            lib.fa_monitor_reset(self.handle)

    @property
    def state(self) -> Any:
        """count, log_wealth, log_threshold, alarm_at (0: no alarm), smallest_p."""
        with self._lock:
            return _native.info(lib.fa_monitor_get, self.handle, "fa_monitor_state")
