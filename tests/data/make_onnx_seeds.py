#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/onnx/: small ONNX files that between them reach every branch of the reader. The same bytes every time."""
import os

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "fuzz", "corpus", "onnx")
REALS = {"float": T.FLOAT, "double": T.DOUBLE, "float16": T.FLOAT16, "bfloat16": T.BFLOAT16}
INTEGERS = {name: getattr(T, name.upper()) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")}


def weights(name, *shape, seed=1):
    return numpy_helper.from_array((np.random.RandomState(seed).randint(-8, 9, shape) / 4).astype(np.float32), name)


def value(name, *shape, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, initialisers=(), opset=13, ir=8, domains=(), **graph):
    g = h.make_graph(nodes, "g", inputs, outputs, initialisers, **graph)
    m = h.make_model(g, producer_name="seeds", opset_imports=[h.make_opsetid("", opset)] + [h.make_opsetid(*d) for d in domains])
    m.producer_version = "1"
    m.ir_version = ir
    return m


def mlp():
    nodes = [
        h.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="fc1", transB=1, alpha=1.0),
        h.make_node("Relu", ["h"], ["r"]),
        h.make_node("Gemm", ["r", "w2", ""], ["y"], name="fc2"),
    ]
    w = [weights("w1", 3, 4), weights("b1", 3, seed=2), weights("w2", 3, 2, seed=3)]
    return model(nodes, [value("x", "batch", 4)], [value("y", "batch", 2)], w, value_info=[value("h", None, 3)])


def halves():
    """Weights of four bits: signed ones in raw data behind blocks of scales, unsigned ones in a list, an odd number of each."""
    w = T(data_type=22, name="w", dims=[3, 3], raw_data=bytes([0x21, 0x87, 0xF0, 0x43, 0x05]))  # 1 2, 7 -8, 0 -1, 3 4, 5
    z = T(data_type=21, name="z", dims=[3], int32_data=[0xF1, 0x08])  # 1 15, 8
    nodes = [
        h.make_node("DequantizeLinear", ["w", "s"], ["r"], name="unpack", axis=0, block_size=2),
        h.make_node("DequantizeLinear", ["z", "t"], ["b"], name="bias"),
        h.make_node("Gemm", ["x", "r", "b"], ["y"], name="fc"),
    ]
    return model(nodes, [value("x", "batch", 3)], [value("y", "batch", 3)], [w, weights("s", 2, 3), weights("t", seed=2), z], opset=21, ir=10)


def unsorted():
    nodes = [h.make_node("Neg", ["a"], ["y"]), h.make_node("Relu", ["x"], ["a"], domain="ai.onnx")]
    return model(nodes, [value("x", 2)], [value("y", 2)])


def old():
    """IR version 3: every initialiser is an input too, nothing has types but inputs and outputs."""
    m = mlp()
    m.ir_version = 3
    m.graph.input.extend([value("w1", 3, 4), value("b1", 3), value("w2", 3, 2)])
    m.opset_import[0].version = 7
    return m


def first():
    """IR version 1: no operator sets, attributes without a type."""
    m = mlp()
    m.ir_version = 1
    del m.opset_import[:]
    for n in m.graph.node:
        for a in n.attribute:
            a.ClearField("type")
    return m


def encodings(raw):
    """One initialiser of every element type."""
    lists = []
    for name, dtype in REALS.items():
        numbers = np.array([0, 1, -2.5, 0.5], np.float64 if dtype == T.DOUBLE else np.float32)
        t = h.make_tensor(name, dtype, [2, 2], numbers)
        if raw:
            t = T(name=name, data_type=dtype, dims=[2, 2])
            t.raw_data = {T.FLOAT: numbers.tobytes(), T.DOUBLE: numbers.tobytes(), T.FLOAT16: numbers.astype(np.float16).tobytes(),
                          T.BFLOAT16: (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes() if dtype == T.BFLOAT16 else b""}[dtype]
        lists.append(t)
    for name, dtype in INTEGERS.items():
        numbers = np.array([0, 1, 100] if name.startswith("u") else [0, 1, 1] if name == "bool" else [0, -1, 100], name)
        t = h.make_tensor(name, dtype, [3], numbers)
        lists.append(numpy_helper.from_array(numbers, name) if raw else t)
    lists.append(h.make_tensor("scalar", T.FLOAT, [], [7.0]))
    lists.append(h.make_tensor("empty", T.FLOAT, [2, 0], []))
    return model([h.make_node("Identity", ["x"], ["y"])], [value("x", 1)], [value("y", 1)], lists)


def constants():
    c = lambda **a: h.make_node("Constant", [], ["c%d" % len(nodes)], **a)
    nodes = []
    for a in ({"value": weights("", 2, 2)}, {"value_float": 1.5}, {"value_floats": [1.0, 2.0]}, {"value_int": 3}, {"value_ints": [4, -5]},
              {"value_string": "s"}, {"value_strings": ["s", "t"]}):
        nodes.append(c(**a))
    nodes.append(h.make_node("Identity", ["c0"], ["y"]))
    return model(nodes, [], [value("y", 2, 2)])


def control():
    """Subgraphs, another domain, a function, an absent output."""
    branch = h.make_graph([h.make_node("Neg", ["x"], ["z"])], "branch", [], [value("z", 2)])
    nodes = [
        h.make_node("If", ["p"], ["a"], then_branch=branch, else_branch=branch),
        h.make_node("Swirl", ["a"], ["b", "", "d"], domain="org.example", axis=1),
        h.make_node("Sequence", ["b"], ["y"], domain="org.example"),
    ]
    sequence = h.make_value_info("b", h.make_sequence_type_proto(h.make_optional_type_proto(h.make_tensor_type_proto(T.FLOAT, [2]))))
    m = model(nodes, [value("p", dtype=T.BOOL), value("x", 2)], [value("y", 2)], domains=[("org.example", 1)], value_info=[sequence])
    m.functions.append(h.make_function("org.example", "Swirl", ["a"], ["b"], [h.make_node("Neg", ["a"], ["b"])], [h.make_opsetid("", 13)]))
    return m


def graph(name, nodes, inputs, outputs, initialisers=()):
    return h.make_graph(nodes, name, inputs, outputs, initialisers)


def branches():
    """If within If; the branches read the graphs around them."""
    inner = {"then_branch": graph("sum", [h.make_node("Add", ["x", "w"], ["a"])], [], [value("a", 2)]),
             "else_branch": graph("minus", [h.make_node("Neg", ["square"], ["b"])], [], [value("b", 2)])}
    middle = graph("middle", [h.make_node("Mul", ["x", "x"], ["square"]), h.make_node("If", ["q"], ["c"], **inner)], [], [value("c", 2)])
    other = graph("other", [h.make_node("Identity", ["x"], ["d"])], [], [value("d", 2)])
    return model([h.make_node("If", ["p"], ["y"], name="choice", then_branch=middle, else_branch=other)],
                 [value("p", dtype=T.BOOL), value("q", dtype=T.BOOL), value("x", 2)], [value("y", 2)], [numpy_helper.from_array(np.float32([1, 2]), "w")])


def loop(rounds=None):
    """A layer for each round; what the round is decides an If. With `rounds` the number of rounds is an initialiser."""
    sign = {"then_branch": graph("minus", [h.make_node("Neg", ["t"], ["m"])], [], [value("m", None, 2)]),
            "else_branch": graph("plus", [h.make_node("Identity", ["t"], ["p"])], [], [value("p", None, 2)])}
    nodes = [h.make_node("Identity", ["c"], ["on"]), h.make_node("MatMul", ["s", "w"], ["t"], name="layer"),
             h.make_node("Equal", ["i", "one"], ["second"]), h.make_node("If", ["second"], ["r"], **sign)]
    body = graph("round", nodes, [value("i", dtype=T.INT64), value("c", dtype=T.BOOL), value("s", None, 2)],
                 [value("on", dtype=T.BOOL), value("r", None, 2), value("t", None, 2)], [numpy_helper.from_array(np.int64(1), "one")])
    inputs, w = [value("x", "batch", 2)], [numpy_helper.from_array(np.float32([[0.5, -1], [2, 0.25]]), "w")]
    if rounds is None:
        inputs.insert(0, value("n", dtype=T.INT64))
    else:
        w.append(numpy_helper.from_array(np.int64(rounds), "n"))
    return model([h.make_node("Loop", ["n", "", "x"], ["y", "all"], name="rounds", body=body)], inputs, [value("y", "batch", 2), value("all", None, None, 2)], w)


def scan():
    """Backwards along axis 1, and stacked backwards along it."""
    body = graph("step", [h.make_node("Add", ["s", "e"], ["r"]), h.make_node("Mul", ["r", "e"], ["o"])], [value("s", 2), value("e", 2)],
                 [value("r", 2), value("o", 2)])
    return model([h.make_node("Scan", ["s0", "x"], ["y", "z"], body=body, num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1],
                              scan_output_axes=[-1], scan_output_directions=[1])],
                 [value("s0", 2), value("x", 2, "n")], [value("y", 2), value("z", 2, "n")])


def endless():
    """A loop that ends when its own sum is large enough: nothing that is known beforehand."""
    body = graph("round", [h.make_node("Add", ["s", "s"], ["r"]), h.make_node("ReduceSum", ["r"], ["sum"], keepdims=0), h.make_node("Less", ["sum", "most"], ["on"])],
                 [value("i", dtype=T.INT64), value("c", dtype=T.BOOL), value("s", 2)], [value("on", dtype=T.BOOL), value("r", 2)],
                 [numpy_helper.from_array(np.float32(10), "most")])
    return model([h.make_node("Loop", ["", "", "x"], ["y"], name="endless", body=body)], [value("x", 2)], [value("y", 2)])


def deep():
    """More bodies within bodies than anybody writes."""
    body = graph("last", [h.make_node("Neg", ["x"], ["y9"])], [], [value("y9", 2)])
    for i in range(8, -1, -1):
        body = graph("g%d" % i, [h.make_node("If", ["p"], ["y%d" % i], then_branch=body, else_branch=body if i > 7 else graph(
            "e%d" % i, [h.make_node("Neg", ["x"], ["z%d" % i])], [], [value("z%d" % i, 2)]))], [], [value("y%d" % i, 2)])
    return model(list(body.node), [value("p", dtype=T.BOOL), value("x", 2)], [value("y0", 2)])


def unsupported():
    sparse = h.make_sparse_tensor(h.make_tensor("sparse", T.FLOAT, [1], [2.0]), h.make_tensor("at", T.INT64, [1], [3]), [5])
    nodes = [h.make_node("Constant", [], ["c"], name="text", value=h.make_tensor("t", T.STRING, [1], [b"words"]))]
    nodes.append(h.make_node("Add", ["x", "sparse"], ["y"]))
    w = [h.make_tensor("words", T.STRING, [2], [b"a", b"b"]), h.make_tensor("z", T.COMPLEX64, [1], [1 + 2j])]
    sequence = h.make_value_info("list", h.make_sequence_type_proto(h.make_tensor_type_proto(T.FLOAT, [])))
    m = model(nodes, [value("x", 5), sequence], [value("y", 5)], w, sparse_initializer=[sparse])
    m.training_info.add().algorithm.name = "train"
    return m


def external():
    m = mlp()
    t = m.graph.initializer[0]
    raw = t.raw_data
    t.ClearField("raw_data")
    t.data_location = T.EXTERNAL
    for key, text in (("location", "weights.bin"), ("offset", "16"), ("length", str(len(raw)))):
        t.external_data.add(key=key, value=text)
    return m


SEEDS = {"mlp": mlp(), "unsorted": unsorted(), "old": old(), "first": first(), "raw": encodings(True), "lists": encodings(False),
         "constants": constants(), "control": control(), "unsupported": unsupported(), "external": external(), "halves": halves(),
         "branches": branches(), "loop": loop(), "rounds": loop(3), "scan": scan(), "endless": endless(), "deep": deep()}
os.makedirs(FOLDER, exist_ok=True)
for name, m in SEEDS.items():
    with open(os.path.join(FOLDER, name + ".onnx"), "wb") as f:
        f.write(m.SerializeToString(deterministic=True))
with open(os.path.join(FOLDER, "tensor.pb"), "wb") as f:
    f.write(weights("t", 2, 3).SerializeToString(deterministic=True))
