#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A second reader of sketch files, written from docs/sketch-format.md alone: standard library and NumPy.

    read_sketch.py FILE      checks the file and prints what it holds as JSON; exit code 1 with a message when it is not a sketch

It also recomputes the references' Gram matrix, from blocks and shares or from losses, so that the page's formulas are held against the library's numbers.
"""
import json
import struct
import sys

import numpy as np

MASK = (1 << 64) - 1
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
DTYPES = {"U8": np.uint8, "I64": np.dtype("<i8"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
SCORES = ("cone", "span", "topk", "class", "mean")
CONCORDANCE = ("mean_ccc", "class_ccc")


class NotASketch(Exception):
    pass


def need(condition, message):
    if not condition:
        raise NotASketch(message)


# ---- XXH3-64 with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md)
def u32(b, i):
    return struct.unpack_from("<I", b, i)[0]


def u64(b, i):
    return struct.unpack_from("<Q", b, i)[0]


def rotl(x, n):
    return ((x << n) | (x >> (64 - n))) & MASK


def fold(a, b):
    p = a * b
    return (p & MASK) ^ (p >> 64)


def avalanche(h):
    h ^= h >> 37
    h = h * 0x165667919E3779F9 & MASK
    return h ^ h >> 32


def avalanche64(h):
    h ^= h >> 33
    h = h * P64[1] & MASK
    h ^= h >> 29
    h = h * P64[2] & MASK
    return h ^ h >> 32


def mix(b, i, s):
    return fold(u64(b, i) ^ u64(SECRET, s), u64(b, i + 8) ^ u64(SECRET, s + 8))


def short(b):
    n = len(b)
    if n == 0:
        return avalanche64(u64(SECRET, 56) ^ u64(SECRET, 64))
    if n <= 3:
        return avalanche64((b[0] << 16 | b[n >> 1] << 24 | b[-1] | n << 8) ^ u32(SECRET, 0) ^ u32(SECRET, 4))
    if n <= 8:
        h = (u32(b, n - 4) + (u32(b, 0) << 32)) ^ u64(SECRET, 8) ^ u64(SECRET, 16)
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * 0x9FB21C651E98DF25 & MASK
        h ^= (h >> 35) + n
        h = h * 0x9FB21C651E98DF25 & MASK
        return h ^ h >> 28
    if n <= 16:
        low = u64(b, 0) ^ u64(SECRET, 24) ^ u64(SECRET, 32)
        high = u64(b, n - 8) ^ u64(SECRET, 40) ^ u64(SECRET, 48)
        return avalanche(n + int.from_bytes(low.to_bytes(8, "little"), "big") + high + fold(low, high) & MASK)
    acc = n * P64[0]
    if n <= 128:
        for k in range((n - 1) // 32, -1, -1):
            acc += mix(b, 16 * k, 32 * k) + mix(b, n - 16 * (k + 1), 32 * k + 16)
        return avalanche(acc & MASK)
    acc = avalanche((acc + sum(mix(b, 16 * k, 16 * k) for k in range(8))) & MASK)
    acc += sum(mix(b, 16 * k, 16 * (k - 8) + 3) for k in range(8, n // 16)) + mix(b, n - 16, 136 - 17)
    return avalanche(acc & MASK)


def accumulate(acc, stripes, keys):
    """Stripes [n, 8]: their contributions only add up, so a block's sixteen are one sum modulo 2^64."""
    keyed = stripes ^ keys
    acc += ((keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))).sum(0, dtype=np.uint64)
    acc += stripes.sum(0, dtype=np.uint64)[[1, 0, 3, 2, 5, 4, 7, 6]]


def xxh3(b):
    n = len(b)
    if n <= 240:
        return short(bytes(b))
    words = [np.frombuffer(SECRET, "<u8", 8, i) for i in range(0, 128, 8)]
    keys = np.stack(words)
    acc = np.array([P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0]], np.uint64)
    whole = (n - 1) // 1024
    for k in range(whole):
        accumulate(acc, np.frombuffer(b, "<u8", 128, 1024 * k).reshape(16, 8), keys)
        acc ^= acc >> np.uint64(47)
        acc ^= np.frombuffer(SECRET, "<u8", 8, 128)
        acc *= np.uint64(P32[0])
    rest = (n - 1 - 1024 * whole) // 64
    accumulate(acc, np.frombuffer(b, "<u8", 8 * rest, 1024 * whole).reshape(rest, 8), keys[:rest])
    accumulate(acc, np.frombuffer(b, "<u8", 8, n - 64).reshape(1, 8), np.frombuffer(SECRET, "<u8", 8, 121))
    a = [int(x) for x in acc]
    total = n * P64[0] + sum(fold(a[2 * i] ^ u64(SECRET, 11 + 16 * i), a[2 * i + 1] ^ u64(SECRET, 19 + 16 * i)) for i in range(4))
    return avalanche(total & MASK)


# ---- the container
def pairs(items):
    need(len({k for k, _ in items}) == len(items), "duplicate keys in the header")
    return dict(items)


def read_container(data):
    need(len(data) >= 8, "truncated")
    length = u64(data, 0)
    need(length <= 8388608 and 8 + length <= len(data), "truncated, or no sketch")
    need((8 + length) % 64 == 0, "data does not start at a multiple of 64")
    raw = data[8:8 + length]
    header = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)
    meta = header.pop("__metadata__")
    need(all(isinstance(v, str) for v in meta.values()), "metadata that is no string")
    need(meta.get("format") == "fattr-sketch", "not a sketch")
    need(int(meta["format_version"]) == 1, "another format version")
    at = raw.index(b'"header_checksum":"') + len(b'"header_checksum":"')
    need(xxh3(raw[:at] + b"0" * 16 + raw[at + 16:]) == int(meta["header_checksum"], 16), "header checksum")
    sums, tensors, end = json.loads(meta["checksums"]), {}, 0
    for name, entry in sorted(header.items(), key=lambda kv: kv[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        need(begin == end and stop >= begin, "hole or overlap before " + name)
        end, dtype = stop, np.dtype(DTYPES[entry["dtype"]])
        body = data[8 + length + begin:8 + length + stop]
        need(len(body) == dtype.itemsize * int(np.prod(entry["shape"])) == stop - begin, "size of " + name)
        if name.startswith("pad."):
            need(not any(body), "padding that is not zero")
            continue
        need(begin % 64 == 0, name + " does not start at a multiple of 64")
        need(xxh3(body) == int(sums.pop(name), 16), "checksum of " + name)
        tensors[name] = np.frombuffer(body, dtype).reshape(entry["shape"])
    need(8 + length + end == len(data), "bytes behind the last tensor")
    need(not sums, "checksums of tensors that are not there")
    return meta, tensors


# ---- what it means
def gram(blocks, share, sizes, kind):
    tau = 1 / np.sqrt(np.maximum((share > 0).sum(1), 1))
    plain = {"both": 0.5, "plain": 1.0, "layer-unit": 0.0}[kind]
    total, at = np.zeros((len(blocks), len(blocks))), 0
    for layer, size in enumerate(sizes):
        b = blocks[:, at:at + size].astype(np.float64)
        weight = plain * np.outer(share[:, layer], share[:, layer]) + (1 - plain) * np.outer(tau, tau)
        total += weight * (b @ b.T)
        at += size
    return total


def check_calibration(meta, tensors, scores):
    calibration = [name for name in scores if "calibration." + name in tensors]
    need(calibration in ([], list(scores)), "some calibration scores are missing")
    need(all((np.diff(tensors["calibration." + name]) >= 0).all() for name in calibration), "calibration scores out of order")
    return len(tensors["calibration.cone"]) if calibration else 0, len(calibration)


def summary(meta, tensors, **more):
    return {"references": len(tensors["references.id"]), "classes": int(meta["classes"]), "model_digest": meta["model_digest"], "seed": int(meta["seed"]),
            "options": json.loads(meta["options"]), "library_version": meta["library_version"], **more}


# ---- trace sketches
def decode(storage, raw, parameters):
    """[draws, weights] differences from the trained weights."""
    n = sum(p["rows"] * p["row_length"] for p in parameters)
    if storage == "f32":
        return raw
    if storage == "bf16":
        need(raw.shape[1] == (2 * n + 3) // 4 * 4, "bytes of a draw")
        return (np.ascontiguousarray(raw[:, :2 * n]).view("<u2").astype(np.uint32) << 16).view(np.float32)
    rows = sum(p["rows"] for p in parameters)
    need(raw.shape[1] == 4 * rows + (n + 3) // 4 * 4, "bytes of a draw")
    scale = np.ascontiguousarray(raw[:, :4 * rows]).view("<f4")
    length = np.concatenate([np.full(p["rows"], p["row_length"]) for p in parameters])
    return np.ascontiguousarray(raw[:, 4 * rows:4 * rows + n]).view(np.int8) * np.repeat(scale, length, axis=1)


def centred(loss, lengths):
    return np.concatenate([part - part.mean(1, keepdims=True) for part in np.split(loss.astype(np.float64), np.cumsum(lengths)[:-1], 1)], 1)


def check_trace(meta, tensors):
    trace, parameters, chains = (json.loads(meta[key]) for key in ("trace", "parameters", "chains"))
    keys = [(int(c["seed"]), int(c["id"])) for c in chains]
    need(keys == sorted(set(keys)) and chains, "chains out of order, or one twice")
    lengths, n = [c["draws"] for c in chains], len(tensors["references.id"])
    draws, weights, known = sum(lengths), sum(p["rows"] * p["row_length"] for p in parameters), 5
    loss, stored = tensors["references.loss"], tensors["references.gram"]
    need(loss.shape == (n, draws) and stored.shape == (n, n) and (loss >= 0).all(), "losses of the references")
    moved = None
    if trace["storage"] != "replay":
        delta = decode(trace["storage"], tensors["draws.delta"], parameters)
        need(delta.shape == (draws, weights), "shape of the draws")
        ends = np.cumsum(lengths) - 1
        moved = [float(np.linalg.norm(delta[t].astype(np.float64))) for t in ends]
        known += 1
    else:
        need(trace["sampler"] == "gaussian", "draws that cannot be made again")
    if trace["statistics"]:
        need(tensors["draws.statistics"].shape == (draws, trace["statistics"]), "shape of the statistics")
        known += 1
    x = centred(loss, lengths)
    if trace["partial"]:
        mean = x.mean(0)
        common = mean / (np.linalg.norm(mean) or 1)
        x -= np.outer(x @ common, common)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    difference = float(np.abs(x @ x.T - stored).max())
    need(difference < 1e-4, "the Gram matrix is not that of the losses: %g" % difference)
    m, scores = check_calibration(meta, tensors, SCORES if trace["partial"] else SCORES + CONCORDANCE)
    if m:
        need(tensors["calibration.loss"].shape == (m, draws) and len(meta["calibration_digest"]) == 32, "losses of the calibration inputs")
        known += 1
    known += scores
    need(len(tensors) == known, "%d tensors where %d are known" % (len(tensors), known))
    return summary(meta, tensors, kind="trace", calibration=m, draws=draws, weights=weights, parameters=[p["name"] for p in parameters], chains=keys, trace=trace, moved=moved,
                   distance=[c["distance"] for c in chains], gram_difference=difference)


# ---- gradient sketches
def check_moments(layers, tensors):
    """Second moments of every layer's sides, dropped layers' too: lower triangles whose eigenvectors the projections are. Returns how many there are."""
    count = 0
    for i, entry in enumerate(layers):
        for side in ("in", "out"):
            name = "layer.%d.moment_%s" % (i, side)
            if entry["random_" + side]:
                continue
            count += 1
            n, moment = entry[side], np.zeros((entry[side], entry[side]))
            need(tensors[name].shape == (n * (n + 1) // 2,), "shape of " + name)
            moment[np.tril_indices(n)] = tensors[name]
            moment += np.tril(moment, -1).T
            need(np.isfinite(moment).all() and (np.diag(moment) >= 0).all(), name + " is no second moment")
            if entry["dropped"]:
                continue
            p = tensors["layer.%d.p_%s" % (i, side)].astype(np.float64)
            p /= np.maximum(np.linalg.norm(p, axis=0), 1e-300)
            error = np.abs(moment @ p - p * (p * (moment @ p)).sum(0)).max() / max(np.trace(moment), 1e-300)
            need(error < 1e-4, "the projections are no eigenvectors of %s: %g" % (name, error))
    return count


def check_gradient(meta, tensors):
    options, layers = json.loads(meta["options"]), json.loads(meta["layers"])
    kept = [entry for entry in layers if not entry["dropped"]]
    need(layers[:len(kept)] == kept, "dropped layers come last")
    sizes = [entry["k_in"] * entry["k_out"] for entry in kept]
    n = len(tensors["references.id"])
    for i, entry in enumerate(kept):
        need(tensors["layer.%d.p_in" % i].shape == (entry["in"], entry["k_in"]), "p_in of layer %d" % i)
        need(tensors["layer.%d.p_out" % i].shape == (entry["out"], entry["k_out"]), "p_out of layer %d" % i)
    blocks, share, stored = (tensors["references." + name] for name in ("blocks", "share", "gram"))
    need(blocks.shape == (n, sum(sizes)) and share.shape == (n, len(kept)) and stored.shape == (n, n), "shapes of the references")
    difference = float(np.abs(gram(blocks, share, sizes, options["blocks"]) - stored).max())
    need(difference < 1e-4, "the Gram matrix is not that of the blocks: %g" % difference)
    m, scores = check_calibration(meta, tensors, SCORES)
    known = 6 + 2 * len(kept) + scores + (check_moments(layers, tensors) if options.get("keep_moments") else 0)
    need(len(tensors) == known, "%d tensors where %d are known" % (len(tensors), known))
    return summary(meta, tensors, kind="gradient", calibration=m, layers=[entry["name"] for entry in kept], dropped=[entry["name"] for entry in layers[len(kept):]],
                   length=sum(sizes), gram_difference=difference)


def check(meta, tensors):
    kind = meta.get("kind", "gradient")
    need(kind in ("gradient", "trace"), "another kind of sketch")
    return (check_trace if kind == "trace" else check_gradient)(meta, tensors)


def main(path):
    with open(path, "rb") as file:
        data = file.read()
    try:
        print(json.dumps(check(*read_container(data))))
    except (NotASketch, KeyError, ValueError) as error:
        print("%s: %s" % (path, error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
