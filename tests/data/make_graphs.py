# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/graphs/*.onnx, networks in which the first dimension of a layer does not count inputs or stands elsewhere, and two fuzz seeds with outputs that nobody wants."""
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent


def vi(n):
    n &= (1 << 64) - 1
    o = b""
    while True:
        b = n & 127
        n >>= 7
        if not n:
            return o + bytes([b])
        o += bytes([b | 128])


def f(n, v):
    if isinstance(v, int):
        return vi(n << 3) + vi(v)
    v = v.encode() if isinstance(v, str) else v
    return vi(n << 3 | 2) + vi(len(v)) + v


def tensor(name, kind, dims, raw):
    return b"".join(f(1, d) for d in dims) + f(2, kind) + f(8, name) + f(9, raw)


def reals(name, dims):
    n = 1
    for d in dims:
        n *= d
    return tensor(name, 1, dims, struct.pack("<%df" % n, *[((i * 37) % 17 - 8) / 16 for i in range(n)]))


def integers(name, v):
    return tensor(name, 7, [len(v)], struct.pack("<%dq" % len(v), *v))


def value(name, dims):
    shape = b"".join(f(1, f(1, d) if isinstance(d, int) else f(2, d)) for d in dims)
    return f(1, name) + f(2, f(1, f(1, 1) + f(2, shape)))


def node(op, i, o, attributes=b"", name=""):
    return b"".join(f(1, x) for x in i) + b"".join(f(2, x) for x in o) + f(3, name) + f(4, op) + attributes


def ints(n, v):
    return f(5, f(1, n) + b"".join(f(8, x) for x in v) + f(20, 7))


def integer(n, v):
    return f(5, f(1, n) + f(3, v) + f(20, 2))


def write(path, nodes, initialisers, inputs, outputs):
    graph = (b"".join(f(1, n) for n in nodes) + f(2, "g") + b"".join(f(5, t) for t in initialisers)
             + b"".join(f(11, v) for v in inputs) + b"".join(f(12, v) for v in outputs))
    (HERE / path).write_bytes(f(1, 8) + f(7, graph) + f(8, f(1, "") + f(2, 13)))


N = 16
write("graphs/batch_in_channels.onnx",
      [node("Reshape", ["x", "s1"], ["r"]), node("Conv", ["r", "w"], ["c"], ints("pads", [1, 1, 1, 1]) + ints("kernel_shape", [3, 3]), "conv"),
       node("Relu", ["c"], ["cr"]), node("Reshape", ["cr", "s2"], ["q"]), node("Gemm", ["q", "w2"], ["logits"], b"", "fc")],
      [integers("s1", [1, N, 16, 16]), reals("w", [N, N, 3, 3]), integers("s2", [N, 256]), reals("w2", [256, 3])],
      [value("x", [N, 1, 16, 16])], [value("logits", [N, 3])])
for name, outputs in (("unwanted_output", ["", "junk"]), ("no_output", [])):
    write(f"../fuzz/corpus/onnx/{name}.onnx",
          [node("Conv", ["x", "w"], outputs, ints("kernel_shape", [3, 3]), "bad"), node("Flatten", ["x"], ["q"]), node("Gemm", ["q", "w2"], ["logits"], b"", "fc")],
          [reals("w", [2, 1, 3, 3]), reals("w2", [256, 3])], [value("x", ["n", 1, 16, 16])], [value("logits", ["n", 3])])
write("graphs/batch_doubled.onnx",
      [node("Neg", ["x"], ["m"]), node("Concat", ["x", "m"], ["r"], integer("axis", 0)), node("Conv", ["r", "w"], ["c"], ints("kernel_shape", [16, 16]), "conv"),
       node("Relu", ["c"], ["cr"]), node("Reshape", ["cr", "s2"], ["q"]), node("ReduceSum", ["q", "ax"], ["logits"], integer("keepdims", 0))],
      [integers("s2", [2, -1, 3]), integers("ax", [0]), reals("w", [3, 1, 16, 16])], [value("x", ["n", 1, 16, 16])], [value("logits", ["n", 3])])
write("graphs/batch_behind.onnx",
      [node("Reshape", ["x", "s1"], ["r"]), node("Transpose", ["r"], ["tr"], ints("perm", [1, 0, 2])), node("MatMul", ["tr", "w"], ["c"], b"", "mm"),
       node("Relu", ["c"], ["cr"]), node("ReduceSum", ["cr", "ax"], ["logits"], integer("keepdims", 0))],
      [integers("s1", [-1, 4, 64]), integers("ax", [0]), reals("w", [64, 3])], [value("x", ["n", 1, 16, 16])], [value("logits", ["n", 3])])
# As PyTorch's attention has it: [sequence, batch] flattened into rows, heads split off the rows' columns, the batch joined with them and taken apart again.
write("graphs/batch_behind_rows.onnx",
      [node("Reshape", ["x", "s1"], ["r"]), node("Transpose", ["r"], ["tr"], ints("perm", [1, 0, 2])), node("MatMul", ["tr", "w"], ["c"], b"", "mm"),
       node("Relu", ["c"], ["cr"]), node("Reshape", ["cr", "s2"], ["h"]), node("Transpose", ["h"], ["ht"], ints("perm", [1, 0, 2])), node("Transpose", ["h"], ["hk"], ints("perm", [1, 2, 0])),
       node("MatMul", ["ht", "hk"], ["qk"]), node("Softmax", ["qk"], ["p"], integer("axis", -1)), node("MatMul", ["p", "ht"], ["o"]), node("Transpose", ["o"], ["ot"], ints("perm", [1, 0, 2])),
       node("Reshape", ["ot", "s3"], ["rows"]), node("Gemm", ["rows", "w2"], ["g"], b"", "rows"), node("Reshape", ["g", "s4"], ["t"]),
       node("ReduceSum", ["t", "ax"], ["sum"], integer("keepdims", 0)), node("Gemm", ["sum", "w3"], ["logits"], b"", "head")],
      [integers("s1", [-1, 4, 64]), integers("s2", [4, -1, 6]), integers("s3", [-1, 12]), integers("s4", [4, -1, 3]), integers("ax", [0]), reals("w", [64, 12]), reals("w2", [12, 3]), reals("w3", [3, 3])],
      [value("x", ["n", 1, 16, 16])], [value("logits", ["n", 3])])
write("graphs/batch_behind_lstm.onnx",
      [node("Reshape", ["x", "s1"], ["r"]), node("Transpose", ["r"], ["tr"], ints("perm", [1, 0, 2])), node("LSTM", ["tr", "w", "u"], ["y", "yh"], integer("hidden_size", 5)),
       node("Squeeze", ["y", "one"], ["ys"]), node("MatMul", ["ys", "w2"], ["steps"], b"", "mm"), node("ReduceSum", ["steps", "zero"], ["sum"], integer("keepdims", 0)),
       node("Squeeze", ["yh", "zero"], ["h"]), node("Gemm", ["h", "w3"], ["last"], b"", "last"), node("Add", ["sum", "last"], ["logits"])],
      [integers("s1", [-1, 4, 64]), integers("zero", [0]), integers("one", [1]), reals("w", [1, 20, 64]), reals("u", [1, 20, 5]), reals("w2", [5, 3]), reals("w3", [5, 3])],
      [value("x", ["n", 1, 16, 16])], [value("logits", ["n", 3])])
# Images of any size: windows that see their neighbours, and pixels on their own, whose mean does not change when the image is laid beside itself.
for name, k in (("open_sizes", 3), ("open_pixels", 1)):
    write(f"graphs/{name}.onnx",
          [node("Conv", ["x", "w1", "b1"], ["c1"], ints("kernel_shape", [k, k]), "conv1"), node("Relu", ["c1"], ["r1"]),
           node("Conv", ["r1", "w2"], ["c2"], ints("kernel_shape", [k, k]), "conv2"), node("Relu", ["c2"], ["r2"]),
           node("GlobalAveragePool", ["r2"], ["p"]), node("Flatten", ["p"], ["q"]), node("Gemm", ["q", "w3", "b3"], ["logits"], b"", "fc")],
          [reals("w1", [24, 2, k, k]), reals("b1", [24]), reals("w2", [32, 24, k, k]), reals("w3", [32, 4]), reals("b3", [4])],
          [value("x", ["n", 2, "h", "w"])], [value("logits", ["n", 4])])
