#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/onnx/bad_*.onnx: graphs that are well-formed files and cannot be run: numbers that overflow, cycles, ends that nothing makes, bodies without end.
tests/api/test_bad_graphs.c says of each what the library answers. The same bytes every time."""
import os

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "fuzz", "corpus", "onnx")
BIG = 2 ** 62
LEAST = -2 ** 63


def ints(name, *values, shape=None):
    return numpy_helper.from_array(np.array(values, np.int64).reshape([len(values)] if shape is None else shape), name)


def reals(name, *shape):
    return numpy_helper.from_array((np.arange(int(np.prod(shape))).reshape(shape) % 5 - 2).astype(np.float32), name)


def value(name, *shape, dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, shape)


def node(op, inputs, outputs="y", **attributes):
    outputs = outputs.split()
    return h.make_node(op, inputs.split(",") if inputs else [], outputs, name=attributes.pop("name", "bad" if outputs[0] == "y" else outputs[0]), **attributes)


GRAPHS = {}


def graph(name, nodes, weights=(), inputs=None, opset=13, outputs=None):
    g = h.make_graph(nodes, name, inputs or [value("x", "n", 4)], outputs or [value("y", None, None)], list(weights))
    m = h.make_model(g, producer_name="make_hostile_graphs", opset_imports=[h.make_opsetid("", opset)])
    m.ir_version = 8
    GRAPHS[name] = m


# ---- shapes that follow from arithmetic
graph("reshape_overflows", [node("Mul", "a,a", "big"), node("Concat", "one,big", "to", axis=0), node("Reshape", "x,to")], [ints("a", 2 ** 31), ints("one", -1)])
graph("product_wraps", [node("Mul", "a,a", "big"), node("Concat", "one,big", "to", axis=0), node("Reshape", "x,to")], [ints("a", 2 ** 33), ints("one", -1)])
graph("sum_wraps", [node("Shape", "x", "s"), node("Add", "s,most", "to"), node("Reshape", "x,to")], [ints("most", 2 ** 63 - 1, 0)])
graph("difference_wraps", [node("Shape", "x", "s"), node("Sub", "least,s", "to"), node("Reshape", "x,to")], [ints("least", LEAST, 0)])
graph("reshape_least", [node("Reshape", "x,to")], [ints("to", LEAST, 4)])
graph("reshape_product_wraps", [node("Reshape", "x,to")], [ints("to", 2 ** 33, 2 ** 31, 8)])
graph("reshape_by_zero", [node("Shape", "x", "s"), node("Div", "s,zero", "q"), node("Reshape", "x,q")], [ints("zero", 0, 0)])
graph("remainder_by_zero", [node("Shape", "x", "s"), node("Mod", "s,zero", "q"), node("ConstantOfShape", "q", "c"), node("Mul", "x,c")], [ints("zero", 0, 0)])
graph("least_by_minus_one", [node("Div", "least,minus", "q"), node("Reshape", "x,q")], [ints("least", LEAST, LEAST), ints("minus", -1, -1)])
graph("expand_overflows", [node("Expand", "x,to")], [ints("to", BIG, BIG, 1, 4)])
graph("expand_negative", [node("Expand", "x,to")], [ints("to", -5, 4)])
graph("constant_of_shape_overflows", [node("ConstantOfShape", "to", "c"), node("Add", "x,c")], [ints("to", 2 ** 31, 2 ** 31, 4)])
graph("constant_of_shape_negative", [node("ConstantOfShape", "to", "c"), node("Add", "x,c")], [ints("to", -1, 4)])
graph("constant_of_shape_large", [node("ConstantOfShape", "to", "c"), node("Add", "x,c")], [ints("to", 2 ** 38, 4)])
graph("tile_overflows", [node("Tile", "x,r")], [ints("r", BIG, 4)])
graph("tile_negative", [node("Tile", "x,r")], [ints("r", -1, 4)])
graph("range_endless", [node("Range", "a,b,d", "r"), node("Cast", "r", "f", to=T.FLOAT), node("Add", "x,f")], [ints("a", 0, shape=[]), ints("b", 9, shape=[]), ints("d", 0, shape=[])])
graph("range_overflows", [node("Range", "a,b,d", "r"), node("Cast", "r", "f", to=T.FLOAT), node("Add", "x,f")], [ints("a", LEAST, shape=[]), ints("b", 2 ** 63 - 1, shape=[]), ints("d", 1, shape=[])])
graph("pad_overflows", [node("Pad", "x,p")], [ints("p", 0, 2 ** 63 - 1, 0, 2 ** 63 - 1)])
graph("pad_cuts_all", [node("Pad", "x,p")], [ints("p", 0, LEAST, 0, 0)])
graph("slice_extremes", [node("Slice", "x,s,e,a,d", "t"), node("Reshape", "t,to")], [ints("s", 2 ** 63 - 1), ints("e", LEAST), ints("a", 1), ints("d", LEAST), ints("to", 7, 7)])
graph("slice_step_zero", [node("Slice", "x,s,e,a,d")], [ints("s", 0), ints("e", 4), ints("a", 1), ints("d", 0)])
graph("concat_overflows", [node("Expand", "x,to", "e"), node("Concat", ",".join(["e"] * 12), axis=0)], [ints("to", 2 ** 37, 4)])
graph("one_hot_large", [node("Cast", "x", "i", to=T.INT64), node("OneHot", "i,depth,values")], [ints("depth", BIG, shape=[]), reals("values", 2)])
graph("top_k_large", [node("TopK", "x,k", "y at")], [ints("k", BIG)])
graph("split_other_sum", [node("Split", "x,s", "y z", axis=1)], [ints("s", BIG, BIG)])
graph("resize_overflows", [node("Resize", "x,,scales", mode="nearest")], [numpy_helper.from_array(np.array([1, 1, 1e18, 1e18], np.float32), "scales")], [value("x", "n", 1, 2, 2)])
graph("resize_not_a_number", [node("Resize", "x,,scales", mode="linear")], [numpy_helper.from_array(np.array([1, 1, np.nan, 1], np.float32), "scales")], [value("x", "n", 1, 2, 2)])
graph("conv_stride_zero", [node("Conv", "x,w", strides=[0, 1])], [reals("w", 1, 1, 1, 1)], [value("x", "n", 1, 2, 2)])
graph("conv_dilation_overflows", [node("Conv", "x,w", dilations=[BIG, BIG])], [reals("w", 1, 1, 3, 3)], [value("x", "n", 1, 2, 2)])
graph("conv_pads_overflow", [node("Conv", "x,w", pads=[BIG] * 4)], [reals("w", 1, 1, 3, 3)], [value("x", "n", 1, 2, 2)])
graph("conv_group_zero", [node("Conv", "x,w", group=0)], [reals("w", 1, 1, 1, 1)], [value("x", "n", 1, 2, 2)])
graph("conv_transpose_overflows", [node("ConvTranspose", "x,w", strides=[2 ** 61, 2 ** 61])], [reals("w", 1, 1, 3, 3)], [value("x", "n", 1, 9, 9)])
graph("pool_kernel_zero", [node("MaxPool", "x", kernel_shape=[0, 2])], (), [value("x", "n", 1, 2, 2)])
graph("depth_to_space_zero", [node("DepthToSpace", "x", blocksize=0)], (), [value("x", "n", 4, 2, 2)])
graph("depth_to_space_overflows", [node("DepthToSpace", "x", blocksize=2 ** 32)], (), [value("x", "n", 4, 2, 2)])
graph("blackman_window_large", [node("BlackmanWindow", "n", "w"), node("Add", "x,w")], [ints("n", BIG, shape=[])], opset=17)

# ---- indices
graph("gather_constant", [node("Gather", "x,i", axis=1)], [ints("i", 0, 4)])
graph("gather_least", [node("Gather", "x,i", axis=1)], [ints("i", LEAST)])
graph("gather_elements", [node("GatherElements", "x,i", axis=1)], [ints("i", 9, shape=[1, 1])])
graph("gather_nd", [node("GatherND", "x,i")], [ints("i", 0, -9)])
graph("scatter_elements", [node("ScatterElements", "x,i,u", axis=1)], [ints("i", 9, shape=[1, 1]), reals("u", 1, 1)])
graph("gather_past_shape", [node("Shape", "x", "s"), node("Gather", "s,i", "d"), node("Reshape", "x,d")], [ints("i", 2)])
graph("tokens", [node("Gather", "table,ids", "rows"), node("ReduceMean", "rows", axes=[1], keepdims=0)], [reals("table", 3, 2)], [value("ids", "n", "t", dtype=T.INT64)])
graph("places", [node("Shape", "ids", "s"), node("Gather", "s,one", "t", axis=0), node("Range", "zero,t,one", "at"), node("Gather", "table,at", "rows"), node("Gather", "words,ids", "w"),
                 node("Add", "w,rows", "sum"), node("ReduceMean", "sum", axes=[1], keepdims=0, name="mean")],
      [reals("table", 5, 3), reals("words", 7, 3), ints("zero", 0, shape=[]), ints("one", 1, shape=[])], [value("ids", "n", "t", dtype=T.INT64)])

# ---- graphs that are none
graph("cycle", [node("Add", "x,b", "a"), node("Relu", "a", "b", name="round"), node("Neg", "b")])
graph("cycle_of_one", [node("Add", "x,y")])
graph("dangling_input", [node("Add", "x,nothing")])
graph("dangling_output", [node("Relu", "x", "z")])
graph("made_twice", [node("Relu", "x", "y", name="first"), node("Neg", "x", "y", name="second")])

# ---- bodies
def body(name, nodes, inputs, outputs):
    return h.make_graph(nodes, name, inputs, outputs)


def loops(depth, rounds):
    """Loops within loops, `rounds` each: rounds ** depth copies of the innermost body."""
    inner = node("Relu", "v%d" % depth, "o%d" % depth)
    for d in range(depth, 0, -1):
        keep = node("Identity", "c%d" % d, "k%d" % d)
        b = body("b%d" % d, [inner, keep], [value("i%d" % d, dtype=T.INT64), value("c%d" % d, dtype=T.BOOL), value("v%d" % d, None, None)],
                 [value("k%d" % d, dtype=T.BOOL), value("o%d" % d, None, None)])
        inner = node("Loop", "rounds,,%s" % ("v%d" % (d - 1) if d > 1 else "x"), "o%d" % (d - 1) if d > 1 else "y", body=b)
    return inner


graph("loops_in_loops", [loops(3, 1000)], [ints("rounds", 1000, shape=[])])
graph("loop_rounds_large", [loops(1, 0)], [ints("rounds", 2 ** 63 - 1, shape=[])])
graph("loop_rounds_computed", [node("ReduceSum", "x", "s", keepdims=0), node("Cast", "s", "rounds", to=T.INT64), loops(1, 0)])


def ifs(depth):
    inner = node("Neg", "x", "w%d" % depth)
    for d in range(depth, 0, -1):
        inner = node("If", "p", "w%d" % (d - 1) if d > 1 else "y", then_branch=body("t%d" % d, [inner], [], [value("w%d" % d, None, None)]),
                     else_branch=body("e%d" % d, [node("Relu", "x", "u%d" % d)], [], [value("u%d" % d, None, None)]))
    return inner


graph("ifs_in_ifs", [ifs(9)], [numpy_helper.from_array(np.array(True), "p")])
graph("if_of_an_input", [ifs(1)], (), [value("x", "n", 4), value("p", "n", dtype=T.BOOL)])

os.makedirs(FOLDER, exist_ok=True)
for name, m in GRAPHS.items():
    path = os.path.join(FOLDER, "bad_" + name + ".onnx")
    if name == "loops_in_loops":  # refused when it has grown as large as a graph may: too slow for a fuzzer's seed
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "graphs", name + ".onnx")
    with open(path, "wb") as f:
        f.write(m.SerializeToString(deterministic=True))
