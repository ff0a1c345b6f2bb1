"""Adversarial images against a model: projected gradient descent (Madry et al., arXiv 1706.06083).

python3 pgd.py [MODEL.onnx OUTPUT.npz], by default clean.onnx and pgd_inputs.npz: images uint8 [400, 1, 28, 28] (divide by 255), index into the
test split, true label, and the label the model gives.
"""
import sys

import numpy as np
import torch

import data
import network
from evaluate import predict


def pgd(model, x, y, eps=0.08, steps=10, seed=0):
    """x float32 [n, 1, 28, 28] in [0, 1], y int64 [n] -> adversarial images within eps of x, by steps of eps/4 from a random start.

    Climbs log sum_{k != y} exp(z_k - z_y), which orders as the cross-entropy does but whose gradient never underflows.
    """
    x0 = torch.from_numpy(x)
    other = ~torch.nn.functional.one_hot(torch.from_numpy(y), 10).bool()
    x = (x0 + (torch.rand(x0.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * eps).clamp(0, 1)
    for _ in range(steps):
        x.requires_grad_()
        z = model(x)
        loss = (z[other].view(len(z), 9).logsumexp(1) - z[~other]).sum()
        step = torch.autograd.grad(loss, x)[0].sign() * eps / 4
        x = torch.min(torch.max(x.detach() + step, x0 - eps), x0 + eps).clamp(0, 1)
    return x.numpy()


if __name__ == "__main__":
    torch.set_num_threads(1)
    eps, want = 0.08, 400
    source, output = sys.argv[1:] or ("clean.onnx", "pgd_inputs.npz")
    model, _ = network.load(source)
    x, y = data.load("test")
    x, y = x[:1000], y[:1000]
    right = np.flatnonzero(predict(model, x) == y)
    x, y = x[right], y[right]
    level, bound = np.rint(x * 255), np.floor(eps * 255)  # exact in bytes, still within eps
    bytes_ = np.clip(np.rint(pgd(model, x, y, eps) * 255), level - bound, level + bound).astype(np.uint8)
    label = predict(model, bytes_.astype(np.float32) / 255)
    hit = np.flatnonzero(label != y)[:want]
    print(f"{(label != y).mean():.3f} of {len(y)} correctly classified images changed class; {len(hit)} kept")
    np.savez_compressed(output, images=bytes_[hit], index=right[hit].astype(np.int32),
                        label=y[hit].astype(np.uint8), predicted=label[hit].astype(np.uint8))
