# SPDX-License-Identifier: Apache-2.0
"""What the library refuses, one class per family of status codes; `status` and `name` tell the codes of a family apart."""
from __future__ import annotations

from typing import Any, ClassVar, Dict, Tuple, Union


class FattrError(Exception):
    """A call failed. `status` is the C library's code, `name` its name, `message` the words, which name the node, field, array or file offset."""

    codes: ClassVar[Dict[str, int]] = {}

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = NAMES.get(status, "unknown")
        self.message = message

    def __reduce__(self) -> Tuple[Any, ...]:
        return type(self), (self.status, self.message)

    def __str__(self) -> str:
        return self.message


class ArgumentError(FattrError, ValueError):
    """An unknown name, a number outside its range."""
    codes = {"FA_ERR_ARGUMENT": -1}


class OutOfMemoryError(FattrError, MemoryError):
    """No memory, or the context's memory limit would be passed."""
    codes = {"FA_ERR_MEMORY": -2}


class FileError(FattrError, OSError):
    """The operating system refused to open, read or write a file."""
    codes = {"FA_ERR_IO": -3}


class FormatError(FattrError, ValueError):
    """A file is malformed, was altered, or was written by a newer format version."""
    codes = {"FA_ERR_FORMAT": -4, "FA_ERR_CHECKSUM": -5, "FA_ERR_VERSION": -6}


class UnsupportedError(FattrError):
    """The file is well-formed but asks for something the library does not have; the message lists all of it."""
    codes = {"FA_ERR_UNSUPPORTED": -7}


class InputError(FattrError, ValueError):
    """An array's shape, element type or elements (NaN, infinity) do not fit."""
    codes = {"FA_ERR_SHAPE": -8, "FA_ERR_DTYPE": -9, "FA_ERR_NOT_FINITE": -10}


class MismatchError(FattrError):
    """A sketch and a model that do not belong together."""
    codes = {"FA_ERR_MISMATCH": -11}


class NoSignalError(FattrError):
    """Nothing to attribute to: no parameters, or no layer with a gradient on the references."""
    codes = {"FA_ERR_NO_SIGNAL": -12}


class CancelledError(FattrError):
    """The progress callback or the deadline ended the work; nothing was changed."""
    codes = {"FA_ERR_CANCELLED": -13}


class LimitError(FattrError):
    """A limit of the context or of the library was passed."""
    codes = {"FA_ERR_LIMIT": -14}


class StateError(FattrError):
    """The call does not fit the object's state, e.g. an alpha without calibration."""
    codes = {"FA_ERR_STATE": -15}


class InternalError(FattrError):
    """A bug in libfattr: please report it."""
    codes = {"FA_ERR_INTERNAL": -99}


NUMBERS: Dict[str, int] = {name: number for kind in FattrError.__subclasses__() for name, number in kind.codes.items()}
NAMES = {number: name for name, number in NUMBERS.items()}
_CLASSES = {number: kind for kind in FattrError.__subclasses__() for number in kind.codes.values()}


def error(status: Union[int, str], message: str) -> FattrError:
    """The exception for a status, a number or a name."""
    number = NUMBERS[status] if isinstance(status, str) else status
    return _CLASSES.get(number, FattrError)(number, message)
