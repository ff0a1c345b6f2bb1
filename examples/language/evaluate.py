"""What the method and two baselines make of a model's inputs, in PyTorch, without the library:  python3 evaluate.py fixed.onnx [--loss margin]

Slow and plain, to check `fattr` against: signatures as docs/method.md defines them with the loss of the next token over the response, one norm per input.
Baselines: Mahalanobis distance of the residual stream from the references, after the embedding and after every layer, and perplexity.
"""
import argparse
import os

import numpy as np
import torch
import torch.nn as nn
from scipy.optimize import nnls
from sklearn.metrics import roc_auc_score

import mail
import network
import prompts

CHUNK = 50


def load_inputs(stem, parts=("references", "clean", "triggered"), other="mask"):
    files = {part: np.load(f"{stem}_{part}.npz") for part in parts}
    return {k: (torch.from_numpy(f["x"].astype(np.int64)), torch.from_numpy(f[other])) for k, f in files.items()}


def output_gradient(z, y, weight, loss):
    """[n, t, k] gradient of the responses' loss at the logits; one factor per input."""
    k = z.shape[-1]
    if loss == "margin":
        g = torch.full_like(z, 1 / (k - 1))
        g.scatter_(2, y[..., None], -1.0)
    elif loss == "cross-entropy":
        g = z.double().softmax(-1)
        rest = g.scatter(2, y[..., None], 0.0).sum(-1, keepdim=True)
        g = g.scatter(2, y[..., None], -rest).to(z.dtype)
    else:                                      # "unit": cross-entropy at unit length token by token, which the definition rules out
        g = z.scatter(2, y[..., None], -float("inf")).softmax(-1)
        g.scatter_(2, y[..., None], -1.0)
        g = g / g.norm(dim=-1, keepdim=True)
    g = g * weight[..., None]
    return g / g.flatten(1).norm(dim=1)[:, None, None]


def taps(model, x, mask, loss):
    """{layer: (a [n, p, in (+1)], d [n, p, out])}; the tied matrix counts as the output layer, [width] to [vocabulary], plus its use as an embedding."""
    seen, handles = {}, []

    def keep(name):
        def hook(_m, i, o):
            o.retain_grad()
            seen[name] = (i[0].detach(), o)
        return hook

    for name, m in model.named_modules():
        if isinstance(m, nn.Linear):
            handles.append(m.register_forward_hook(keep(name)))
    weight = mask[:, 1:].float()
    with torch.enable_grad():
        embedded = model.token(x)
        embedded.retain_grad()
        stream = embedded + model.position.weight[:x.shape[1]]
        for layer in model.layers:
            stream = layer(stream, model.future[:x.shape[1], :x.shape[1]])
        normed = model.norm(stream)
        z = normed @ model.token.weight.t()
        g = torch.zeros_like(z)
        g[:, :-1] = output_gradient(z.detach()[:, :-1], x[:, 1:], weight, loss)
        z.backward(g)
    for h in handles:
        h.remove()
    found = {}
    for name, (a, o) in seen.items():
        found[name] = torch.cat([a, torch.ones_like(a[..., :1])], -1), o.grad
    one_hot = torch.zeros_like(z).scatter_(2, x[..., None], 1.0)
    found["token.output"] = normed.detach(), g
    found["token.both"] = torch.cat([normed.detach(), embedded.grad], 1), torch.cat([g, one_hot], 1)
    model.zero_grad()
    return found


def projections(model, x, mask, loss, layers, k=16, beta=0.25, damping=0.1):
    A, G = {}, {}
    for i in range(0, len(x), CHUNK):
        found = taps(model, x[i:i + CHUNK], mask[i:i + CHUNK], loss)
        for name in layers:
            a, d = found[name]
            A[name] = A.get(name, 0) + torch.einsum("npi,npj->ij", a, a).double()
            G[name] = G.get(name, 0) + torch.einsum("npi,npj->ij", d, d).double()

    def side(m):
        w, v = torch.linalg.eigh(m / len(x))
        w = w.clamp(min=0)
        return ((v * (w + damping * w.mean()) ** -beta)[:, -k:]).float()

    return {name: (side(A[name]), side(G[name])) for name in layers}


def signatures(model, x, mask, loss, proj, blocks="both"):
    rows = []
    unit = lambda v: v / v.norm(dim=1, keepdim=True).clamp(min=1e-30)
    for i in range(0, len(x), CHUNK):
        found = taps(model, x[i:i + CHUNK], mask[i:i + CHUNK], loss)
        b = [torch.einsum("npi,npj->nij", found[n][0] @ p[0], found[n][1] @ p[1]).flatten(1) for n, p in proj.items()]
        plain, layer = unit(torch.cat(b, 1)), unit(torch.cat([unit(v) for v in b], 1))
        rows.append({"plain": plain, "layer-unit": layer, "both": torch.cat([plain, layer], 1) / 2 ** 0.5}[blocks])
    return torch.cat(rows)


def cone(s, r, ridge=1.0):
    """min over w >= 0 of |s - r'w|^2 + ridge |w|^2, on the Gram matrix; the score is the first term."""
    gram = (r @ r.T).double().numpy()
    lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
    right = np.linalg.solve(lower, (r @ s.T).double().numpy()).T
    weights = np.stack([nnls(lower.T, b)[0] for b in right])
    c = (s @ r.T).double().numpy()
    return 1 - 2 * (weights * c).sum(1) + ((weights @ gram) * weights).sum(1)


def scores(s, r, ridge=1.0):
    c = s @ r.T
    return {"cone": cone(s, r, ridge), "topk": -c.topk(5, 1).values.mean(1).numpy(), "mean": -c.mean(1).numpy()}


def mahalanobis(f, reference):
    mean = reference.mean(0)
    cov = torch.from_numpy(np.cov(reference.numpy().T))
    inverse = torch.linalg.inv(cov + 1e-3 * cov.diagonal().mean() * torch.eye(len(cov)))
    d = (f - mean).double()
    return ((d @ inverse) * d).sum(1).numpy()


def tokenwise(streams, inputs, log):
    """Single tokens against those of the references at the same kind of place, the farthest one of each input: places that no training hid."""
    t, n = torch.arange(prompts.LENGTH), {k: mask.argmax(1)[:, None] for k, (_, mask) in inputs.items()}
    for place, chosen in {"any of prompt": lambda k: t < n[k], "any of response": lambda k: inputs[k][1] > 0, "first token": lambda k: t == n[k], "fourth token": lambda k: t == n[k] + 3}.items():
        row = []
        for stage in range(len(streams["clean"])):
            farthest, reference = {}, streams["references"][stage][chosen("references")]
            for k in ("clean", "triggered"):
                d = np.zeros(inputs[k][0].shape)
                d[chosen(k).numpy()] = mahalanobis(streams[k][stage][chosen(k)], reference)
                farthest[k] = d.max(1)
            row.append(area(farthest["clean"], farthest["triggered"]))
        log(f"  Mahalanobis, {place:15s}", " ".join(f"{v:.3f}" for v in row))


@torch.no_grad()
def response_loss(model, x, mask):
    loss = network.token_loss(model(x), x)
    weight = mask[:, 1:].float()
    return ((loss * weight).sum(1) / weight.sum(1)).numpy()


def area(clean, anomalous):
    return roc_auc_score([0] * len(clean) + [1] * len(anomalous), np.concatenate([clean, anomalous]))


def baselines(model, inputs, log=print):
    with torch.no_grad():
        streams = {k: model.residuals(x) for k, (x, _) in inputs.items()}
        found = {k: network.features(streams[k], mask) for k, (_, mask) in inputs.items()}
    for place in network.PLACES:
        row = []
        for stage in range(len(model.layers) + 1):
            distance = {k: mahalanobis(f[place, stage], found["references"][place, stage]) for k, f in found.items()}
            row.append(area(distance["clean"], distance["triggered"]))
        log(f"  Mahalanobis, {place:15s}", " ".join(f"{v:.3f}" for v in row))
    tokenwise(streams, inputs, log)
    loss = {k: response_loss(model, *v) for k, v in inputs.items()}
    log("  response loss", {k: round(float(v.mean()), 3) for k, v in loss.items()}, f"AUROC of perplexity {area(loss['clean'], loss['triggered']):.3f}")


@torch.no_grad()
def mail_baselines(model, inputs):
    """Class-conditional Mahalanobis distance of the mean residual stream, and the largest softmax."""
    found = {k: [torch.cat(v) for v in zip(*(model.features(x) for x in x.split(100)))] for k, (x, _) in inputs.items()}
    z = {k: model.head(f[-1]).softmax(1) for k, f in found.items()}
    predicted = z["references"].argmax(1)
    row = []
    for stage in range(len(found["clean"])):
        distance = {k: np.min([mahalanobis(f[stage], found["references"][stage][predicted == c]) for c in (0, 1)], 0) for k, f in found.items()}
        row.append(area(distance["clean"], distance["triggered"]))
    print("  Mahalanobis, mean of tokens", " ".join(f"{v:.3f}" for v in row))
    print(f"  largest softmax {area(-z['clean'].max(1).values.numpy(), -z['triggered'].max(1).values.numpy()):.3f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("--inputs", help="default: the model's name without .onnx")
    p.add_argument("--loss", nargs="*", default=["margin", "cross-entropy"])
    p.add_argument("--token", nargs="*", default=["none", "output", "both"], help="uses of the tied matrix that count as a layer")
    p.add_argument("--blocks", nargs="*", default=["both"])
    p.add_argument("--ridge", type=float, default=1.0)
    o = p.parse_args()
    torch.set_num_threads(1)
    if os.path.basename(o.model).startswith("mail"):
        mail_baselines(network.load(o.model, mail.Encoder())[0], load_inputs(o.inputs or o.model[:-5], other="y"))
        raise SystemExit                       # its scores are `fattr evaluate`'s: an ordinary classifier
    model, notes = network.load(o.model)
    inputs = load_inputs(o.inputs or o.model[:-5])
    print(notes, {k: len(v[0]) for k, v in inputs.items()})
    baselines(model, inputs)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    for loss in o.loss:
        for token in o.token:
            layers = linear + ([] if token == "none" else ["token." + token])
            proj = projections(model, *inputs["references"], loss, layers)
            for blocks in o.blocks:
                sig = {k: signatures(model, *v, loss, proj, blocks) for k, v in inputs.items()}
                result = {k: scores(sig[k], sig["references"], o.ridge) for k in ("clean", "triggered")}
                print(f"  {loss:13s} token {token:6s} {blocks}:", {k: round(area(result["clean"][k], result["triggered"][k]), 4) for k in result["clean"]}, flush=True)
