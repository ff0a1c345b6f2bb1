# SPDX-License-Identifier: Apache-2.0
"""Was this output produced by the mechanisms the network uses on inputs we trust, or by something else?

    model = fattr.Model.load("model.onnx")
    sketch = fattr.Sketch.build(model, references, calibration)
    result = fattr.Scorer(sketch, model).score(images)
    result.score, result.p_value, result.flagged

A thin layer over libfattr. All scores: higher = more anomalous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _native
from .errors import (ArgumentError, CancelledError, FattrError, FileError, FormatError, InputError, InternalError, LimitError, MismatchError,
                     NoSignalError, OutOfMemoryError, StateError, UnsupportedError)
from .language import Responses, generate
from .loss import Loss
from .mechanisms import Mechanism, Mechanisms
from .model import Context, Model, default_context
from .monitor import Monitor
from .refset import RefSet
from .scorer import Result, Scorer, Tokens, detection_metrics
from .sketch import Sketch

if TYPE_CHECKING:
    from .detector import Detector, Explanation

__all__ = ["ArgumentError", "CancelledError", "Context", "Detector", "Explanation", "FattrError", "FileError", "FormatError", "InputError", "InternalError",
           "LimitError", "Loss", "Mechanism", "Mechanisms", "MismatchError", "Model", "Monitor", "NoSignalError", "OutOfMemoryError", "RefSet", "Responses", "Result", "Scorer", "Sketch",
           "StateError", "Tokens", "UnsupportedError", "build_info", "default_context", "detection_metrics", "generate"]

#: Version of the loaded C library.
__version__: str = _native.decode(_native.lib.fa_version_string())


def build_info() -> str:
    """How the loaded C library was built, and the kernels chosen on this CPU."""
    return _native.decode(_native.lib.fa_build_info())  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: scikit-learn takes a second to import, and is not needed for anything else.
    if name in ("Detector", "Explanation"):
        from . import detector
        return getattr(detector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
