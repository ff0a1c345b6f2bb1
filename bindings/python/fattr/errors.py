# SPDX-License-Identifier: Apache-2.0
"""What the library refuses, one class per family of status codes; `status` and `name` tell the codes of a family apart."""


class FattrError(Exception):
    """A call failed. `status` is the C library's code, `name` its name, `message` the words, which name the node, field, array or file offset."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message

    def __reduce__(self):
        return type(self), (self.status, self.message)

    def __str__(self):
        return self.message

    @property
    def name(self):
        return STATUS_NAMES.get(self.status, "unknown")


class ArgumentError(FattrError, ValueError):
    """An unknown name, a number outside its range."""


class OutOfMemoryError(FattrError, MemoryError):
    """No memory, or the context's memory limit would be passed."""


class FileError(FattrError, OSError):
    """The operating system refused to open, read or write a file."""


class FormatError(FattrError, ValueError):
    """A file is malformed, was altered, or was written by a newer format version."""


class UnsupportedError(FattrError):
    """The file is well-formed but asks for something the library does not have; the message lists all of it."""


class InputError(FattrError, ValueError):
    """An array's shape, element type or elements (NaN, infinity) do not fit."""


class MismatchError(FattrError):
    """A sketch and a model that do not belong together."""


class NoSignalError(FattrError):
    """Nothing to attribute to: no parameters, or no layer with a gradient on the references."""


class CancelledError(FattrError):
    """The progress callback or the deadline ended the work; nothing was changed."""


class LimitError(FattrError):
    """A limit of the context or of the library was passed."""


class StateError(FattrError):
    """The call does not fit the object's state, e.g. an alpha without calibration."""


class InternalError(FattrError):
    """A bug in libfattr: please report it."""


_CODES = {
    "FA_ERR_ARGUMENT": (-1, ArgumentError),
    "FA_ERR_MEMORY": (-2, OutOfMemoryError),
    "FA_ERR_IO": (-3, FileError),
    "FA_ERR_FORMAT": (-4, FormatError),
    "FA_ERR_CHECKSUM": (-5, FormatError),
    "FA_ERR_VERSION": (-6, FormatError),
    "FA_ERR_UNSUPPORTED": (-7, UnsupportedError),
    "FA_ERR_SHAPE": (-8, InputError),
    "FA_ERR_DTYPE": (-9, InputError),
    "FA_ERR_NOT_FINITE": (-10, InputError),
    "FA_ERR_MISMATCH": (-11, MismatchError),
    "FA_ERR_NO_SIGNAL": (-12, NoSignalError),
    "FA_ERR_CANCELLED": (-13, CancelledError),
    "FA_ERR_LIMIT": (-14, LimitError),
    "FA_ERR_STATE": (-15, StateError),
    "FA_ERR_INTERNAL": (-99, InternalError),
}
STATUS_NAMES = {code: name for name, (code, _) in _CODES.items()}
STATUS_CODES = {name: code for name, (code, _) in _CODES.items()}
_CLASSES = {code: kind for code, kind in _CODES.values()}


def error(status, message):
    """The exception for a status, a number or a name."""
    status = STATUS_CODES.get(status, status)
    return _CLASSES.get(status, FattrError)(status, message)
