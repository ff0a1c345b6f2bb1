# SPDX-License-Identifier: Apache-2.0
"""Writes oracle_sampler.h: where chains arrive after 50 steps as PyTorch computes it, and diagnostics of loss traces as NumPy does, in double precision.

    /usr/bin/python3 tests/data/make_oracle_sampler.py > tests/data/oracle_sampler.h

The updates and the diagnostics are written down here a second time and as plainly as possible. Needs python3-torch, python3-numpy.
"""
import numpy as np
import torch

import counter_random as random

SEED, CHAIN, STEPS, INPUTS, FEATURES, CLASSES, MINIBATCH = 2 ** 40 + 5, 3, 50, 37, 130, 4, 8
WEIGHTS = CLASSES * (FEATURES + 1)
SETUP = {"rmsprop_sgld": dict(step_size=2e-4, gamma=300, nbeta=400, noise=0.7, decay=0.95, epsilon=0.1),
         "sgld": dict(step_size=1e-3, gamma=300, nbeta=100, noise=1.3, decay=0, epsilon=0)}


def trajectory(kind, step_size, gamma, nbeta, noise, decay, epsilon):
    """[WEIGHTS] after STEPS steps of softmax regression: rows of FEATURES weights, then the biases."""
    x = torch.tensor(random.normal(1, 0, INPUTS * FEATURES)).reshape(INPUTS, FEATURES)
    y = torch.arange(INPUTS) % CLASSES
    trained = 0.1 * torch.tensor(random.normal(1, 1, WEIGHTS))
    w, v = trained.clone(), torch.zeros(WEIGHTS, dtype=torch.float64)
    for t in range(STEPS):
        j = random.minibatch(SEED, CHAIN, t, INPUTS, MINIBATCH)
        q = w.clone().requires_grad_()
        z = x[j] @ q[:CLASSES * FEATURES].reshape(CLASSES, FEATURES).T + q[CLASSES * FEATURES:]
        g, = torch.autograd.grad(torch.nn.functional.cross_entropy(z, y[j]), q)
        v = decay * v + (1 - decay) * g ** 2
        pre = 1 / (v.sqrt() + epsilon) if kind == "rmsprop_sgld" else torch.ones_like(v)
        w = w - step_size / 2 * pre * (nbeta * g + gamma * (w - trained))
        w = w + (step_size * pre).sqrt() * noise * torch.tensor(random.noise(SEED, CHAIN, t, WEIGHTS))
    return w


def traces(rng):
    """[8, 165] in chains of 96 and 69 draws: independent, sticky, alternating, drifting, apart, still, saturated."""
    def ar(a, n):
        e, x = rng.randn(n + 50), np.zeros(n + 50)
        for t in range(1, n + 50):
            x[t] = a * x[t - 1] + e[t]
        return x[50:]
    rows = [np.r_[ar(a, 96), ar(a, 69)] for a in (0, 0.5, 0.9, -0.4)]
    rows.append(np.r_[np.arange(96), np.arange(69)] / 30 + rng.randn(165))
    rows.append(np.r_[np.zeros(96), np.full(69, 2.0)] + 0.3 * rng.randn(165))
    rows.append(np.full(165, 0.25))
    rows.append(1e-20 * (2 + ar(0.3, 165)))
    rows = np.array(rows)
    rows[:6] += 0.5 * rng.randn(165) + 3        # what all have in common
    return rows.astype(np.float32)


def ess(x):
    x = x - x.mean()
    n, c0 = len(x), (x * x).sum()
    if c0 == 0:
        return 0
    rho = [(x[:n - k] * x[k:]).sum() / c0 for k in range(n)]
    pairs = [rho[2 * k] + rho[2 * k + 1] for k in range(n // 2)]
    positive = next((k for k, p in enumerate(pairs) if p <= 0), len(pairs))
    return min(n, n / max(-1 + 2 * np.minimum.accumulate(pairs[:positive]).sum(), 1))


def split_rhat(chains):
    halves = [h for x in chains for h in (x[:len(x) // 2], x[len(x) - len(x) // 2:])]
    n, w, b = np.mean([len(h) for h in halves]), np.mean([h.var(ddof=1) for h in halves]), np.var([h.mean() for h in halves], ddof=1)
    return np.sqrt((n - 1) / n + b / w) if w > 0 else 1


def drift(x):
    q = len(x) // 4
    return abs(x[-q:].mean() - x[:q].mean()) / x.std() if x.std() > 0 else 0


def diagnosis(t, offset):
    rows = [[row[a:b].astype(np.float64) for a, b in zip(offset, offset[1:])] for row in t]
    e, r = [sum(map(ess, row)) for row in rows], [split_rhat(row) for row in rows]
    d = np.median([[drift(x) for x in row] for row in rows], 0).max()
    c = np.corrcoef([np.concatenate([x - x.mean() for x in row]) for row in rows if np.ptp(row[0])])
    off = c[np.tril_indices(len(c), -1)]
    return e, r, [np.median(e), min(e), np.median(r), max(r), d, off.std() * np.sqrt(np.median(e))]


def emit(kind, name, values):
    values = np.asarray(values)
    show = (lambda v: "%d" % v) if kind == "int64_t" else (lambda v: "%.9g" % v) if kind == "float" else (lambda v: "%.12g" % v)
    print("static const %s %s[%d] = {" % (kind, name, values.size))
    flat = [show(v) for v in values.ravel()]
    for i in range(0, len(flat), 12):
        print("    " + ", ".join(flat[i:i + 12]) + ",")
    print("};\n")


print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by make_oracle_sampler.py; do not edit. */\n#include <stdint.h>\n")
for name in ("SEED", "CHAIN", "STEPS", "INPUTS", "FEATURES", "CLASSES", "MINIBATCH", "WEIGHTS"):
    print("#define ORACLE_%s %d" % (name, globals()[name]))
print("\n/* step_size, gamma, nbeta, noise, decay, epsilon */")
for kind, setup in SETUP.items():
    emit("double", "oracle_setup_" + kind, list(setup.values()))
    emit("float", "oracle_weights_" + kind, trajectory(kind, **setup))
t, offset = traces(np.random.RandomState(8)), [0, 96, 165]
e, r, d = diagnosis(t, offset)
print("#define ORACLE_REFERENCES %d\n#define ORACLE_DRAWS %d\n" % t.shape)
emit("int64_t", "oracle_offset", offset)
emit("float", "oracle_trace", t)
print("/* effective sample sizes and split R-hat by reference */")
emit("double", "oracle_ess", e)
emit("double", "oracle_rhat", r)
print("/* ess, ess_min, split_rhat, split_rhat_max, drift, signal */")
emit("double", "oracle_diagnosis", d)
