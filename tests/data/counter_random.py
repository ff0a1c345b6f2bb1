# SPDX-License-Identifier: Apache-2.0
"""The library's random numbers, made a second time in NumPy from their definition (lib/kernels/normal.h, lib/sampler/chain.h): normal numbers in double precision.

So that a computation in PyTorch takes the same noise and minibatches as the library. Needs python3-numpy.
"""
import numpy as np

NOISE, MINIBATCH, REPLAY = 0, 1, 2
LOW = np.uint64(0xFFFFFFFF)


def philox(key, low, high):
    """[n, 4] words of Philox-4x32-10 at the blocks `low` [n] of stream `high`; test vectors of Salmon et al. below."""
    low = np.atleast_1d(np.asarray(low, np.uint64))
    high = np.full_like(low, high)
    half = np.uint64(32)
    c = [low & LOW, low >> half, high & LOW, high >> half]
    k = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> half) ^ c[1] ^ np.uint64(k[0]), b & LOW, (a >> half) ^ c[3] ^ np.uint64(k[1]), a & LOW]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, 1)


def sampler_key(seed, chain, purpose):
    w = philox(seed, chain, purpose)[0]
    return int(w[0]) | int(w[1]) << 32


def normal(key, stream, n):
    """[n] standard normal numbers 0 ... n - 1 of a stream."""
    runs = -(-n // 64)
    word = philox(key, np.arange(16 * runs), stream).astype(np.float64).reshape(runs, 16, 2, 2)
    r, a = np.sqrt(-2 * np.log((word[..., 0] + 0.5) / 2 ** 32)), 2 * np.pi * word[..., 1] / 2 ** 32
    return np.stack([r * np.cos(a), r * np.sin(a)], -1).reshape(runs, 16, 4).transpose(0, 2, 1).ravel()[:n]


def noise(seed, chain, step, n):
    return normal(sampler_key(seed, chain, NOISE), step, n)


def minibatch(seed, chain, step, n_sample, size):
    """Indices of a step's minibatch."""
    size = min(size, n_sample)
    epoch, at = divmod(step, n_sample // size)
    word = philox(sampler_key(seed, chain, MINIBATCH), np.arange(n_sample // 2 + 1), epoch).astype(object)
    number = np.stack([word[:, 0] + (word[:, 1] << 32), word[:, 2] + (word[:, 3] << 32)], 1).ravel()
    order = list(range(n_sample))
    for i in range(n_sample - 1, 0, -1):
        j = int(number[i] % (i + 1))
        order[i], order[j] = order[j], order[i]
    return order[at * size:(at + 1) * size]


assert [hex(v) for v in philox(0, 0, 0)[0]] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
assert [hex(v) for v in philox(2 ** 64 - 1, 2 ** 64 - 1, 2 ** 64 - 1)[0]] == ["0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]
