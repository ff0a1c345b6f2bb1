#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/graphs/{gpt,bert}.onnx and tests/data/transformers.h: two small transformers with the shape arithmetic that exporters write
around them (batch and sequence open), and what NumPy makes of the same weights for a few shapes. The same bytes every time."""
import math
import os

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS, PLACES, WIDTH, HEADS = 11, 16, 8, 2
SHAPES = [(1, 3), (2, 5), (3, 1)]


class Net:
    """Nodes and initialisers; a method adds one and returns its output's name."""

    def __init__(self, seed):
        self.nodes, self.weights, self.random = [], {}, np.random.RandomState(seed)

    def weight(self, name, *shape, scale=0.5):
        self.weights[name] = (self.random.standard_normal(shape) * scale).astype(np.float32)
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        out = ["%s_%d" % (kind.lower(), len(self.nodes))] if outputs == 1 else ["%s_%d_%d" % (kind.lower(), len(self.nodes), i) for i in range(outputs)]
        self.nodes.append(h.make_node(kind, list(inputs), out, name=out[0], **attributes))
        return out[0] if outputs == 1 else out

    def constant(self, value, dtype=np.int64):
        return self.op("Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def named(self, node, name):
        """The last node under a layer's name."""
        self.nodes[-1].name = name
        return node

    def save(self, name, opset, inputs, output):
        self.nodes[-1].output[0] = "logits"
        g = h.make_graph(self.nodes, name, inputs, [output], [numpy_helper.from_array(w, k) for k, w in self.weights.items()])
        m = h.make_model(g, producer_name="make_transformers", opset_imports=[h.make_opsetid("", opset)])
        m.ir_version = 8
        with open(os.path.join(HERE, "graphs", name + ".onnx"), "wb") as f:
            f.write(m.SerializeToString(deterministic=True))


def dim(n, x, axis):
    return n.op("Gather", n.op("Shape", x), n.constant(axis), axis=0)


def unsqueeze(n, x, axis, opset):
    return n.op("Unsqueeze", x, axes=[axis]) if opset < 13 else n.op("Unsqueeze", x, n.constant([axis]))


def view(n, x, sizes, opset):
    """x.view(*sizes) as an exporter writes it: sizes are numbers or names of scalars."""
    parts = [n.constant([s]) if isinstance(s, int) else unsqueeze(n, s, 0, opset) for s in sizes]
    return n.op("Reshape", x, n.op("Concat", *parts, axis=0))


def heads(n, x, perm, opset):
    split = view(n, x, [dim(n, x, 0), dim(n, x, 1), HEADS, WIDTH // HEADS], opset)
    return n.op("Transpose", split, perm=perm)


def merge(n, x, opset):
    x = n.op("Transpose", x, perm=[0, 2, 1, 3])
    last = n.op("Mul", dim(n, x, 2), dim(n, x, 3))
    return view(n, x, [dim(n, x, 0), dim(n, x, 1), last], opset)


def gpt():
    """Decoder of operator set 11: decomposed LayerNorm and GELU, a mask cut from a constant with computed bounds, tied output layer."""
    n, opset = Net(3), 11
    ids = view(n, "ids", [-1, dim(n, "ids", 1)], opset)
    places = n.op("Range", n.constant(0), dim(n, ids, 1), n.constant(1))
    places = n.op("Unsqueeze", places, axes=[0])
    x = n.op("Add", n.op("Gather", n.weight("wte", WORDS, WIDTH), ids), n.op("Gather", n.weight("wpe", PLACES, WIDTH), places))

    def norm(x, name):
        d = n.op("Sub", x, n.op("ReduceMean", x, axes=[-1]))
        v = n.op("ReduceMean", n.op("Pow", d, n.constant(2, np.float32)), axes=[-1])
        z = n.op("Div", d, n.op("Sqrt", n.op("Add", v, n.constant(1e-5, np.float32))))
        return n.op("Add", n.op("Mul", z, n.weight(name + ".scale", WIDTH, scale=1)), n.weight(name + ".shift", WIDTH))

    def linear(x, name, i, o):
        flat = view(n, x, [-1, dim(n, x, 2)], opset)
        y = n.named(n.op("Gemm", flat, n.weight(name + ".weight", i, o), n.weight(name + ".bias", o)), name)
        return view(n, y, [dim(n, x, 0), dim(n, x, 1), o], opset)

    q, k, v = n.op("Split", linear(norm(x, "ln1"), "attention", WIDTH, 3 * WIDTH), outputs=3, axis=2)
    q, k, v = heads(n, q, [0, 2, 1, 3], opset), heads(n, k, [0, 2, 3, 1], opset), heads(n, v, [0, 2, 1, 3], opset)
    root = n.op("Sqrt", n.op("Cast", dim(n, v, 3), to=T.FLOAT))
    w = n.op("Div", n.op("MatMul", q, k), root)
    n.weights["mask"] = np.tril(np.ones((1, 1, PLACES, PLACES), np.uint8))
    below, to = dim(n, w, 2), dim(n, w, 3)
    cut = n.op("Slice", "mask", n.op("Unsqueeze", n.op("Sub", to, below), axes=[0]), n.op("Unsqueeze", to, axes=[0]), n.constant([2]), n.constant([1]))
    cut = n.op("Slice", cut, n.constant([0]), n.op("Unsqueeze", to, axes=[0]), n.constant([3]), n.constant([1]))
    w = n.op("Softmax", n.op("Where", n.op("Cast", cut, to=T.BOOL), w, n.constant(-1e4, np.float32)), axis=3)
    x = n.op("Add", x, linear(merge(n, n.op("MatMul", w, v), opset), "project", WIDTH, WIDTH))
    u = linear(norm(x, "ln2"), "up", WIDTH, 16)
    cube = n.op("Mul", n.constant(0.044715, np.float32), n.op("Pow", u, n.constant(3, np.float32)))
    t = n.op("Tanh", n.op("Mul", n.constant(math.sqrt(2 / math.pi), np.float32), n.op("Add", u, cube)))
    u = n.op("Mul", n.op("Mul", u, n.constant(0.5, np.float32)), n.op("Add", t, n.constant(1, np.float32)))
    x = norm(n.op("Add", x, linear(u, "down", 16, WIDTH)), "ln3")
    n.op("MatMul", x, n.op("Transpose", "wte", perm=[1, 0]))
    n.save("gpt", opset, [h.make_tensor_value_info("ids", T.INT64, ["batch", "sequence"])],
           h.make_tensor_value_info("logits", T.FLOAT, ["batch", "sequence", WORDS]))
    return n.weights


def bert():
    """Encoder classifier of operator set 17 with a padding mask: expand() by Where, a squeeze() of unknown rank by If, einsum, LayerNormalization."""
    n, opset = Net(5), 17
    b, t = dim(n, "ids", 0), dim(n, "ids", 1)
    n.weights["kinds"] = np.zeros((1, PLACES), np.int64)
    cut = n.op("Slice", "kinds", n.constant([0]), unsqueeze(n, t, 0, opset), n.constant([1]), n.constant([1]))
    want = n.op("Concat", unsqueeze(n, b, 0, opset), unsqueeze(n, t, 0, opset), axis=0)
    ones = n.op("ConstantOfShape", n.op("Shape", want), value=numpy_helper.from_array(np.array([1], np.int64)))
    given = n.op("Equal", want, n.op("Mul", ones, n.constant(-1)))
    kinds = n.op("Expand", cut, n.op("Where", given, ones, want))
    n.weights["places"] = np.arange(PLACES).reshape(1, PLACES)
    places = n.op("Slice", "places", n.constant([0]), unsqueeze(n, t, 0, opset), n.constant([1]))
    x = n.op("Add", n.op("Gather", n.weight("word", WORDS, WIDTH), "ids"), n.op("Gather", n.weight("kind", 2, WIDTH), kinds))
    x = n.op("Add", x, n.op("Gather", n.weight("place", PLACES, WIDTH), places))
    norm = lambda x, name: n.op("LayerNormalization", x, n.weight(name + ".scale", WIDTH, scale=1), n.weight(name + ".shift", WIDTH), axis=-1, epsilon=1e-5)
    linear = lambda x, name, i, o: n.op("Add", n.named(n.op("MatMul", x, n.weight(name + ".weight", i, o)), name), n.weight(name + ".bias", o))
    x = norm(x, "ln0")
    mask = n.op("Cast", n.op("Unsqueeze", n.op("Unsqueeze", "mask", n.constant([1])), n.constant([2])), to=T.FLOAT)
    mask = n.op("Mul", n.op("Sub", n.constant(1, np.float32), mask), n.constant(-1e4, np.float32))
    q, k, v = (heads(n, linear(x, name, WIDTH, WIDTH), [0, 2, 1, 3], opset) for name in ("query", "key", "value"))
    w = n.op("Einsum", q, k, equation="bhld,bhrd->bhlr")
    w = n.op("Softmax", n.op("Add", n.op("Div", w, n.constant(math.sqrt(WIDTH // HEADS), np.float32)), mask), axis=-1)
    x = norm(n.op("Add", x, linear(merge(n, n.op("MatMul", w, v), opset), "output", WIDTH, WIDTH)), "ln1")
    u = linear(x, "up", WIDTH, 16)
    e = n.op("Add", n.op("Erf", n.op("Div", u, n.constant(math.sqrt(2), np.float32))), n.constant(1, np.float32))
    u = n.op("Mul", n.op("Mul", u, e), n.constant(0.5, np.float32))
    x = norm(n.op("Add", x, linear(u, "down", 16, WIDTH)), "ln2")
    first = n.op("Slice", x, n.constant([0]), n.constant([1]), n.constant([1]))
    info = h.make_tensor_value_info("s", T.FLOAT, None)
    gone = h.make_graph([h.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([1], np.int64))),
                         h.make_node("Squeeze", [first, "axes"], ["s"])], "gone", [], [info])
    kept = h.make_graph([h.make_node("Identity", [first], ["s"])], "kept", [], [info])
    first = n.op("If", n.op("Equal", dim(n, first, 1), n.constant(1)), then_branch=gone, else_branch=kept)
    first = n.op("Tanh", n.named(n.op("Gemm", first, n.weight("pool.weight", WIDTH, WIDTH), n.weight("pool.bias", WIDTH), transB=1), "pool"))
    n.named(n.op("Gemm", first, n.weight("class.weight", 3, WIDTH), n.weight("class.bias", 3), transB=1), "class")
    n.save("bert", opset, [h.make_tensor_value_info(i, T.INT64, ["batch", "sequence"]) for i in ("ids", "mask")],
           h.make_tensor_value_info("logits", T.FLOAT, ["batch", 3]))
    return n.weights


def norm(x, w, name):
    d = x - x.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-5) * w[name + ".scale"] + w[name + ".shift"]


def attend(q, k, v, bias):
    cut = lambda a: a.reshape(*a.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)
    s = cut(q) @ cut(k).transpose(0, 1, 3, 2) / math.sqrt(WIDTH // HEADS) + bias
    s = np.exp(s - s.max(-1, keepdims=True))
    return ((s / s.sum(-1, keepdims=True)) @ cut(v)).transpose(0, 2, 1, 3).reshape(q.shape)


def linear(x, w, name):
    return x @ w[name + ".weight"] + w[name + ".bias"]


def numpy_gpt(w, ids):
    t = ids.shape[1]
    x = w["wte"][ids] + w["wpe"][:t]
    q, k, v = np.split(linear(norm(x, w, "ln1"), w, "attention"), 3, -1)
    x = x + linear(attend(q, k, v, np.where(np.tril(np.ones((t, t))), 0, -np.inf)), w, "project")
    u = linear(norm(x, w, "ln2"), w, "up")
    x = x + linear(0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))), w, "down")
    return norm(x, w, "ln3") @ w["wte"].T


def numpy_bert(w, ids, mask):
    x = norm(w["word"][ids] + w["kind"][0] + w["place"][: ids.shape[1]], w, "ln0")
    q, k, v = (linear(x, w, name) for name in ("query", "key", "value"))
    x = norm(x + linear(attend(q, k, v, (1 - mask[:, None, None]) * -1e4), w, "output"), w, "ln1")
    u = linear(x, w, "up")
    x = norm(x + linear(u * (1 + np.vectorize(math.erf)(u / math.sqrt(2))) / 2, w, "down"), w, "ln2")
    return np.tanh(x[:, 0] @ w["pool.weight"].T + w["pool.bias"]) @ w["class.weight"].T + w["class.bias"]


def double(w):
    return {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in w.items()}


def numbers(a):
    return ", ".join("%.7g" % v for v in np.ravel(a))


g, b = double(gpt()), double(bert())
lines = ["/* SPDX-License-Identifier: Apache-2.0 */", "/* Made by make_transformers.py: token t of sequence s is (3 s + 5 t + 2) % 11; the last of every odd sequence is padding. */"]
lines += ["static const struct {", "    int64_t batch, sequence;", "    const float *gpt, *bert;", "} transformer_values[] = {"]
for batch, t in SHAPES:
    ids = (3 * np.arange(batch)[:, None] + 5 * np.arange(t) + 2) % WORDS
    mask = np.ones_like(ids)
    mask[1::2, -1] = t == 1
    lines.append("    {%d, %d," % (batch, t))
    for y in (numpy_gpt(g, ids), numpy_bert(b, ids, mask)):
        words, row = numbers(y).split(", "), "     (const float[]){"
        for i, word in enumerate(words):
            if len(row) + len(word) > 140:
                lines.append(row.rstrip())
                row = "      "
            row += word + ("" if i == len(words) - 1 else ", ")
        lines.append(row + "}" + ("," if y.ndim == 3 else "},"))
lines.append("};")
with open(os.path.join(HERE, "transformers.h"), "w") as f:
    f.write("\n".join(lines) + "\n")
