# SPDX-License-Identifier: Apache-2.0
"""The C interface: where libfattr is, its structs, its functions. test_fattr.py holds this file against the headers."""

import ctypes
import functools
import operator
import os
import re
import weakref
from collections import namedtuple
from ctypes import POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint8, c_uint64, c_void_p

import numpy as np

from . import errors

SONAME = "libfattr.so.0"
SCORES = {"cone": 0, "span": 1, "topk": 2, "class": 3, "mean": 4, "mean_ccc": 5, "class_ccc": 6}
BLOCKS = {"both": 0, "plain": 1, "layer-unit": 2}
LOSSES = {"margin": 0, "cross-entropy": 1}
SAMPLERS = {"gaussian": 0, "rmsprop_sgld": 1, "sgld": 2}
DRAWS = {"default": 0, "f32": 1, "bf16": 2, "int8": 3}
BATCHNORM = {"frozen": 0, "reestimate": 1}
KERNELS = {"auto": 0, "reference": 1, "fast": 2}
DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11, "uint32": 12,
          "uint64": 13, "bfloat16": 16}
MAX_DIMS = 8
DIGEST_SIZE = 16

PROGRESS = ctypes.CFUNCTYPE(c_int32, c_void_p, c_char_p, c_int64, c_int64)
_DIGEST = c_uint8 * DIGEST_SIZE


def _struct(name, /, **fields):
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items()), "__doc__": "As in the public headers."})


DIAGNOSIS = _struct("fa_diagnosis", ess=c_double, ess_min=c_double, split_rhat=c_double, split_rhat_max=c_double, drift=c_double, signal=c_double, moved=c_double,
                    shortest=c_int64)
STRUCTS = {s.__name__: s for s in (
    _struct("fa_array", data=c_void_p, shape=POINTER(c_int64), ndim=c_int32, dtype=c_int32, name=c_char_p),
    _struct("fa_context_options", struct_size=c_size_t, alloc=c_void_p, free=c_void_p, alloc_user=c_void_p, log=c_void_p, log_user=c_void_p, threads=c_int32,
            kernels=c_int32, memory_limit=c_uint64),
    _struct("fa_detection_metrics", struct_size=c_size_t, auroc=c_double, aupr=c_double, aupr_clean=c_double, fpr95=c_double, der_best=c_double,
            best_threshold=c_double),
    _struct("fa_model_options", struct_size=c_size_t, output=c_char_p),
    _struct("fa_model_info", struct_size=c_size_t, parameter_count=c_int64, opset=c_int64, input_count=c_int32, output_count=c_int32, node_count=c_int32,
            layer_count=c_int32, class_count=c_int32, logits=c_char_p, producer=c_char_p),
    _struct("fa_value_info", name=c_char_p, dtype=c_int32, ndim=c_int32, shape=c_int64 * MAX_DIMS),
    _struct("fa_node_info", name=c_char_p, op=c_char_p, output=c_char_p, domain=c_char_p),
    _struct("fa_layer_info", name=c_char_p, op=c_char_p, weight=c_char_p, **{"in": c_int64}, out=c_int64, groups=c_int64, has_bias=c_int32),
    _struct("fa_refset_options", struct_size=c_size_t, labels=POINTER(c_int64), ids=POINTER(c_int64)),
    _struct("fa_scorer_options", struct_size=c_size_t, max_batch=c_int32, score=c_int32, all_scores=c_int32, alpha=c_double, want_residual=c_int32, confidence=c_double,
            draw_cache_bytes=c_uint64),
    _struct("fa_result", score=c_double, p_value=c_double, flagged=c_int32, no_signal=c_int32, predicted=c_int64, confidence=c_double,
            scores=c_double * len(SCORES), couplings=POINTER(c_float), weights=POINTER(c_float), residual=POINTER(c_float), reference_count=c_int64,
            signature_length=c_int64, draws=c_int64),
    _struct("fa_score_timing", struct_size=c_size_t, forward_ns=c_uint64, backward_ns=c_uint64, coupling_ns=c_uint64, solve_ns=c_uint64, draw_ns=c_uint64),
    _struct("fa_sketch_options", struct_size=c_size_t, k_in=c_int32, k_out=c_int32, beta=c_double, damping=c_double, ridge=c_double, blocks=c_int32,
            topk=c_int32, layers=c_char_p, seed=c_uint64, batch=c_int32, drop_misclassified=c_int32, progress=PROGRESS, progress_user=c_void_p,
            timeout_ms=c_uint64, trace=c_void_p, loss=c_int32, keep_moments=c_int32),
    _struct("fa_memory_estimate", struct_size=c_size_t, build_bytes=c_uint64, sketch_bytes=c_uint64, scorer_bytes=c_uint64, file_bytes=c_uint64, draw_bytes=c_uint64),
    _struct("fa_sketch_info", struct_size=c_size_t, reference_count=c_int64, calibration_count=c_int64, class_count=c_int64, signature_length=c_int64,
            layer_count=c_int32, dropped_layer_count=c_int32, k_in=c_int32, k_out=c_int32, blocks=c_int32, topk=c_int32, beta=c_double, damping=c_double,
            ridge=c_double, seed=c_uint64, model_digest=_DIGEST, references_digest=_DIGEST, library_version=c_char_p, format_version=c_int32, is_trace=c_int32,
            loss=c_int32, has_moments=c_int32),
    _struct("fa_sketch_layer_info", name=c_char_p, **{"in": c_int64}, out=c_int64, groups=c_int64, k_in=c_int32, k_out=c_int32, dropped=c_int32,
            random_in=c_int32, random_out=c_int32),
    _struct("fa_reference_info", id=c_int64, predicted=c_int64, label=c_int64, no_signal=c_int32),
    _struct("fa_trace_options", struct_size=c_size_t, sampler=c_int32, storage=c_int32, batchnorm=c_int32, chains=c_int32, partial=c_int32, resume=c_int32, draws=c_int64,
            burn_in=c_int64, thinning=c_int64, minibatch=c_int64, step_size=c_double, gamma=c_double, nbeta=c_double, noise=c_double, decay=c_double, epsilon=c_double,
            first_chain=c_uint64, parameters=c_char_p, sampling=c_void_p, checkpoint=c_char_p, checkpoint_ms=c_uint64),
    DIAGNOSIS,
    _struct("fa_trace_info", struct_size=c_size_t, sampler=c_int32, storage=c_int32, batchnorm=c_int32, partial=c_int32, chain_count=c_int32, parameter_count=c_int32,
            weight_count=c_int64, draw_count=c_int64, draw_bytes=c_uint64, burn_in=c_int64, thinning=c_int64, minibatch=c_int64, step_size=c_double, gamma=c_double,
            nbeta=c_double, noise=c_double, decay=c_double, epsilon=c_double, loss_before=c_double, loss_after=c_double, diagnosis=DIAGNOSIS, verdict=c_char_p),
    _struct("fa_chain_info", struct_size=c_size_t, seed=c_uint64, id=c_uint64, draws=c_int64, loss_before=c_double, loss_after=c_double, distance=c_double,
            diagnosis=DIAGNOSIS),
    _struct("fa_mechanisms_options", struct_size=c_size_t, linkage=c_double, likeness=c_double),
    _struct("fa_mechanism_info", name=c_char * 16, count=c_int64, cohesion=c_double, center=POINTER(c_float)),
    _struct("fa_monitor_options", struct_size=c_size_t, false_alarm=c_double, calibration_count=c_int64),
    _struct("fa_monitor_state", struct_size=c_size_t, count=c_int64, log_wealth=c_double, log_threshold=c_double, alarm_at=c_int64, smallest_p=c_double),
)}
HANDLES = {name: type(name, (ctypes.Structure,), {}) for name in ("fa_context", "fa_model", "fa_refset", "fa_sketch", "fa_scorer", "fa_tensor", "fa_mechanisms", "fa_monitor")}

# The headers' declarations, word for word.
FUNCTIONS = """
void fa_trace_options_init(fa_trace_options *options, size_t size);
fa_status fa_trace_options_preset(fa_sketch_options *options, fa_trace_options *trace, const char *name);
fa_status fa_sketch_get_trace_info(const fa_sketch *sketch, fa_trace_info *info);
fa_status fa_sketch_get_chain(const fa_sketch *sketch, int32_t index, fa_chain_info *info);
fa_status fa_sketch_get_traces(const fa_sketch *sketch, float *out);
fa_status fa_sketch_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out);
fa_status fa_tensor_view(const fa_tensor *tensor, fa_array *view);
void fa_tensor_release(fa_tensor *tensor);
void fa_context_options_init(fa_context_options *options, size_t size);
fa_status fa_context_create(const fa_context_options *options, fa_context **out);
fa_context *fa_context_retain(fa_context *context);
void fa_context_release(fa_context *context);
uint64_t fa_context_memory_used(const fa_context *context);
uint64_t fa_context_memory_peak(const fa_context *context);
void fa_context_memory_peak_reset(fa_context *context);
const char *fa_context_kernels(const fa_context *context);
fa_status fa_detection_metrics_compute(const double *clean, int64_t n_clean, const double *anomalous, int64_t n_anomalous, double acc, double asr, fa_detection_metrics *out);
void fa_model_options_init(fa_model_options *options, size_t size);
fa_status fa_model_load_file(fa_context *context, const char *path, const fa_model_options *options, fa_model **out);
fa_status fa_model_load_memory(fa_context *context, const void *data, size_t size, const fa_model_options *options, fa_model **out);
fa_model *fa_model_retain(const fa_model *model);
void fa_model_release(fa_model *model);
fa_status fa_model_digest(const fa_model *model, uint8_t digest[FA_DIGEST_SIZE]);
fa_status fa_model_get_info(const fa_model *model, fa_model_info *info);
fa_status fa_model_get_input(const fa_model *model, int32_t index, fa_value_info *info);
fa_status fa_model_get_output(const fa_model *model, int32_t index, fa_value_info *info);
fa_status fa_model_get_node(const fa_model *model, int32_t index, fa_node_info *info);
fa_status fa_model_get_layer(const fa_model *model, int32_t index, fa_layer_info *info);
fa_status fa_model_run(const fa_model *model, const fa_array *inputs, int32_t input_count, const char *name, fa_tensor **out);
void fa_refset_options_init(fa_refset_options *options, size_t size);
fa_status fa_refset_create(fa_context *context, const fa_array *inputs, int32_t input_count, const fa_refset_options *options, fa_refset **out);
fa_refset *fa_refset_retain(const fa_refset *refset);
void fa_refset_release(fa_refset *refset);
int64_t fa_refset_count(const fa_refset *refset);
int32_t fa_refset_input_count(const fa_refset *refset);
fa_status fa_refset_get_input(const fa_refset *refset, int32_t index, fa_array *view);
fa_status fa_refset_get_id(const fa_refset *refset, int64_t index, int64_t *id);
fa_status fa_refset_get_label(const fa_refset *refset, int64_t index, int64_t *label);
fa_status fa_refset_digest(const fa_refset *refset, uint8_t digest[16]);
void fa_scorer_options_init(fa_scorer_options *options, size_t size);
fa_status fa_scorer_create(const fa_sketch *sketch, const fa_model *model, const fa_scorer_options *options, fa_scorer **out);
void fa_scorer_destroy(fa_scorer *scorer);
fa_status fa_score(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *result);
fa_status fa_score_batch(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *results, int64_t n);
fa_status fa_scorer_get_timing(const fa_scorer *scorer, fa_score_timing *timing);
fa_status fa_scorer_get_flops(const fa_scorer *scorer, double *forward, double *score);
const char *fa_score_name(int32_t score);
int32_t fa_score_from_name(const char *name);
void fa_sketch_options_init(fa_sketch_options *options, size_t size);
fa_status fa_sketch_build(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
fa_status fa_sketch_memory_estimate(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_memory_estimate *out);
fa_status fa_sketch_merge_shards(const fa_model *model, const fa_sketch *const *sketches, const fa_refset *const *references, int32_t count, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
fa_status fa_sketch_recalibrate(const fa_sketch *sketch, const fa_model *model, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
fa_sketch *fa_sketch_retain(const fa_sketch *sketch);
void fa_sketch_release(fa_sketch *sketch);
fa_status fa_sketch_save_file(const fa_sketch *sketch, const char *path);
fa_status fa_sketch_load_file(fa_context *context, const char *path, fa_sketch **out);
fa_status fa_sketch_load_memory(fa_context *context, const void *data, size_t size, fa_sketch **out);
fa_status fa_sketch_check_model(const fa_sketch *sketch, const fa_model *model);
fa_status fa_sketch_get_info(const fa_sketch *sketch, fa_sketch_info *info);
fa_status fa_sketch_get_layer(const fa_sketch *sketch, int32_t index, fa_sketch_layer_info *info);
fa_status fa_sketch_get_reference(const fa_sketch *sketch, int64_t index, fa_reference_info *info);
fa_status fa_sketch_audit(const fa_sketch *sketch, int32_t score, double *out);
fa_status fa_sketch_get_calibration(const fa_sketch *sketch, int32_t score, double *out);
void fa_mechanisms_options_init(fa_mechanisms_options *options, size_t size);
fa_status fa_mechanisms_create(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out);
fa_mechanisms *fa_mechanisms_retain(const fa_mechanisms *mechanisms);
void fa_mechanisms_release(fa_mechanisms *mechanisms);
int64_t fa_mechanisms_fingerprint_length(const fa_mechanisms *mechanisms);
int64_t fa_mechanisms_count(const fa_mechanisms *mechanisms);
fa_status fa_mechanisms_fingerprint(const fa_mechanisms *mechanisms, const float *residual, float *out);
fa_status fa_mechanisms_assign(const fa_mechanisms *mechanisms, const float *fingerprint, int64_t *group, double *likeness);
fa_status fa_mechanisms_group(const fa_mechanisms *mechanisms, const float *fingerprints, int64_t n, int64_t *group, fa_mechanisms **out);
fa_status fa_mechanisms_get(const fa_mechanisms *mechanisms, int64_t index, fa_mechanism_info *info);
fa_status fa_mechanisms_save_file(const fa_mechanisms *mechanisms, const char *path);
fa_status fa_mechanisms_load_file(const fa_sketch *sketch, const char *path, fa_mechanisms **out);
fa_status fa_mechanisms_load_memory(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out);
void fa_monitor_options_init(fa_monitor_options *options, size_t size);
fa_status fa_monitor_create(fa_context *context, const fa_monitor_options *options, fa_monitor **out);
void fa_monitor_destroy(fa_monitor *monitor);
fa_status fa_monitor_update(fa_monitor *monitor, const double *p_values, int64_t n);
fa_status fa_monitor_get(const fa_monitor *monitor, fa_monitor_state *state);
fa_status fa_monitor_reset(fa_monitor *monitor);
fa_status fa_monitor_save_file(const fa_monitor *monitor, const char *path);
fa_status fa_monitor_load_file(fa_context *context, const char *path, fa_monitor **out);
fa_status fa_monitor_load_memory(fa_context *context, const void *data, size_t size, fa_monitor **out);
const char *fa_status_name(fa_status status);
const char *fa_error_message(void);
fa_status fa_error_set(fa_status status, const char *message);
int32_t fa_version(void);
const char *fa_version_string(void);
const char *fa_build_info(void);
"""

_TYPES = {"fa_status": c_int32, "int32_t": c_int32, "int64_t": c_int64, "uint64_t": c_uint64, "size_t": c_size_t, "double": c_double, "float": c_float, "uint8_t": c_uint8,
          **STRUCTS, **HANDLES}
_DECLARATION = re.compile(r"(.+?)(\w+)\((.*)\);")
_PARAMETER = re.compile(r"(?:const )?(\w+) ((?:\*(?:const )?)*)\w*(\[\w*\])?$")


def _ctype(text):
    base, stars, array = _PARAMETER.match(text).groups()
    depth = stars.count("*") + bool(array)
    if depth and base in ("char", "void"):
        base, depth = {"char": c_char_p, "void": c_void_p}[base], depth - 1
    else:
        base = _TYPES[base]
    for _ in range(depth):
        base = POINTER(base)
    return base


def _raise(status, function, arguments):
    if status:
        raise errors.error(status, decode(lib.fa_error_message(), "replace"))


def _load():
    path = os.environ.get("FATTR_LIBRARY")
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), SONAME)
    tried = []
    # The soname, and not what ctypes.util.find_library() makes of "fattr": that may be of another ABI, and costs a compiler run.
    for candidate in [path] if path else [SONAME, beside]:
        try:
            library = ctypes.CDLL(candidate)
            break
        except OSError as e:
            tried.append(str(e))
    else:
        raise ImportError("libfattr was not found; FATTR_LIBRARY may hold its path: " + "; ".join(tried))
    for result, name, parameters in _DECLARATION.findall(FUNCTIONS):
        function = getattr(library, name)
        function.restype = None if result == "void " else _ctype(result)
        function.argtypes = [] if parameters == "void" else [_ctype(p) for p in parameters.split(", ")]
        if result == "fa_status " and name != "fa_error_set":
            function.errcheck = _raise
    return library


def encode(text):
    """Text for C, or the bytes of a path; None stays None."""
    if text is None:
        return None
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.error("FA_ERR_ARGUMENT", "a name or path holds a zero byte")
    return data


def decode(data, on_error="surrogateescape"):
    return None if data is None else data.decode("utf-8", on_error)


def choice(table, what, value):
    """The number of a name in one of the tables above."""
    if value not in table:
        raise errors.error("FA_ERR_ARGUMENT", f"{what}: {value!r} is none of {', '.join(table)}")
    return table[value]


class _Owner:
    """Holds one C object as long as a Python object or a running call refers to it: close() in one thread never pulls it from under another."""

    def __init__(self, pointer, release):
        self._as_parameter_ = pointer
        # Not at exit: threads may still be in a call then, and the memory goes with the process.
        weakref.finalize(self, release, pointer).atexit = False


def handles(type_name, owners):
    """A C array of pointers, valid as long as the caller holds the owners."""
    return (POINTER(HANDLES[type_name]) * len(owners))(*(o._as_parameter_ for o in owners))


class Handle:
    """Base of the objects that live in C. close(), or leaving a `with` block, gives this reference back early; otherwise it goes with the object."""

    _type = None

    def __init__(self, create, *arguments):
        out = POINTER(HANDLES[self._type])()
        create(*arguments, ctypes.byref(out))
        self._owner = _Owner(out, getattr(lib, self._type + ("_destroy" if self._type in ("fa_scorer", "fa_monitor") else "_release")))

    @classmethod
    def _made(cls, create, *arguments):
        new = cls.__new__(cls)
        Handle.__init__(new, create, *arguments)
        return new

    @property
    def handle(self):
        if self._owner is None:
            raise errors.error("FA_ERR_STATE", f"this {type(self).__name__} is closed")
        return self._owner

    def close(self):
        self._owner = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def options(name, /, **given):
    """An options struct: the defaults, and what is not None of the given."""
    struct = STRUCTS[name]()
    getattr(lib, name + "_init")(ctypes.byref(struct), ctypes.sizeof(struct))
    for field, value in given.items():
        if value is not None:
            kind = dict(struct._fields_)[field]
            if kind in (c_int32, c_uint64, c_int64):
                value = _in_range(name, field, kind, value)
            setattr(struct, field, value)
    return struct


def _in_range(name, field, kind, value):
    if kind(value := operator.index(value)).value != value:  # ctypes would cut it
        raise errors.error("FA_ERR_ARGUMENT", f"{name}.{field}: {value} is out of range")
    return value


def info(function, handle, name, *index):
    """Calls a get function; what it fills in comes as a named tuple (`in` is called `inputs`)."""
    struct = STRUCTS[name]()
    names = [f for f, _ in struct._fields_ if f != "struct_size"]
    if len(names) < len(struct._fields_):
        struct.struct_size = ctypes.sizeof(struct)
    function(handle, *index, ctypes.byref(struct))
    return _record(name[3:], *names)(*(_value(getattr(struct, f)) for f in names))


@functools.lru_cache(None)
def _record(name, *fields):
    return namedtuple(name, ["inputs" if f == "in" else f for f in fields])


def _value(value):
    if isinstance(value, _DIGEST):
        return bytes(value).hex()
    return decode(value) if isinstance(value, bytes) else value


def digest(function, handle):
    out = _DIGEST()
    function(handle, out)
    return bytes(out).hex()


def inputs(x):
    """[(name or None, C-contiguous native-endian array)] of an array, a tuple of arrays by position, or a dict of arrays by name."""
    named = x.items() if isinstance(x, dict) else [(None, a) for a in (x if isinstance(x, tuple) else (x,))]
    out = []
    for name, a in named:
        a = np.require(a, requirements=["C", "ALIGNED", "E"])
        if a.dtype.name not in DTYPES:
            raise errors.error("FA_ERR_DTYPE", f"arrays of {a.dtype} are not supported; there are {', '.join(DTYPES)}")
        out.append((name, a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("="))))
    return out


def c_arrays(named):
    """fa_array[] for what inputs() returned, which the caller keeps alive."""
    out = (STRUCTS["fa_array"] * len(named))()
    for c, (name, a) in zip(out, named):
        c.shape = ctypes.cast(a.ctypes.shape_as(c_int64), POINTER(c_int64)) if a.ndim else None
        c.data, c.ndim, c.dtype, c.name = a.ctypes.data, a.ndim, DTYPES[a.dtype.name], encode(name)
    return out


def pointer(a, kind):
    """To the elements of an array that the caller keeps alive."""
    return a.ctypes.data_as(POINTER(kind))


lib = _load()
