"""Writes oracle_scores.h: signatures, couplings and scores as PyTorch and SciPy compute them in double precision.

    /usr/bin/python3 tests/data/make_oracle_scores.py > tests/data/oracle_scores.h

The definitions are those of docs/method.md, written down here a second time and as plainly as possible: full signatures, no Gram matrix,
SciPy's NNLS on the stacked system. Needs python3-torch, python3-scipy, python3-sklearn.
"""
import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

LAYERS = [13, 16, 40, 9, 64]
REFERENCES, INPUTS, CLASSES, RIDGE, TOPK = 36, 14, 4, 0.1, 5
generator = torch.Generator().manual_seed(20)


def normal(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def raw():
    """Blocks of references and inputs: class means plus noise, layers of very different size, and the awkward cases."""
    scale = torch.cat([torch.full((n,), 10.0 ** -i, dtype=torch.float64) for i, n in enumerate(LAYERS)])
    mean = normal(CLASSES, sum(LAYERS))
    kind = torch.arange(REFERENCES) % CLASSES
    r = (mean[kind] + 0.8 * normal(REFERENCES, sum(LAYERS))) * scale
    r[7] = r[3]                                   # a duplicate
    r[11] *= 1e-9
    r[20] = 0                                     # a reference without signal
    r[30, LAYERS[0]:LAYERS[0] + LAYERS[1]] = 0    # one without a block
    x = (mean[torch.arange(INPUTS) % CLASSES] + 0.8 * normal(INPUTS, sum(LAYERS))) * scale
    x[4] = normal(sum(LAYERS)) * scale            # nothing that the references know
    x[5] = -r.sum(0)                              # couples negatively
    x[6] = r[15] * 3                              # a reference itself
    x[7] = 0                                      # no signal
    x[8, :LAYERS[0]] = 0                          # no block in the largest layer
    x[9] = x[0] * 1e-12                           # the first one, scaled down
    return r.float(), x.float(), kind


def unit(v):
    n = v.norm(dim=1, keepdim=True)
    return torch.where(n > 0, v / n.clamp(min=1e-300), torch.zeros_like(v))


def signature(v, blocks):
    v = v.double()
    per_layer = torch.cat([unit(b) for b in v.split(LAYERS, 1)], 1)
    if blocks == "plain":
        return unit(v)
    if blocks == "layer_unit":
        return unit(per_layer)
    return unit(torch.cat([unit(v), unit(per_layer)], 1))


def energy(s, r, w):
    e = ((s - w @ r) ** 2).sum(1)
    return torch.where(s.norm(dim=1) > 0, e, torch.ones_like(e))


def scores(s, r, kind):
    c = s @ r.T
    stacked = np.vstack([r.numpy().T, RIDGE ** 0.5 * np.eye(len(r))])
    cone = torch.tensor(np.stack([nnls(stacked, np.concatenate([v, np.zeros(len(r))]))[0] for v in s.numpy()]))
    span = torch.linalg.solve(r @ r.T + RIDGE * torch.eye(len(r), dtype=r.dtype), r @ s.T).T
    of_class = torch.stack([c[:, kind == k].mean(1) for k in kind.unique()], 1)
    return c, cone, span, torch.stack([energy(s, r, cone), energy(s, r, span), -c.topk(TOPK, 1).values.mean(1), -of_class.max(1).values, -c.mean(1)], 1)


def audit(r, kind):
    """Every score of each reference against the others."""
    rows = []
    for j in range(len(r)):
        rest = torch.arange(len(r)) != j
        rows.append(scores(r[j:j + 1], r[rest], kind[rest])[3])
    return torch.cat(rows)


def emit(kind, name, values):
    values = np.asarray(values)
    show = (lambda v: "%d" % v) if kind == "int64_t" else (lambda v: "%.9g" % v) if kind == "float" else (lambda v: "%.12g" % v)
    print("static const %s %s%s = {" % (kind, name, "".join("[%d]" % n for n in (values.size,))))
    flat = [show(v) for v in values.ravel()]
    for i in range(0, len(flat), 12):
        print("    " + ", ".join(flat[i:i + 12]) + ",")
    print("};\n")


r, x, kind = raw()
print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by make_oracle_scores.py; do not edit. */\n#include <stdint.h>\n")
print("#define ORACLE_LAYERS %d\n#define ORACLE_REFERENCES %d\n#define ORACLE_INPUTS %d\n#define ORACLE_TOPK %d\n#define ORACLE_RIDGE %g\n" %
      (len(LAYERS), REFERENCES, INPUTS, TOPK, RIDGE))
emit("int64_t", "oracle_offset", np.cumsum([0] + LAYERS))
emit("int64_t", "oracle_class", kind)
emit("float", "oracle_reference", r)
emit("float", "oracle_input", x)
for blocks in ("both", "plain", "layer_unit"):
    s, q = signature(x, blocks), signature(r, blocks)
    c, cone, span, all_scores = scores(s, q, kind)
    emit("float", "oracle_coupling_" + blocks, c)
    emit("float", "oracle_cone_" + blocks, cone)
    emit("float", "oracle_span_" + blocks, span)
    emit("double", "oracle_score_" + blocks, all_scores)
    emit("double", "oracle_audit_" + blocks, audit(q, kind))
    if blocks == "both":
        emit("float", "oracle_residual_both", (s - cone @ q)[:4])

rng = np.random.RandomState(3)
clean, anomalous = np.round(rng.randn(60), 1), np.round(rng.randn(40) + 1.2, 1)     # rounded: ties
label, value = np.r_[np.zeros(60), np.ones(40)], np.r_[clean, anomalous]
fpr, tpr, threshold = roc_curve(label, value, drop_intermediate=False)
acc, asr = 0.9, 0.95
der = (asr * tpr - acc * fpr + 1) / 2
emit("double", "oracle_clean", clean)
emit("double", "oracle_anomalous", anomalous)
print("/* auroc, aupr, aupr_clean, fpr95, der_best, best_threshold at acc %g, asr %g */" % (acc, asr))
emit("double", "oracle_metrics", [roc_auc_score(label, value), average_precision_score(label, value), average_precision_score(1 - label, -value),
                                  fpr[np.argmax(tpr >= 0.95)], der.max(), threshold[der.argmax()]])
