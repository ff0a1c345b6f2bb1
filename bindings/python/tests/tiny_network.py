# SPDX-License-Identifier: Apache-2.0
"""A two-layer network for any number of features, as an ONNX file's bytes. Written by hand: the onnx package is not needed."""
import numpy as np


def _varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _bytes(field, value):
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _tensor(name, a):
    return b"".join(_number(1, d) for d in a.shape) + _number(2, 1) + _bytes(8, name) + _bytes(9, a.astype("<f4").tobytes())


def _node(op, inputs, output):
    return b"".join(_bytes(1, i) for i in inputs) + _bytes(2, output) + _bytes(3, output) + _bytes(4, op)


def _value(name, *dims):
    shape = b"".join(_bytes(1, _bytes(2, d) if isinstance(d, str) else _number(1, d)) for d in dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, shape)))


def network(features, hidden=16, classes=3, seed=0):
    """x [n, features] -> logits [n, classes], random weights."""
    rng = np.random.default_rng(seed)
    weights = {"w1": rng.normal(size=(features, hidden)) / np.sqrt(features), "b1": rng.normal(size=hidden), "w2": rng.normal(size=(hidden, classes)) / np.sqrt(hidden),
               "b2": rng.normal(size=classes)}
    nodes = [_node("Gemm", ["x", "w1", "b1"], "h"), _node("Relu", ["h"], "r"), _node("Gemm", ["r", "w2", "b2"], "logits")]
    graph = b"".join(_bytes(1, n) for n in nodes) + _bytes(2, "tiny") + b"".join(_bytes(5, _tensor(k, w)) for k, w in weights.items())
    graph += _bytes(11, _value("x", "n", features)) + _bytes(12, _value("logits", "n", classes))
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, "") + _number(2, 13))
