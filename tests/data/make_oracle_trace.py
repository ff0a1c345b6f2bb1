#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes oracle_trace.onnx and oracle_trace.h: a small network with BatchNormalization and, for some samplers, where its chains arrive after 50 steps, the losses
at their draws and the scores that follow, as PyTorch and SciPy compute them in double precision.

    /usr/bin/python3 tests/data/make_oracle_trace.py

Noise and minibatches are the library's (counter_random.py); network, BatchNormalization, gradients, updates, losses, couplings and scores are PyTorch's or written down
here a second time. Needs python3-torch, python3-scipy, python3-onnx.
"""
import os
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper as h
from onnx import numpy_helper
from scipy.optimize import nnls

sys.dont_write_bytecode = True
import counter_random as random  # noqa: E402

REFERENCES, CALIBRATION, INPUTS, CLASSES, STEPS, MINIBATCH, SEED, RIDGE, TOPK = 10, 5, 5, 3, 50, 6, 2 ** 33 + 7, 0.2, 3
SHAPE, EPSILON, MOMENTUM = (2, 6, 6), 1e-5, 0.9
HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.RandomState(1)


def array(*shape, scale, around=0):
    return (around + scale * rng.randn(*shape)).astype(np.float32)


# The order is that of first use: the order of the flat vector of weights.
W = {"w1": array(4, 2, 3, 3, scale=0.4), "scale1": array(4, scale=0.2, around=1), "shift1": array(4, scale=0.2), "w2": array(5, 4, 3, 3, scale=0.3), "b2": array(5, scale=0.1),
     "scale2": array(5, scale=0.2, around=1), "shift2": array(5, scale=0.2), "w3": array(CLASSES, 45, scale=0.25), "b3": array(CLASSES, scale=0.1)}
S = {"mean1": array(4, scale=0.1), "variance1": np.exp(array(4, scale=0.2)), "mean2": array(5, scale=0.1), "variance2": np.exp(array(5, scale=0.2))}
PIXELS = rng.randint(-60, 61, (REFERENCES + CALIBRATION + INPUTS, *SHAPE)).astype(np.int8)      # elements are these over 32
LABELS = np.array([0, 1, 2, -1] * REFERENCES)[:REFERENCES]                                   # -1: the class that the network says

# sampler, BatchNormalization, chains, first chain, partial, burn-in, draws, thinning, step size, gamma, nbeta, noise, decay, epsilon
SETUPS = [("rmsprop_sgld", "frozen", 1, 0, False, 26, 24, 1, 4e-4, 300, 60, 1.0, 0.95, 0.1),
          ("rmsprop_sgld", "reestimate", 2, 5, False, 26, 24, 1, 4e-4, 300, 60, 0.8, 0.95, 0.1),
          ("sgld", "frozen", 2, 1, True, 26, 24, 1, 1e-3, 300, 60, 1.2, 0.99, 0.1),
          ("sgld", "reestimate", 1, 9, False, 27, 12, 2, 1e-3, 300, 60, 1.0, 0.99, 0.1),
          ("gaussian", "frozen", 2, 3, False, 0, 24, 1, 0, 400, 0, 0, 0, 0)]
SAMPLERS = {"gaussian": 0, "rmsprop_sgld": 1, "sgld": 2}


def flat(named):
    return torch.cat([torch.tensor(v, dtype=torch.float64).flatten() for v in named.values()])


def split(vector, like):
    out, at = {}, 0
    for name, v in like.items():
        out[name] = vector[at:at + v.size].reshape(v.shape)
        at += v.size
    return out


def forward(w, s, x, training=False):
    """Logits. Training moves the tensors of `s`, as PyTorch's BatchNorm2d does."""
    x = F.conv2d(x, w["w1"], padding=1)
    x = torch.relu(F.batch_norm(x, s["mean1"], s["variance1"], w["scale1"], w["shift1"], training, 1 - MOMENTUM, EPSILON))
    x = F.conv2d(x, w["w2"], w["b2"], stride=2, padding=1)
    x = torch.relu(F.batch_norm(x, s["mean2"], s["variance2"], w["scale2"], w["shift2"], training, 1 - MOMENTUM, EPSILON))
    return x.flatten(1) @ w["w3"].T + w["b3"]


def losses(weights, statistics, x, y):
    with torch.no_grad():
        return F.cross_entropy(forward(split(weights, W), statistics, x), y, reduction="none")


def chain(setup, number, x, target, observe):
    """Weights after the last step; observe(weights, statistics) at the kept draws."""
    sampler, policy, _, first, _, burn_in, draws, thinning, size, gamma, nbeta, noise, decay, epsilon = setup
    trained, statistics = flat(W), {k: torch.tensor(v, dtype=torch.float64) for k, v in S.items()}
    w, v = trained.clone(), torch.zeros_like(trained)
    if sampler == "gaussian":
        for t in range(draws):
            w = trained + torch.tensor(random.normal(random.sampler_key(SEED, first + number, random.REPLAY), t, len(trained))) / gamma ** 0.5
            observe(w, statistics)
        return w
    for t in range(STEPS):
        j = random.minibatch(SEED, first + number, t, REFERENCES, MINIBATCH)
        q = w.clone().requires_grad_()
        g, = torch.autograd.grad(F.cross_entropy(forward(split(q, W), statistics, x[j], policy == "reestimate"), target[j]), q)
        v = decay * v + (1 - decay) * g ** 2
        pre = 1 / (v.sqrt() + epsilon) if sampler == "rmsprop_sgld" else torch.ones_like(v)
        w = w - size / 2 * pre * (nbeta * g + gamma * (w - trained))
        w = w + (size * pre).sqrt() * noise * torch.tensor(random.noise(SEED, first + number, t, len(w)))
        if t >= burn_in and (t - burn_in) % thinning == 0:
            observe(w, statistics)
    return w


def unit(rows):
    n = rows.norm(dim=-1, keepdim=True)
    return torch.where(n > 0, rows / n, rows)


def class_mean(c, classes):
    return max(c[classes == k].mean() for k in classes.unique())


def scores(trace, references, classes, partial):
    """Of one input: `trace` and `references` are lists, one entry per chain, of [draws] and [REFERENCES, draws]."""
    s = torch.cat([t - t.mean() for t in trace])
    r = torch.cat([t - t.mean(1, keepdim=True) for t in references], 1)
    if partial:
        common = unit(r.mean(0))
        s, r = s - (s @ common) * common, r - torch.outer(r @ common, common)
    s, r = unit(s), unit(r)
    c = r @ s
    stacked = np.vstack([r.numpy().T, RIDGE ** 0.5 * np.eye(len(r))])
    w = torch.tensor(nnls(stacked, np.concatenate([s.numpy(), np.zeros(len(r))]))[0])
    v = torch.linalg.solve(r @ r.T + RIDGE * torch.eye(len(r), dtype=r.dtype), c)
    out = [((s - w @ r) ** 2).sum(), ((s - v @ r) ** 2).sum(), -c.topk(TOPK).values.mean(), -class_mean(c, classes), -c.mean()]
    if partial:
        return out + [float("nan")] * 2
    lin = sum(2 * ((t - t.mean()) * (q - q.mean(1, keepdim=True))).mean(1) /
              (t.var(unbiased=False) + q.var(1, unbiased=False) + (t.mean() - q.mean(1)) ** 2 + 1e-8) for t, q in zip(trace, references)) / len(trace)
    return out + [-lin.mean(), -class_mean(lin, classes)]


def model():
    def norm(x, k, y):
        return h.make_node("BatchNormalization", [x, "scale%d" % k, "shift%d" % k, "mean%d" % k, "variance%d" % k], [y], name="norm%d" % k, epsilon=EPSILON, momentum=MOMENTUM)

    nodes = [h.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", kernel_shape=[3, 3], pads=[1, 1, 1, 1]), norm("c1", 1, "n1"), h.make_node("Relu", ["n1"], ["r1"]),
             h.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), norm("c2", 2, "n2"),
             h.make_node("Relu", ["n2"], ["r2"]), h.make_node("Flatten", ["r2"], ["f"]), h.make_node("Gemm", ["f", "w3", "b3"], ["z"], name="head", transB=1)]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", *SHAPE])],
                         [h.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", CLASSES])], [numpy_helper.from_array(v, k) for k, v in {**W, **S}.items()])
    m = h.make_model(graph, producer_name="make_oracle_trace.py", opset_imports=[h.make_opsetid("", 13)])
    m.ir_version = 8
    onnx.checker.check_model(m)
    return m


def emit(out, kind, name, values):
    values = np.asarray(values)
    show = {"int": "%d", "float": "%.8g", "double": "%.10g"}[kind]
    numbers = ["NAN" if v != v else show % v for v in values.ravel()]
    print("static const %s %s[%d] = {" % ("signed char" if name == "trace_pixels" else kind, name, values.size), file=out)
    for i in range(0, len(numbers), 16):
        print("    " + ", ".join(numbers[i:i + 16]) + ",", file=out)
    print("};\n", file=out)


def main():
    torch.set_num_threads(1)
    x = torch.tensor(PIXELS, dtype=torch.float64) / 32
    trained = {k: torch.tensor(v, dtype=torch.float64) for k, v in S.items()}
    with torch.no_grad():
        logits = forward(split(flat(W), W), trained, x)
    predicted = logits.argmax(1)
    assert len(predicted[:REFERENCES].unique()) == CLASSES and (logits.topk(2).values.diff().abs() > 0.02).all()
    target = torch.where(torch.tensor(LABELS) < 0, predicted[:REFERENCES], torch.tensor(LABELS))
    moves, traces, table = [], [], []
    for setup in SETUPS:
        chains = []
        for k in range(setup[2]):
            taken = []
            w = chain(setup, k, x[:REFERENCES], target, lambda a, s: taken.append(losses(a, s, x, predicted)))
            if k == 0:
                moves.append(w - flat(W))
            chains.append(torch.stack(taken, 1))
        assert all(c.std(1).min() > 1e-3 for c in chains)
        traces.append(torch.cat(chains, 1).flatten())
        references = [c[:REFERENCES] for c in chains]
        table.append([scores([c[i] for c in chains], references, predicted[:REFERENCES], setup[4]) for i in range(REFERENCES, len(x))])
    onnx.save(model(), os.path.join(HERE, "oracle_trace.onnx"))
    with open(os.path.join(HERE, "oracle_trace.h"), "w") as out:
        print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by make_oracle_trace.py; do not edit. */\n#include <math.h>\n", file=out)
        for name in ("REFERENCES", "CALIBRATION", "INPUTS", "MINIBATCH", "TOPK"):
            print("#define TRACE_%s %d" % (name, globals()[name]), file=out)
        print("#define TRACE_SEED %dULL\n#define TRACE_RIDGE %g\n#define TRACE_PIXELS %d\n#define TRACE_WEIGHTS %d\n#define TRACE_SETUPS %d\n" %
              (SEED, RIDGE, np.prod(SHAPE), len(flat(W)), len(SETUPS)), file=out)
        print("/* References, calibration inputs, inputs; elements are these over 32. */", file=out)
        emit(out, "int", "trace_pixels", PIXELS)
        emit(out, "int", "trace_labels", LABELS)
        emit(out, "int", "trace_predicted", predicted)
        print("/* By setup: sampler, re-estimated statistics, chains, first chain, partial, burn-in, draws, thinning */", file=out)
        emit(out, "int", "trace_counts", [[SAMPLERS[s[0]], s[1] == "reestimate", *s[2:4], int(s[4]), *s[5:8]] for s in SETUPS])
        print("/* By setup: step size, gamma, nbeta, noise, decay, epsilon */", file=out)
        emit(out, "double", "trace_sizes", [s[8:] for s in SETUPS])
        print("/* By setup: how far its first chain's weights are from the trained ones at its last draw */", file=out)
        emit(out, "float", "trace_moves", torch.stack(moves))
        print("/* Setup after setup: losses of references, calibration inputs, inputs at the draws of all chains */", file=out)
        emit(out, "float", "trace_losses", torch.cat(traces))
        print("/* By setup, of calibration inputs and inputs: cone, span, topk, class, mean, mean_ccc, class_ccc */", file=out)
        emit(out, "double", "trace_scores", table)


if __name__ == "__main__":
    main()
