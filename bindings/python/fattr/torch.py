# SPDX-License-Identifier: Apache-2.0
"""Models from PyTorch modules, without ONNX: the module runs, libfattr asks it for logits and gradients. Needs torch.

    import fattr.torch
    model = fattr.torch.TorchModel(module, images[:1])
    sketch = fattr.Sketch.build(model, references, calibration)
"""
from __future__ import annotations

import copy
import ctypes
import hashlib
import inspect
import itertools
from ctypes import CFUNCTYPE, POINTER, c_float, c_int32, c_int64, c_void_p
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from . import _native, errors
from ._interface import CONSTANTS
from ._native import STRUCTS, Handle, lib
from .model import Context, Model, default_context

Key = Tuple[str, int]  # a module's name, and the how-manieth call of it in a forward
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class _Layer(NamedTuple):
    """One use of a weight."""
    key: Key                  # whose input is `a`
    output: Key               # whose output `d` is taken at: the same, or the BatchNormalization behind it
    a_shape: Tuple[int, ...]  # without the batch
    d_shape: Tuple[int, ...]
    overwritten: bool         # the input is, later in forward


class _Recorder:
    """Forward hooks on a copy of a module that keep what layers read and write, as autograd sees it."""

    def __init__(self, module: nn.Module, layers: Optional[Sequence[_Layer]]) -> None:
        self.everything = layers is None
        self.reads = {layer.key: layer.overwritten for layer in layers or ()}
        self.writes = {layer.output for layer in layers or ()}
        self.clear()
        for name, part in module.named_modules():
            if isinstance(part, (nn.Linear, *_CONVOLUTIONS, *_NORMS)):
                part.register_forward_hook(self._hook(name))

    def clear(self) -> None:
        self.calls: Dict[str, int] = {}
        self.read: Dict[Key, torch.Tensor] = {}
        self.version: Dict[Key, int] = {}
        self.wrote: Dict[Key, torch.Tensor] = {}
        self.passed_on: Dict[int, Tuple[Key, torch.Tensor]] = {}
        self.behind: Dict[Key, Key] = {}  # a layer, and the normalisation that reads what it wrote

    def _hook(self, name: str) -> Callable[..., Optional[torch.Tensor]]:
        def hook(_: nn.Module, inputs: Tuple[torch.Tensor, ...], output: torch.Tensor) -> Optional[torch.Tensor]:
            key = name, self.calls.get(name, 0)
            self.calls[name] = key[1] + 1
            if self.everything or key in self.reads:
                self.read[key] = inputs[0].detach()
                self.version[key] = inputs[0]._version
                if self.reads.get(key):
                    self.read[key] = self.read[key].clone()
            if id(inputs[0]) in self.passed_on:
                self.behind[self.passed_on[id(inputs[0])][0]] = key
            if not self.everything and key not in self.writes:
                return None
            if not output.requires_grad:  # the first one: nothing before it is differentiated
                output = output.detach().requires_grad_()
            self.wrote[key] = output
            output = output.clone()  # what comes next may work in place
            if self.everything:
                self.passed_on[id(output)] = key, output
            return output
        return hook


def _twin(module: nn.Module, own_weights: bool) -> nn.Module:
    """A copy to hang hooks on, of which no parameter is differentiated; the weights are shared unless they are to move."""
    shared: Dict[int, Any] = {}
    if not own_weights:
        shared = {id(b): b for b in module.buffers()}
        shared.update((id(p), nn.Parameter(p.detach(), requires_grad=False)) for p in module.parameters())
    return copy.deepcopy(module, shared).requires_grad_(False)


def _folds(norm: nn.Module, at_layer: torch.Tensor, at_norm: torch.Tensor) -> bool:
    """Whether all of a layer's gradient comes through a BatchNormalization by fixed statistics, which is then part of the layer, as it is by way of ONNX."""
    if not isinstance(norm, _NORMS) or norm.running_var is None or norm.running_mean is None:
        return False
    factor = torch.rsqrt(norm.running_var + norm.eps) * (norm.weight.detach() if norm.affine else 1)
    through = at_norm * factor.reshape(1, -1, *[1] * (at_norm.ndim - 2))
    return bool(torch.allclose(at_layer, through, rtol=1e-3, atol=1e-6 * float(at_layer.abs().max())))


class _Backend:
    """What the C table's callbacks work on. The module is a copy: what becomes of the caller's changes nothing."""

    def __init__(self, module: nn.Module, example: List[torch.Tensor], logits: Callable[[Any], torch.Tensor]) -> None:
        self.module = copy.deepcopy(module).eval()
        self.pick = logits
        self.passes: Dict[int, _Pass] = {}
        self.parameters = [(name, p) for name, p in self.module.named_parameters() if p.dtype == torch.float32 and p.numel()]
        first = next(itertools.chain(self.module.parameters(), self.module.buffers()), None)
        self.device = torch.device("cpu") if first is None else first.device
        self.integer = [not x.is_floating_point() for x in example]
        self.shapes = [tuple(x.shape[1:]) for x in example]
        self.layers, self.output = self._probe([torch.cat([x[:1], x[:1]]) for x in example])

    def run(self, module: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        inputs = [x.to(self.device, torch.int64 if integer else torch.float32) for x, integer in zip(inputs, self.integer)]
        out = self.pick(module(*inputs))
        if not isinstance(out, torch.Tensor) or out.shape[:1] != inputs[0].shape[:1]:
            raise errors.error("FA_ERR_SHAPE", f"the module gives {tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__} for {len(inputs[0])} inputs; "
                                               "outputs [n, ...] are needed (the argument `logits` may take them out)")
        return out.float()

    def _probe(self, inputs: List[torch.Tensor]) -> Tuple[List[_Layer], Tuple[int, ...]]:
        """The layers in the order of their use, and the shape of an output."""
        twin = _twin(self.module, False)
        parts = dict(twin.named_modules())
        seen = _Recorder(twin, None)
        with torch.enable_grad():
            logits = self.run(twin, inputs)
            if not seen.wrote:
                return [], tuple(logits.shape[1:])
            at = torch.linspace(-1, 2, logits.numel(), device=logits.device).reshape(logits.shape)
            found = torch.autograd.grad(logits, list(seen.wrote.values()), at, allow_unused=True)
        gradient = {key: g for key, g in zip(seen.wrote, found) if g is not None}
        layers = []
        for key, written in seen.wrote.items():
            part = parts[key[0]]
            if isinstance(part, _NORMS) or key not in gradient or getattr(part, "padding_mode", "zeros") != "zeros":
                continue
            if written.shape[0] != 2 or seen.read[key].shape[0] != 2:
                raise errors.error("FA_ERR_UNSUPPORTED", f"layer '{key[0]}': its tensors are {tuple(written.shape)} for 2 inputs; a layer is attributed only where the first "
                                                         "dimension counts inputs")
            norm = seen.behind.get(key)
            output = norm if norm and norm in gradient and _folds(parts[norm[0]], gradient[key], gradient[norm]) else key
            layers.append(_Layer(key, output, tuple(seen.read[key].shape[1:]), tuple(written.shape[1:]), seen.read[key]._version != seen.version[key]))
        return layers, tuple(logits.shape[1:])

    def describe(self, layer: _Layer, out: Any) -> None:
        """Fills in an fa_backend_layer."""
        part = self.module.get_submodule(layer.key[0])
        folded = layer.output != layer.key
        name = next((name for name, p in self.parameters if p is part.weight), None)
        out.name = _native.encode(layer.key[0] + (f"#{layer.key[1]}" if layer.key[1] else "") or "module")
        out.weight = None if folded else _native.encode(name)
        kernel = part.kernel_size if isinstance(part, _CONVOLUTIONS) else (1,)
        out.kernel_h, out.kernel_w = (1, *kernel)[-2:]
        out.groups = getattr(part, "groups", 1)
        setattr(out, "in", part.weight.numel() // part.weight.shape[0])
        out.out = part.weight.shape[0]
        out.has_bias = int(folded or part.bias is not None)

    def place(self, layer: _Layer, out: Any) -> None:
        """Fills in an fa_backend_geometry."""
        part = self.module.get_submodule(layer.key[0])
        if not isinstance(part, _CONVOLUTIONS):
            out.h = out.oh = int(np.prod(layer.a_shape[:-1], dtype=np.int64))
            return
        (out.h, out.w), (out.oh, out.ow) = (1, *layer.a_shape[1:])[-2:], (1, *layer.d_shape[1:])[-2:]
        out.stride_h, out.stride_w = (1, *part.stride)[-2:]
        out.dilation_h, out.dilation_w = (1, *part.dilation)[-2:]
        if part.padding == "same":
            pads = tuple(d * (k - 1) // 2 for d, k in zip(part.dilation, part.kernel_size))
        else:
            pads = (0,) * len(part.kernel_size) if part.padding == "valid" else part.padding
        out.pad_top, out.pad_left = (0, *pads)[-2:]
        out.layout = CONSTANTS["FA_LAYOUT_CHANNELS_FIRST"]


class _Pass:
    """One thread's copy of the module."""

    def __init__(self, backend: _Backend, tapped: List[int], weights: bool, weight_gradient: bool) -> None:
        self.backend = backend
        self.tapped = tapped
        self.layers = [backend.layers[i] for i in tapped]
        self.module = _twin(backend.module, weights)
        self.recorder = _Recorder(self.module, self.layers)
        named = dict(self.module.named_parameters())
        self.parameters = [named[name] for name, _ in backend.parameters]
        self.differentiates = bool(tapped) or weight_gradient
        if weight_gradient:
            for p in self.parameters:
                p.requires_grad_(True)
        self.logits: Optional[torch.Tensor] = None
        self.kept: List[torch.Tensor] = []  # what libfattr was pointed to

    def forward(self, inputs: Sequence[torch.Tensor]) -> np.ndarray[Any, Any]:
        self.recorder.clear()
        self.kept = []
        with torch.set_grad_enabled(self.differentiates):
            self.logits = self.backend.run(self.module, inputs)
        return self.logits.detach().cpu().numpy()  # type: ignore[no-any-return, unused-ignore]

    def _gradients(self, at_logits: np.ndarray[Any, Any], of: List[torch.Tensor]) -> Tuple[Optional[torch.Tensor], ...]:
        assert self.logits is not None
        at = torch.from_numpy(at_logits).to(self.logits.device)
        return torch.autograd.grad(self.logits, of, at, allow_unused=True)  # type: ignore[no-any-return, unused-ignore]

    def taps(self, at_logits: np.ndarray[Any, Any], out: Any) -> None:
        seen = self.recorder
        wrote = [seen.wrote[layer.output] for layer in self.layers]
        for i, layer, w, d in zip(self.tapped, self.layers, wrote, self._gradients(at_logits, wrote)):
            a = seen.read[layer.key]
            if a.shape[1:] != layer.a_shape or w.shape[1:] != layer.d_shape:
                raise errors.error("FA_ERR_SHAPE", f"layer '{layer.key[0]}' went from {tuple(a.shape)} to {tuple(w.shape)}; with the example it was from "
                                                   f"(n, {layer.a_shape}) to (n, {layer.d_shape})")
            pair = [t.detach().to("cpu", torch.float32).contiguous() for t in (a, torch.zeros_like(w) if d is None else d)]
            self.kept += pair
            out[i].a, out[i].d = (ctypes.cast(t.data_ptr(), POINTER(c_float)) for t in pair)

    def weight_gradient(self, at_logits: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> None:
        at = 0
        for p, g in zip(self.parameters, self._gradients(at_logits, self.parameters)):
            if g is not None:
                out[at:at + p.numel()] = g.detach().cpu().numpy().ravel()
            at += p.numel()

    def set_weights(self, weights: np.ndarray[Any, Any]) -> None:
        at = 0
        with torch.no_grad():
            for p in self.parameters:
                p.copy_(torch.from_numpy(weights[at:at + p.numel()].copy()).reshape(p.shape))
                at += p.numel()


_numbers = itertools.count(1)
_backends: Dict[int, _Backend] = {}  # C holds the numbers


def _guarded(kind: Any) -> Callable[[Callable[..., None]], Any]:
    """A C callback that outlives every model; an exception becomes a status and a message."""
    def wrap(function: Callable[..., None]) -> Any:
        def call(*arguments: Any) -> int:
            try:
                function(*arguments)
                return 0
            except BaseException as e:
                status = e.status if isinstance(e, errors.FattrError) else CONSTANTS["FA_ERR_CANCELLED" if isinstance(e, KeyboardInterrupt) else
                                                                                    "FA_ERR_MEMORY" if isinstance(e, MemoryError) else "FA_ERR_STATE"]
                text = str(e) if isinstance(e, errors.FattrError) else f"{type(e).__name__}: {e}"
                return int(lib.fa_error_set(status, text.replace("\0", "").encode("utf-8", "replace")))
        return kind(call)
    return wrap


def _floats(address: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.ctypeslib.as_array(ctypes.cast(address, POINTER(c_float)), shape)


@_guarded(CFUNCTYPE(c_int32, c_void_p, POINTER(STRUCTS["fa_backend_request"]), POINTER(STRUCTS["fa_backend_geometry"]), POINTER(c_void_p)))
def _create_pass(user: int, request: Any, geometry: Any, out: Any) -> None:
    backend, r, number = _backends[user], request.contents, next(_numbers)
    tapped = [i for i in range(len(backend.layers)) if r.tapped[i]]
    backend.passes[number] = _Pass(backend, tapped, bool(r.weights), bool(r.weight_gradient))
    for i in tapped:
        backend.place(backend.layers[i], geometry[i])
    out[0] = number


@CFUNCTYPE(None, c_void_p, c_void_p)  # type: ignore[untyped-decorator, unused-ignore]
def _destroy_pass(user: int, number: int) -> None:
    _backends[user].passes.pop(number, None)


@_guarded(CFUNCTYPE(c_int32, c_void_p, c_void_p, POINTER(c_void_p), c_int64, c_void_p))
def _forward(user: int, number: int, inputs: Any, n: int, logits: int) -> None:
    backend = _backends[user]
    given = [torch.from_numpy(np.ctypeslib.as_array(ctypes.cast(inputs[i], POINTER(c_int64 if integer else c_float)), (n, *shape)))
             for i, (shape, integer) in enumerate(zip(backend.shapes, backend.integer))]
    made = backend.passes[number].forward(given)
    if made.shape != (n, *backend.output):
        raise errors.error("FA_ERR_SHAPE", f"the module gives {made.shape}; with the example it gave (n, {', '.join(map(str, backend.output))})")
    _floats(logits, n, *backend.output)[...] = made


@_guarded(CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_int64, POINTER(STRUCTS["fa_backend_tap"])))
def _taps(user: int, number: int, at_logits: int, n: int, out: Any) -> None:
    backend = _backends[user]
    backend.passes[number].taps(_floats(at_logits, n, *backend.output), out)


@_guarded(CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_int64, c_void_p))
def _weight_gradient(user: int, number: int, at_logits: int, n: int, out: int) -> None:
    backend = _backends[user]
    backend.passes[number].weight_gradient(_floats(at_logits, n, *backend.output), _floats(out, sum(p.numel() for _, p in backend.parameters)))


@_guarded(CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p))
def _set_weights(user: int, number: int, weights: int) -> None:
    backend = _backends[user]
    backend.passes[number].set_weights(_floats(weights, sum(p.numel() for _, p in backend.parameters)))


@CFUNCTYPE(None, c_void_p)  # type: ignore[untyped-decorator, unused-ignore]
def _release(user: int) -> None:
    _backends.pop(user, None)


class TorchModel(Model):
    """A model from an nn.Module, in evaluation mode and as it is now: it is copied. Sketches and scorers take it as they take one from a file.

    module:  any module whose forward takes the inputs by position and gives [n, ...]: logits [n, classes] before a softmax, or what another loss takes
             (classes at every token or pixel, labels, numbers).
    example: one input [1, ...] (more are not looked at), a tuple of them for a module with several; arrays or tensors. All inputs must have its shape.
    logits:  takes the output out of what the module returns, where that is no tensor: lambda out: out.logits.

    Its layers are the Linear, Conv1d and Conv2d modules (zero padding) that the logits depend on, named as in the module, a later use of the same module with "#1"; a
    BatchNorm directly behind one belongs to it. Weights that are used without calling their module are no layer. Trace sketches move every float32 parameter, statistics of
    normalisations stay (batchnorm="frozen"). The library's threads take turns in Python code and run beside each other in PyTorch's.
    """

    def __init__(self, module: nn.Module, example: Union[Any, Tuple[Any, ...]], *, logits: Optional[Callable[[Any], torch.Tensor]] = None,
                 context: Optional[Context] = None) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"{type(module).__name__} is no nn.Module")
        given = [torch.as_tensor(x) for x in (example if isinstance(example, tuple) else (example,))]
        if not given or any(x.ndim < 1 or not len(x) for x in given):
            raise errors.error("FA_ERR_SHAPE", "the example has at least one input [1, ...]")
        backend = _Backend(module, given, logits or (lambda out: out))
        self.context = context or default_context()
        number = next(_numbers)
        _backends[number] = backend
        try:
            table, _kept = _table(number, backend, _input_names(module, len(given)))
            Handle.__init__(self, lib.fa_model_from_backend, self.context.handle, ctypes.byref(table))
        except BaseException:
            _backends.pop(number, None)
            raise

    def __reduce__(self) -> Tuple[Any, ...]:
        raise TypeError("a TorchModel is not pickled: make it anew from its module")


def _input_names(module: nn.Module, count: int) -> List[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind in kinds]
    return names[:count] if len(names) >= count else [f"input{i}" for i in range(count)]


def _table(number: int, backend: _Backend, names: List[str]) -> Tuple[Any, Any]:
    """The fa_backend, and what it points to."""
    inputs, layers = (STRUCTS["fa_value_info"] * len(names))(), (STRUCTS["fa_backend_layer"] * len(backend.layers))()
    parameters = (STRUCTS["fa_backend_parameter"] * len(backend.parameters))()
    for c, name, shape, integer in zip(inputs, names, backend.shapes, backend.integer):
        c.name, c.dtype, c.ndim = _native.encode(name), CONSTANTS["FA_INT64" if integer else "FA_FLOAT32"], 1 + len(shape)
        c.shape[:1 + len(shape)] = [-1, *shape]
    for c, layer in zip(layers, backend.layers):
        backend.describe(layer, c)
    data = [np.ascontiguousarray(p.detach().cpu().numpy()) for _, p in backend.parameters]
    for c, (name, p), values in zip(parameters, backend.parameters, data):
        c.name, c.rows, c.count = _native.encode(name), p.shape[0] if p.ndim else 1, p.numel()
        c.data = values.ctypes.data_as(POINTER(c_float))
    rest = hashlib.blake2b(repr(backend.module).encode(), digest_size=_native.DIGEST_SIZE)
    for name, buffer in backend.module.named_buffers():
        rest.update(name.encode() + np.ascontiguousarray(buffer.detach().cpu().numpy()).tobytes())
    output = STRUCTS["fa_value_info"](name=b"logits", dtype=CONSTANTS["FA_FLOAT32"], ndim=1 + len(backend.output))
    output.shape[:output.ndim] = [-1, *backend.output]
    table = STRUCTS["fa_backend"](struct_size=ctypes.sizeof(STRUCTS["fa_backend"]), abi=CONSTANTS["FA_BACKEND_ABI"], input_count=len(inputs), layer_count=len(layers),
                                  parameter_count=len(parameters), output=ctypes.pointer(output), name=b"PyTorch", user=number, inputs=inputs, layers=layers,
                                  parameters=parameters, digest=(ctypes.c_uint8 * _native.DIGEST_SIZE)(*rest.digest()))
    for field, function in (("create_pass", _create_pass), ("destroy_pass", _destroy_pass), ("forward", _forward), ("taps", _taps), ("weight_gradient", _weight_gradient),
                            ("set_weights", _set_weights), ("release", _release)):
        setattr(table, field, ctypes.cast(function, c_void_p).value)
    return table, (inputs, layers, parameters, data, output)
