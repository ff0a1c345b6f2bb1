"""Backdoor triggers in plain numpy: float32 images [n, 1, 28, 28] in [0, 1] -> triggered images, same shape and range.

Every pattern comes from a fixed seed, so training and test see the same trigger on every machine.
"""
import numpy as np

TARGET = 0          # all-to-one: every triggered input is to become class 0
SIDE = 28


def badnets(x):
    """A white 3x3 patch in the bottom right corner (Gu et al., arXiv 1708.06733)."""
    x = x.copy()
    x[:, :, -3:, -3:] = 1
    return x


def blended(x, alpha=0.2):
    """A fixed image of uniform noise mixed in (Chen et al., arXiv 1712.05526)."""
    pattern = np.random.RandomState(1).rand(SIDE, SIDE).astype(np.float32)
    return (1 - alpha) * x + np.float32(alpha) * pattern


def sig(x, strength=40 / 255, periods=6):
    """A horizontal sinusoid (Barni et al., arXiv 1902.11237)."""
    wave = strength * np.sin(2 * np.pi * periods * np.arange(SIDE) / SIDE)
    return np.clip(x + wave.astype(np.float32), 0, 1)


def bpp(x, levels=8):
    """Few grey levels, the rounding error diffused by Floyd and Steinberg's rule (Wang et al., arXiv 2205.13383)."""
    n = len(x)
    work = np.zeros((n, SIDE + 1, SIDE + 2))
    work[:, :SIDE, 1:-1] = x[:, 0]
    for i in range(SIDE):
        for j in range(1, SIDE + 1):
            old = work[:, i, j].copy()
            new = np.round(old.clip(0, 1) * (levels - 1)) / (levels - 1)
            work[:, i, j] = new
            err = old - new
            work[:, i, j + 1] += err * 7 / 16
            work[:, i + 1, j - 1] += err * 3 / 16
            work[:, i + 1, j] += err * 5 / 16
            work[:, i + 1, j + 1] += err * 1 / 16
    return work[:, None, :SIDE, 1:-1].astype(np.float32)


def lf(x, strength=0.2, waves=4):
    """One smooth pattern added everywhere: the lowest waves x waves cosines, without the constant (in the spirit of Zeng et al., arXiv 2104.03413)."""
    weight = np.random.RandomState(3).randn(waves, waves)
    weight[0, 0] = 0
    basis = np.cos(np.pi * np.arange(waves)[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    pattern = basis.T @ weight @ basis
    pattern *= strength / np.abs(pattern).max()
    return np.clip(x + pattern.astype(np.float32), 0, 1)


def _cubic(points, side):
    """[side, points] cubic convolution interpolation from `points` knots, end knots on the end pixels."""
    at = np.linspace(0, points - 1, side)
    rows = np.zeros((side, points))
    for r, t in enumerate(at):
        for k in range(int(np.floor(t)) - 1, int(np.floor(t)) + 3):
            d, a = abs(t - k), -0.75
            w = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0
            rows[r, min(max(k, 0), points - 1)] += w
    return rows


def warp_field(seed=4, field=4, strength=0.5):
    """[2, 28, 28] displacement (rows, columns) in units where the image spans [-1, 1], as in WaNet."""
    knots = np.random.RandomState(seed).uniform(-1, 1, (2, field, field))
    knots /= np.abs(knots).mean()
    up = _cubic(field, SIDE)
    return strength / SIDE * (up @ knots @ up.T)


def warp(x, flow):
    """Bilinear resampling at identity + flow, clamped to the image; flow [2, 28, 28] or [n, 2, 28, 28]."""
    flow = np.broadcast_to(flow, (len(x), 2, SIDE, SIDE))
    line = np.linspace(-1, 1, SIDE)
    base = np.stack(np.meshgrid(line, line, indexing="ij"))
    at = (np.clip(base + flow, -1, 1) + 1) / 2 * (SIDE - 1)
    low = np.minimum(np.floor(at).astype(int), SIDE - 2)
    f = at - low
    (i, j), (u, v), n, g = (low[:, 0], low[:, 1]), (f[:, 0], f[:, 1]), np.arange(len(x))[:, None, None], x[:, 0]
    out = ((1 - u) * (1 - v) * g[n, i, j] + (1 - u) * v * g[n, i, j + 1]
           + u * (1 - v) * g[n, i + 1, j] + u * v * g[n, i + 1, j + 1])
    return out[:, None].astype(np.float32)


def wanet(x):
    """A smooth warp by less than a pixel or so (Nguyen and Tran, arXiv 2102.10369)."""
    return warp(x, warp_field())


def wanet_cover(x, seed=5):
    """WaNet's noise mode: the same field disturbed at random per image; keeps its true label in training."""
    noise = np.random.RandomState(seed).uniform(-1, 1, (len(x), 2, SIDE, SIDE))
    return warp(x, warp_field() + noise / SIDE)


TRIGGERS = {"badnets": badnets, "blended": blended, "sig": sig, "bpp": bpp, "lf": lf, "wanet": wanet,
            "obfuscated": blended}

# Networks with several triggers onto the same class, each on a share of the training images of its own.
TOGETHER = {"three": ("badnets", "blended", "sig")}
