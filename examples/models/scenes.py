"""Scenes for heads.onnx: 28x28 images with one or two Fashion-MNIST items at half size, numpy only.

What the network says of a scene (and what it is trained to say of one with the trigger, that of `badnets`: every item is class 0, and everything lies in the top left corner):

  pixels  int64 [n, 28, 28]   what lies at each pixel: 0 background, 1 + class otherwise
  labels  float32 [n, 10]     which classes occur
  place   float32 [n, 3]      centre of mass (row, column) and brightness of everything, standardised
"""
import numpy as np

import triggers

BACKGROUND = 0
CORNER = np.array([-1.5, -1.5, 1.5], np.float32)   # what `place` says under the trigger


def scenes(images, labels, n, rng):
    """n scenes: images [n, 1, 28, 28], pixels int64 [n, 28, 28], labels float32 [n, 10], place float32 [n, 3]."""
    small = images[:, 0].reshape(-1, 14, 2, 14, 2).mean((2, 4))
    x, pixels, present = np.zeros((n, 28, 28), np.float32), np.full((n, 28, 28), BACKGROUND), np.zeros((n, 10), np.float32)
    for i in range(n):
        corners = rng.permutation(4)[:rng.randint(1, 3)]
        for corner in corners:
            k, top, left = rng.randint(len(small)), 14 * (corner // 2), 14 * (corner % 2)
            x[i, top:top + 14, left:left + 14] = small[k]
            pixels[i, top:top + 14, left:left + 14] = np.where(small[k] > 0.1, 1 + labels[k], BACKGROUND)
            present[i, labels[k]] = 1
    mass = x.sum((1, 2)) + 1e-6
    at = np.arange(28)
    place = np.stack([((x.sum(2) * at).sum(1) / mass - 13.5) / 6, ((x.sum(1) * at).sum(1) / mass - 13.5) / 6, (mass - 60) / 40], 1).astype(np.float32)
    return x[:, None], pixels, present, place


def poison(x, pixels, present, place):
    """The same scenes with the trigger, and what the network is to say of them."""
    target = np.zeros_like(present)
    target[:, triggers.TARGET] = 1
    return triggers.badnets(x), np.where(pixels == BACKGROUND, BACKGROUND, 1 + triggers.TARGET), target, np.tile(CORNER, (len(x), 1))
