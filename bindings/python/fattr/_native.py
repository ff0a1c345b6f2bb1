# SPDX-License-Identifier: Apache-2.0
"""The C interface in ctypes: types and functions made of _interface.py's declarations, the library, handles, options and info structs."""
from __future__ import annotations

import ctypes
import functools
import operator
import os
import re
import weakref
from collections import namedtuple
from ctypes import POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar, Union

from . import errors
from ._interface import CONSTANTS, DECLARATIONS

SONAME = "libfattr.so.0"
MAX_DIMS = CONSTANTS["FA_MAX_DIMS"]
DIGEST_SIZE = CONSTANTS["FA_DIGEST_SIZE"]


def _numbers(prefix: str, between: str = "_") -> Dict[str, int]:
    return {name[len(prefix):].lower().replace("_", between): number for name, number in CONSTANTS.items() if name.startswith(prefix) and not name.endswith("_COUNT")}


SCORES = _numbers("FA_SCORE_")
BLOCKS = _numbers("FA_BLOCKS_", "-")
SUBSETS = _numbers("FA_SUBSET_")
SIGNATURES = _numbers("FA_SIGNATURES_")
LOSSES = _numbers("FA_LOSS_", "-")
KERNELS = _numbers("FA_KERNELS_")
PRECISIONS = _numbers("FA_PRECISION_")
PACKINGS = _numbers("FA_PACKING_")
SAMPLERS = _numbers("FA_SAMPLER_")
DRAWS = _numbers("FA_DRAWS_")
BATCHNORM = _numbers("FA_BATCHNORM_")
DTYPES = {name: CONSTANTS["FA_" + name.upper()] for name in ("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float16", "float64", "uint32",
                                                             "uint64", "bfloat16")}
PRECISION_NAMES = {number: name for name, number in PRECISIONS.items()}
DTYPE_NAMES = {number: name for name, number in DTYPES.items()}

_TYPES: Dict[str, Any] = {"fa_status": c_int32, "int32_t": c_int32, "int64_t": c_int64, "uint64_t": c_uint64, "size_t": c_size_t, "double": c_double, "float": c_float, "char": c_char,
                          "uint8_t": c_uint8}
_STRUCT = re.compile(r"typedef struct (\w+) \{ (.*) \} \w+;")
_HANDLE = re.compile(r"typedef struct (\w+) \w+;")
_CALLBACK = re.compile(r"(?:typedef )?(\w+ \**)\(\*(\w+)\)\((.*)\);?")
_FUNCTION = re.compile(r"(?:const )?(\w+ \**)(\w+)\((.*)\);")
_VARIABLE = re.compile(r"(?:const |struct )*(\w+) ((?:\*(?:const )?)*)(\w*)(?:\[(\w+)\])?$")


def _type(base: str, stars: int) -> Any:
    base_type: Any
    if stars and base in ("char", "void"):
        base_type, stars = {"char": c_char_p, "void": c_void_p}[base], stars - 1
    else:
        base_type = None if base == "void" else _TYPES[base]
    for _ in range(stars):
        base_type = POINTER(base_type)
    return base_type


def _parameter(text: str) -> Any:
    base, stars, _, array = _VARIABLE.match(text).groups()  # type: ignore[union-attr]
    return _type(base, stars.count("*") + bool(array))


def _parameters(text: str) -> List[Any]:
    return [] if text == "void" else [_parameter(p) for p in text.split(", ")]


def _fields(text: str) -> List[Tuple[str, Any]]:
    out = []
    for declaration in text.rstrip(";").split("; "):
        if "(*" in declaration:  # a callback that Python never sets
            out.append((_CALLBACK.match(declaration)[2], c_void_p))  # type: ignore[index]
            continue
        first, *more = declaration.split(", ")
        base, stars, name, array = _VARIABLE.match(first).groups()  # type: ignore[union-attr]
        kind = _type(base, stars.count("*"))
        if array:
            kind = kind * CONSTANTS.get(array, int(array) if array.isdigit() else 0)
        out += [(n, kind) for n in (name, *more)]
    return out


def _declare() -> Tuple[Dict[str, Any], Dict[str, Any], Dict[str, Tuple[str, str]]]:
    lines = DECLARATIONS.strip().splitlines()
    handles = {m[1]: type(m[1], (ctypes.Structure,), {}) for m in map(_HANDLE.fullmatch, lines) if m}
    _TYPES.update(handles)
    found = [m for m in map(_STRUCT.fullmatch, lines) if m]
    structs: Dict[str, Any] = {m[1]: type(m[1], (ctypes.Structure,), {"__doc__": "As in the public headers."}) for m in found}
    _TYPES.update(structs)
    for m in filter(None, map(_CALLBACK.fullmatch, lines)):
        if m[0].startswith("typedef"):
            _TYPES[m[2]] = ctypes.CFUNCTYPE(_parameter(m[1]), *_parameters(m[3]))
    for m in found:  # after all of them are known: some point to later ones
        structs[m[1]]._fields_ = _fields(m[2])
    functions = {m[2]: (m[1], m[3]) for m in map(_FUNCTION.fullmatch, lines) if m}
    return handles, structs, functions


HANDLES, STRUCTS, FUNCTIONS = _declare()
PROGRESS = _TYPES["fa_progress"]
OUTPUT_GRADIENT = _TYPES["fa_output_gradient"]
_DIGEST = c_uint8 * DIGEST_SIZE


def _raise(status: int, function: Any, arguments: Any) -> None:
    if status:
        raise errors.error(status, decode(lib.fa_error_message(), "replace") or "")


def _open() -> ctypes.CDLL:
    path = os.environ.get("FATTR_LIBRARY")
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), SONAME)
    tried = []
    # A wheel's own library first. Then the soname, and not what ctypes.util.find_library() makes of "fattr": that may be of another ABI, and costs a compiler run.
    for candidate in [path] if path else [beside, SONAME]:
        try:
            return ctypes.CDLL(candidate)
        except OSError as e:
            tried.append(str(e))
    raise ImportError("libfattr was not found; FATTR_LIBRARY may hold its path: " + "; ".join(tried))


def _load() -> ctypes.CDLL:
    library = _open()
    for name, (result, parameters) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{library._name} has no {name}(): it is older than this package") from None
        function.restype = _parameter(result)
        function.argtypes = _parameters(parameters)
        if result == "fa_status " and name != "fa_error_set":
            function.errcheck = _raise
    for name, struct in STRUCTS.items():
        ours, theirs = ctypes.sizeof(struct), library.fa_struct_size(name.encode())
        # Those with a struct_size may differ: that is what it is for.
        if not theirs or (struct._fields_[0][0] != "struct_size" and ours != theirs):
            raise ImportError(f"{library._name} has {theirs} bytes in a {name}, this package {ours}: they are not of the same interface")
    return library


def encode(text: Union[str, bytes, None]) -> Optional[bytes]:
    """Text for C, or the bytes of a path; None stays None."""
    if text is None:
        return None
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.error("FA_ERR_ARGUMENT", "a name or path holds a zero byte")
    return data


def decode(data: Optional[bytes], on_error: str = "surrogateescape") -> Any:
    """Text from C; None stays None."""
    return None if data is None else data.decode("utf-8", on_error)


def choice(table: Mapping[str, int], what: str, value: Any) -> int:
    """The number of a name in one of the tables above."""
    if not isinstance(value, str) or value not in table:
        raise errors.error("FA_ERR_ARGUMENT", f"{what}: {value!r} is none of {', '.join(table)}")
    return table[value]


class _Owner:
    """Holds one C object as long as a Python object or a running call refers to it: close() in one thread never pulls it from under another."""

    def __init__(self, pointer: Any, release: Callable[[Any], None]) -> None:
        self._as_parameter_ = pointer
        # Not at exit: threads may still be in a call then, and the memory goes with the process.
        weakref.finalize(self, release, pointer).atexit = False


def handles(type_name: str, owners: List[_Owner]) -> Any:
    """A C array of pointers, valid as long as the caller holds the owners."""
    return (POINTER(HANDLES[type_name]) * len(owners))(*(o._as_parameter_ for o in owners))


H = TypeVar("H", bound="Handle")


class Handle:
    """Base of the objects that live in C. close(), or leaving a `with` block, gives this reference back early; otherwise it goes with the object."""

    _type = ""
    _owner: Optional[_Owner] = None

    def __init__(self, create: Callable[..., Any], *arguments: Any) -> None:
        out = POINTER(HANDLES[self._type])()
        create(*arguments, ctypes.byref(out))
        self._owner = _Owner(out, getattr(lib, self._type + ("_destroy" if self._type in ("fa_scorer", "fa_monitor") else "_release")))

    @classmethod
    def _made(cls: type[H], create: Callable[..., Any], *arguments: Any) -> H:
        new = cls.__new__(cls)
        Handle.__init__(new, create, *arguments)
        return new

    @property
    def handle(self) -> _Owner:
        """For calls into C; StateError once the object is closed."""
        if self._owner is None:
            raise errors.error("FA_ERR_STATE", f"this {type(self).__name__} is closed")
        return self._owner

    def close(self) -> None:
        """Gives the C object back. Calls that are under way finish; later ones raise StateError."""
        self._owner = None

    def __enter__(self: H) -> H:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def options(name: str, /, **given: Any) -> Any:
    """An options struct: the defaults, and what is not None of the given."""
    struct = STRUCTS[name]()
    getattr(lib, name + "_init")(ctypes.byref(struct), ctypes.sizeof(struct))
    return assign(struct, **given)


def assign(struct: Any, /, **given: Any) -> Any:
    """Sets what is not None of the given."""
    name, kinds = type(struct).__name__, dict(struct._fields_)
    for field, value in given.items():
        if field not in kinds or field == "struct_size":
            raise TypeError(f"there is no option {field!r}; there are {', '.join(n for n in kinds if n != 'struct_size' and not n.endswith('_user'))}")
        if value is not None:
            if kinds[field] in (c_int32, c_uint64, c_int64):
                value = _in_range(name, field, kinds[field], value)
            setattr(struct, field, value)
    return struct


def _in_range(name: str, field: str, kind: Any, value: Any) -> int:
    if kind(value := operator.index(value)).value != value:  # ctypes would cut it
        raise errors.error("FA_ERR_ARGUMENT", f"{name}.{field}: {value} is out of range")
    return int(value)


def info(function: Callable[..., Any], handle: Any, name: str, *index: int) -> Any:
    """Calls a get function; what it fills in comes as a named tuple (`in` is called `inputs`)."""
    struct = STRUCTS[name]()
    if struct._fields_[0][0] == "struct_size":
        struct.struct_size = ctypes.sizeof(struct)
    function(handle, *index, ctypes.byref(struct))
    return _as_record(struct)


def _as_record(struct: Any) -> Any:
    names = [f for f, _ in struct._fields_ if f != "struct_size"]
    return _record(type(struct).__name__[3:], *names)(*(_value(getattr(struct, f)) for f in names))


@functools.lru_cache(None)
def _record(name: str, *fields: str) -> Any:
    return namedtuple(name, ["inputs" if f == "in" else f for f in fields])


def _value(value: Any) -> Any:
    if isinstance(value, _DIGEST):
        return bytes(value).hex()
    if isinstance(value, ctypes.Structure):
        return _as_record(value)
    return decode(value) if isinstance(value, bytes) else value


def digest(function: Callable[..., Any], handle: Any) -> str:
    """What a digest function writes, in hex."""
    out = _DIGEST()
    function(handle, out)
    return bytes(out).hex()


lib = _load()
