#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes oracle_sketch.onnx and oracle_sketch.h: a small network and, for some inputs, the scores that PyTorch and SciPy compute in double precision.

    /usr/bin/python3 tests/data/make_oracle_sketch.py

From inputs to scores by another road than the library's: autograd gives every input's full weight gradients one at a time, the second moments come
from unfolded patches, projections from LAPACK's eigenvectors, signatures are written out in full. Needs python3-torch, python3-scipy, python3-onnx.
"""
import os

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper as h
from onnx import numpy_helper
from scipy.optimize import nnls

REFERENCES, CALIBRATION, INPUTS, CLASSES, K_IN, K_OUT, BETA, DAMPING, RIDGE, TOPK = 22, 12, 8, 4, 6, 5, 0.25, 0.1, 0.1, 3
SHAPE = (2, 5, 5)
# How signatures are made, in the order of `oracle_cases` in tests/unit/test_sketch.c.
CASES = [("both", "margin"), ("plain", "margin"), ("layer-unit", "margin"), ("both", "cross-entropy")]
HERE = os.path.dirname(os.path.abspath(__file__))
random = np.random.RandomState(11)


def weights(*shape, scale):
    return (random.randn(*shape) * scale).astype(np.float32)


W = {"w1": weights(6, 2, 3, 3, scale=0.4), "b1": weights(6, scale=0.1), "w2": weights(6, 1, 3, 3, scale=0.4), "b2": weights(6, scale=0.1),
     "w3": weights(8, 3, 2, 2, scale=0.4), "w4": weights(32, 9, scale=0.3), "b4": weights(9, scale=0.1), "w5": weights(9, 9, scale=0.4),
     "w6": weights(CLASSES, 9, scale=0.5), "b6": weights(CLASSES, scale=0.1)}
# Layers in order: weight, bias, kind. w5 is used twice; w2 is depthwise, w3 has two groups, stride 2 and no bias.
LAYERS = [("w1", "b1", dict(padding=1)), ("w2", "b2", dict(padding=1, groups=6)), ("w3", None, dict(stride=2, padding=(0, 0), groups=2)), ("w4", "b4", "matmul"),
          ("w5", None, "matmul"), ("w6", "b6", "gemm")]


def forward(w, x, seen=None):
    """Logits; `seen` collects (weight, layer input, layer output) of every use."""
    def conv(x, name, bias, **how):
        y = F.conv2d(x, w[name], w[bias] if bias else None, **how)
        return keep(name, x, y)

    def keep(name, x, y):
        if seen is not None:
            y.retain_grad()
            seen.append((name, x.detach(), y))
        return y

    x = torch.relu(conv(x, "w1", "b1", padding=1))
    x = torch.tanh(conv(x, "w2", "b2", padding=1, groups=6))
    x = torch.relu(conv(x, "w3", None, stride=2, groups=2))
    x = torch.tanh(keep("w4", x.flatten(1), x.flatten(1) @ w["w4"] + w["b4"]))
    x = torch.tanh(keep("w5", x, x @ w["w5"]))
    x = torch.tanh(keep("w5", x, x @ w["w5"]))
    return keep("w6", x, x @ w["w6"].T + w["b6"])


def logit_gradient(z, loss):
    """By autograd, so no confident logits here: 1 - softmax(z)_y must not round to 0."""
    z = z.detach().requires_grad_(True)
    y = z.argmax()
    value = (z.sum() - z[y]) / (len(z) - 1) - z[y] if loss == "margin" else -z.log_softmax(0)[y]
    return unit(torch.autograd.grad(value, z)[0])


def positions(name, x, d):
    """[p, in] and [p, out] of one input at one use; for groups a list of them."""
    kind = next(how for n, _, how in LAYERS if n == name)
    bias = next(b for n, b, _ in LAYERS if n == name)
    if isinstance(kind, str):
        sides = [(x, d)]
    else:
        groups = kind.get("groups", 1)
        size = W[name].shape[2:]
        sides = [(F.unfold(part, size, 1, kind["padding"], kind.get("stride", 1))[0].T, d[0, i * (d.shape[1] // groups):(i + 1) * (d.shape[1] // groups)].flatten(1).T)
                 for i, part in enumerate(x.chunk(groups, 1))]
    return [(torch.cat([a, a.new_ones(len(a), 1)], 1) if bias else a, g) for a, g in sides]


def gradients(x, loss):
    """Class, and per weight a list (uses) of lists (groups) of (a, d)."""
    w = {k: torch.tensor(v, dtype=torch.float64) for k, v in W.items()}
    for v in w.values():
        v.requires_grad_(True)
    seen = []
    z = forward(w, x[None], seen)
    z[0].backward(logit_gradient(z[0], loss))
    taps = {}
    for name, a, y in seen:
        taps.setdefault(name, []).append(positions(name, a, y.grad))
    for name, bias, kind in LAYERS:        # the taps are right: they add up to autograd's weight gradient
        full = sum(torch.cat([d.T @ a for a, d in use]) for use in taps[name])
        got = full[:, :-1] if bias else full
        want = w[name].grad.T if kind == "matmul" else w[name].grad.flatten(1)
        assert torch.allclose(got, want, atol=1e-12)
    return int(z.argmax()), taps


def side(m, k):
    value, vector = torch.linalg.eigh(m)
    value = value.clamp(min=0)
    k = min(k, len(value))
    assert k == len(value) or value[-k] > 1.02 * value[-k - 1], "the eigenvalues at the cut are too close to tell apart"
    return (vector * (value + DAMPING * value.mean()) ** -BETA)[:, -k:]


def projections(taps):
    out = {}
    for name, _, _ in LAYERS:
        A = sum(a.T @ a for t in taps for use in t[name] for a, _ in use) / len(taps)
        whole = [torch.cat([d for _, d in use], 1) for t in taps for use in t[name]]
        G = sum(d.T @ d for d in whole) / len(taps)
        out[name] = side(A, K_IN), side(G, K_OUT)
    return out


def unit(v):
    n = v.norm()
    return v / n if n > 0 else v


def signature(taps, projection, blocks):
    rows = []
    for name, _, _ in LAYERS:
        p_in, p_out = projection[name]
        full = sum(torch.cat([d.T @ a for a, d in use]) for use in taps[name])     # [out, in]
        rows.append((p_in.T @ full.T @ p_out).flatten())
    plain, layer = unit(torch.cat(rows)), unit(torch.cat([unit(r) for r in rows]))
    return {"plain": plain, "layer-unit": layer, "both": torch.cat([plain, layer]) / 2 ** 0.5}[blocks]


def scores(s, r, classes):
    c = r @ s
    stacked = np.vstack([r.numpy().T, RIDGE ** 0.5 * np.eye(len(r))])
    w = torch.tensor(nnls(stacked, np.concatenate([s.numpy(), np.zeros(len(r))]))[0])
    v = torch.linalg.solve(r @ r.T + RIDGE * torch.eye(len(r), dtype=r.dtype), c)
    by_class = max(c[classes == k].mean() for k in classes.unique())
    return [((s - w @ r) ** 2).sum(), ((s - v @ r) ** 2).sum(), -c.topk(TOPK).values.mean(), -by_class, -c.mean()]


def model():
    def conv(name, bias, x, y, **how):
        return h.make_node("Conv", [x, name] + ([bias] if bias else []), [y], name="layer_" + y, kernel_shape=list(W[name].shape[2:]), **how)

    nodes = [conv("w1", "b1", "x", "c1", pads=[1, 1, 1, 1]), h.make_node("Relu", ["c1"], ["r1"]),
             conv("w2", "b2", "r1", "c2", pads=[1, 1, 1, 1], group=6), h.make_node("Tanh", ["c2"], ["r2"]),
             conv("w3", None, "r2", "c3", strides=[2, 2], group=2), h.make_node("Relu", ["c3"], ["r3"]), h.make_node("Flatten", ["r3"], ["f"]),
             h.make_node("MatMul", ["f", "w4"], ["m4"], name="layer_m4"), h.make_node("Add", ["m4", "b4"], ["a4"]), h.make_node("Tanh", ["a4"], ["r4"]),
             h.make_node("MatMul", ["r4", "w5"], ["m5"], name="layer_m5"), h.make_node("Tanh", ["m5"], ["r5"]),
             h.make_node("MatMul", ["r5", "w5"], ["m6"], name="layer_m6"), h.make_node("Tanh", ["m6"], ["r6"]),
             h.make_node("Gemm", ["r6", "w6", "b6"], ["z"], name="layer_z", transB=1), h.make_node("Softmax", ["z"], ["p"], axis=1)]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *SHAPE])],
                         [h.make_tensor_value_info("p", onnx.TensorProto.FLOAT, ["n", CLASSES])], [numpy_helper.from_array(v, k) for k, v in W.items()])
    m = h.make_model(graph, producer_name="make_oracle_sketch.py", opset_imports=[h.make_opsetid("", 13)])
    m.ir_version = 8
    onnx.checker.check_model(m)
    return m


def main():
    total = REFERENCES + CALIBRATION + INPUTS
    small = random.randint(-100, 101, (total, *SHAPE)).astype(np.int8)             # elements are these over 32
    onnx.save(model(), os.path.join(HERE, "oracle_sketch.onnx"))
    with open(os.path.join(HERE, "oracle_sketch.h"), "w") as out:
        print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by tests/data/make_oracle_sketch.py. */", file=out)
        for name in ("REFERENCES", "CALIBRATION", "INPUTS", "K_IN", "K_OUT", "TOPK"):
            print(f"#define SKETCH_{name} {globals()[name]}", file=out)
        print(f"#define SKETCH_CASES {len(CASES)}", file=out)
        print(f"#define SKETCH_PIXELS {int(np.prod(SHAPE))}\n", file=out)
        print("/* References, calibration inputs, inputs; elements are these over 32. */\nstatic const signed char sketch_pixels[] = {", file=out)
        for v in small.reshape(total, -1):
            print("    " + ",".join(map(str, v)) + ",", file=out)
        print("};\n", file=out)
        print(f"/* [case: {', '.join(' '.join(c) for c in CASES)}][input][cone, span, topk, class, mean] */", file=out)
        print("static const double sketch_scores[SKETCH_CASES][SKETCH_INPUTS][5] = {", file=out)
        for blocks, loss in CASES:
            taken = [gradients(torch.tensor(v, dtype=torch.float64) / 32, loss) for v in small]
            refs, inputs = taken[:REFERENCES], taken[REFERENCES + CALIBRATION:]
            projection = projections([t for _, t in refs])
            classes = torch.tensor([c for c, _ in refs])
            r = torch.stack([signature(t, projection, blocks) for _, t in refs])
            rows = [scores(signature(t, projection, blocks), r, classes) for _, t in inputs]
            print("    {\n" + "".join("        {" + ", ".join(f"{float(v):.12g}" for v in row) + "},\n" for row in rows) + "    },", file=out)
        print("};\n\nstatic const int sketch_classes[SKETCH_INPUTS] = {" + ", ".join(str(c) for c, _ in inputs) + "};", file=out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
