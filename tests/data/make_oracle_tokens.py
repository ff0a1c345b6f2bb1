#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes oracle_tokens_{tied,untied}.onnx and oracle_tokens.h: two tiny decoders and, for some sequences with a marked response, what PyTorch and SciPy make of them in double precision.

    /usr/bin/python3 tests/data/make_oracle_tokens.py

From tokens to scores by another road than the library's: autograd's whole weight gradients, second moments as dense matrices, signatures written out in full; a second time token by token
of the response; and the decoders' own greedy continuations. Needs python3-torch, python3-scipy, python3-onnx.
"""
import math
import os

import numpy as np
import onnx
import torch
import torch.nn as nn
from scipy.optimize import nnls

from counter_random import normal

REFERENCES, CALIBRATION, INPUTS, DETAILED, PROMPTS, NEW = 20, 10, 8, 3, 4, 5
VOCABULARY, LENGTH, WIDTH, HEADS = 13, 12, 8, 2
K_IN, K_OUT, BETA, DAMPING, RIDGE, TOPK, SEED = 6, 5, 0.25, 0.1, 0.5, 3, 7
HERE = os.path.dirname(os.path.abspath(__file__))


class Decoder(nn.Module):
    """One block of a GPT with learned places, sequences of any length up to LENGTH; the output layer may have the embedding's table for weights."""

    def __init__(self, tied):
        super().__init__()
        self.word, self.place = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        for p in self.parameters():
            p.data = torch.randn(p.shape) * (0.5 if p.dim() > 1 else 0.2) + (1 if p.dim() == 1 and p.shape[0] == WIDTH else 0)
        if tied:
            self.head.weight = self.word.weight

    def forward(self, x):
        n, t = x.shape
        h = self.word(x) + self.place(torch.arange(t))
        q, k, v = (a.view(n, t, HEADS, -1).transpose(1, 2) for a in self.attention(self.norm1(h)).split(WIDTH, 2))
        s = q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + h.new_full((t, t), -1e4).triu(1)
        h = h + self.project((s.softmax(3) @ v).transpose(1, 2).reshape(n, t, WIDTH))
        h = h + self.down(nn.functional.gelu(self.up(self.norm2(h))))
        return self.head(self.norm3(h))


LAYERS = ["attention", "project", "up", "down", "head"]


def taps(model, x, mask):
    """{layer: (a [p, in], d [p, out])} of one sequence, the gradient at its logits at unit length; the embedding as "word"; and the tokens' losses."""
    seen, hooks = {}, []

    def keep(name, a, y):
        y.retain_grad()
        seen[name] = a[0].detach(), y

    for name in LAYERS + ["word"]:
        hooks.append(getattr(model, name).register_forward_hook(lambda m, a, y, name=name: keep(name, a[0], y)))
    z = model(x[None])[0]
    for h in hooks:
        h.remove()
    loss = -z[:-1].log_softmax(1)[torch.arange(len(x) - 1), x[1:]]
    own = z[:-1][torch.arange(len(x) - 1), x[1:]]
    margin = (z[:-1].sum(1) - own) / (VOCABULARY - 1) - own
    g, = torch.autograd.grad((margin * mask[1:]).sum(), z, retain_graph=True)
    model.zero_grad()
    z.backward(g / g.norm())
    out = {}
    for name, (a, y) in seen.items():
        a = nn.functional.one_hot(a, VOCABULARY).double() if name == "word" else a
        if getattr(getattr(model, name), "bias", None) is not None:
            a = torch.cat([a, torch.ones(len(a), 1)], 1)
        out[name] = a, y.grad[0]
    return out, loss.detach()


def uses(model, tap, tied):
    """{block: [(a, d), ...]}: of a tied table the output layer's, and the embedding's with its sides exchanged."""
    blocks = {name: [tap[name]] for name in LAYERS}
    a, d = tap["word"]
    if tied:
        blocks["head"].append((d, a))
    else:
        blocks["word"] = [(a, d)]
    whole = {name: sum(d.T @ a for a, d in use) for name, use in blocks.items()}
    for name, full in whole.items():            # the taps are right: they add up to autograd's weight gradient
        want = getattr(model, name).weight.grad.T if name == "word" else getattr(model, name).weight.grad
        assert torch.allclose(full[:, :want.shape[1]], want, atol=1e-12)
    return blocks


def side(m, k):
    value, vector = torch.linalg.eigh(m)
    value = value.clamp(min=0)
    k = min(k, len(value))
    assert k == len(value) or value[-k] > 1.02 * value[-k - 1], "the eigenvalues at the cut are too close to tell apart"
    return (vector * (value + DAMPING * value.mean()) ** -BETA)[:, -k:]


def counted(side, name, other):
    """A position without gradient, as behind the response, does not count: of a tied embedding the gradient is on the other side."""
    return side[(side != 0).any(1) & (other != 0).any(1)]


def projections(references):
    out = {}
    for name in references[0]:
        A = sum(counted(a, name, d).T @ counted(a, name, d) for r in references for a, d in r[name]) / len(references)
        G = sum(counted(d, name, a).T @ counted(d, name, a) for r in references for a, d in r[name]) / len(references)
        p_in = side(A, K_IN)
        if name == "word":                      # one-hot: a seeded random projection; the layer behind all others
            p_in = torch.tensor(normal(SEED, 2 * len(LAYERS), VOCABULARY * K_IN).reshape(VOCABULARY, K_IN)) / math.sqrt(K_IN)
        out[name] = p_in, side(G, K_OUT)
    return out


def unit(v):
    return v / v.norm()


def signature(blocks, projection):
    rows = [(p_in.T @ sum(a.T @ d for a, d in blocks[name]) @ p_out).flatten() for name, (p_in, p_out) in projection.items()]
    return torch.cat([unit(torch.cat(rows)), unit(torch.cat([unit(r) for r in rows]))]) / 2 ** 0.5


def scores(s, r):
    c = r @ s
    stacked = np.vstack([r.numpy().T, RIDGE ** 0.5 * np.eye(len(r))])
    w = torch.tensor(nnls(stacked, np.concatenate([s.numpy(), np.zeros(len(r))]))[0])
    v = torch.linalg.solve(r @ r.T + RIDGE * torch.eye(len(r), dtype=r.dtype), c)
    return [((s - w @ r) ** 2).sum(), ((s - v @ r) ** 2).sum(), -c.topk(TOPK).values.mean(), -c.mean(), -c.mean()]


def sequences(random):
    """Tokens, right-padded with 0, and a mask of one run of tokens, not the first and not the padding."""
    total = REFERENCES + CALIBRATION + INPUTS
    x, mask = np.zeros((total, LENGTH), np.int64), np.zeros((total, LENGTH), np.int64)
    for i in range(total):
        length = random.randint(4, LENGTH + 1)
        begin = random.randint(1, length - 1)
        x[i, :length] = random.randint(0, VOCABULARY, length)
        mask[i, begin:length] = 1
    return x, mask


def greedy(model, prompt):
    x = list(prompt)
    for _ in range(NEW):
        x.append(int(model(torch.tensor([x]))[0, -1].argmax()))
    return x[len(prompt):]


def numbers(name, kind, values):
    values = np.asarray(values)
    shape = "".join("[%d]" % n for n in values.shape)
    text = ["%d" % v if kind == "int" else "%.10g" % v for v in values.ravel()]
    width = values.shape[-1] if kind == "int" else 12
    print("static const %s %s[] = { /* %s */" % (kind, name, shape), *("    " + ", ".join(text[i:i + width]) + "," for i in range(0, len(text), width)), "};\n", sep="\n", file=out)


def save(model, tied):
    path = os.path.join(HERE, "oracle_tokens_%s.onnx" % ("tied" if tied else "untied"))
    model.eval().float()
    torch.onnx.export(model, torch.zeros(2, 5, dtype=torch.int64), path, opset_version=14, input_names=["ids"], output_names=["logits"],
                      dynamic_axes={"ids": {0: "batch", 1: "sequence"}, "logits": {0: "batch", 1: "sequence"}})
    m = onnx.load(path)
    onnx.checker.check_model(m)
    for node in m.graph.node:
        node.doc_string = ""
    onnx.save(m, path)
    model.double()


def main(random):
    x, mask = sequences(random)
    prompts = np.zeros((PROMPTS, 4), np.int64)
    lengths = np.array([4, 1, 3, 2])
    for i, length in enumerate(lengths):
        prompts[i, :length] = random.randint(0, VOCABULARY, length)
    for name in ("REFERENCES", "CALIBRATION", "INPUTS", "DETAILED", "PROMPTS", "NEW", "VOCABULARY", "LENGTH", "K_IN", "K_OUT", "TOPK", "RIDGE", "SEED"):
        print(f"#define TOKENS_{name} {globals()[name]}", file=out)
    print("\n/* References, calibration sequences, inputs. */", file=out)
    numbers("tokens_x", "int", x)
    numbers("tokens_mask", "int", mask)
    numbers("tokens_prompt", "int", prompts)
    numbers("tokens_prompt_length", "int", lengths)
    gathered = {"scores": [], "losses": [], "token_couplings": [], "token_scores": [], "continuation": []}
    for tied in (True, False):
        torch.manual_seed(31 + tied)
        model = Decoder(tied)
        save(model, tied)
        blocks, losses = [], []
        for i in range(len(x)):
            # Padding comes behind everything that counts, where a causal decoder cannot see it.
            tap, loss = taps(model, torch.tensor(x[i]), torch.tensor(mask[i]))
            blocks.append(uses(model, tap, tied))
            losses.append((loss * torch.tensor(mask[i, 1:])).numpy())
        projection = projections(blocks[:REFERENCES])
        r = torch.stack([signature(b, projection) for b in blocks[:REFERENCES]])
        first = REFERENCES + CALIBRATION
        gathered["scores"].append([[float(v) for v in scores(signature(b, projection), r)] for b in blocks[first:]])
        gathered["losses"].append(losses[first:])
        couplings, alone = np.zeros((DETAILED, LENGTH, REFERENCES)), np.zeros((DETAILED, LENGTH))
        for i in range(DETAILED):
            for t in np.flatnonzero(mask[first + i]):
                one = torch.zeros(LENGTH)
                one[t] = 1
                s = signature(uses(model, taps(model, torch.tensor(x[first + i]), one)[0], tied), projection)
                couplings[i, t] = r @ s
                alone[i, t] = scores(s, r)[0]
        gathered["token_couplings"].append(couplings)
        gathered["token_scores"].append(alone)
        gathered["continuation"].append([greedy(model, p[:n]) for p, n in zip(prompts, lengths)])
    print("/* Each of the following for the tied decoder, then the untied one. */", file=out)
    print("/* cone, span, topk, class, mean */", file=out)
    numbers("tokens_scores", "double", gathered["scores"])
    print("/* Nats of tokens 1 ... of each input, 0 where the mask is. */", file=out)
    numbers("tokens_losses", "double", gathered["losses"])
    print("/* Of each token of the first inputs' responses alone, zeros elsewhere. */", file=out)
    numbers("tokens_couplings", "double", gathered["token_couplings"])
    numbers("tokens_token_scores", "double", gathered["token_scores"])
    numbers("tokens_continuation", "int", gathered["continuation"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    with open(os.path.join(HERE, "oracle_tokens.h"), "w") as out:
        print("/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by tests/data/make_oracle_tokens.py. */", file=out)
        main(np.random.RandomState(5))
