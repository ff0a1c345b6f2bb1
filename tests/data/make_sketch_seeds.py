#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/sketch/: a valid sketch of two layers and three references, and relatives that each break one rule of
docs/sketch-format.md while their checksums fit. The same bytes every time; standard library and NumPy."""
import json
import os
import struct
import sys

import numpy as np

sys.dont_write_bytecode = True
from read_sketch import SCORES, xxh3  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "fuzz", "corpus", "sketch")
NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}


def unit_blocks(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def parts():
    """Metadata and tensors of a sound sketch."""
    random = np.random.RandomState(4)
    layers = [dict(name="fc%d" % i, weight="w%d" % i, index=i, **{"in": n}, out=m, groups=1, k_in=2, k_out=2, random_in=False, random_out=False, dropped=False)
              for i, (n, m) in enumerate([(4, 3), (4, 2)])]
    layers.append(dict(layers[0], name="idle", index=2, k_in=0, k_out=0, dropped=True))
    blocks = np.concatenate([unit_blocks(random.randn(3, 4)) for _ in range(2)], 1)
    share = np.full((3, 2), np.sqrt(0.5), np.float32)
    gram = (0.5 * blocks.astype(np.float64) @ blocks.T).astype(np.float32)
    gram = np.triu(gram, 1) + np.triu(gram, 1).T + np.eye(3, dtype=np.float32)
    tensors = {}
    for i, layer in enumerate(layers[:2]):
        tensors["layer.%d.p_in" % i] = random.randn(layer["in"], 2).astype(np.float32)
        tensors["layer.%d.p_out" % i] = random.randn(layer["out"], 2).astype(np.float32)
    tensors.update({"references.blocks": blocks, "references.share": share, "references.gram": gram, "references.id": np.arange(3),
                    "references.predicted": np.array([0, 1, 1]), "references.label": np.array([0, -1, 1])})
    for name in SCORES:
        tensors["calibration." + name] = np.array([-0.5, 0.25, 0.25, 0.75])
    meta = {"format": "fattr-sketch", "format_version": "1", "library_version": "0.1.0", "model_digest": "0123456789abcdef" * 2, "references_digest": "f" * 32,
            "logits_node": "5", "classes": "2", "seed": "7", "inputs": [dict(dtype=1, shape=[3])], "layers": layers,
            "options": dict(k_in=2, k_out=2, beta=0.25, damping=0.1, ridge=0.1, blocks="both", topk=5, layers=None, batch=16, drop_misclassified=False,
                            loss="margin")}
    return meta, tensors


def write(name, meta, tensors, header_length=None, behind=b""):
    data, header = b"", {}
    for i, (key, value) in enumerate(tensors.items()):
        if len(data) % 64:
            gap = 64 - len(data) % 64
            header["pad.%d" % i] = dict(dtype="U8", shape=[gap], data_offsets=[len(data), len(data) + gap])
            data += bytes(gap)
        body = value.tobytes()
        header[key] = dict(dtype=NAMES[str(value.dtype)], shape=list(value.shape), data_offsets=[len(data), len(data) + len(body)])
        data += body
    meta = {k: v if isinstance(v, str) else json.dumps(v, separators=(",", ":")) for k, v in meta.items()}
    meta["checksums"] = json.dumps({k: "%016x" % xxh3(v.tobytes()) for k, v in tensors.items()}, separators=(",", ":"))
    meta["header_checksum"] = "0" * 16
    text = json.dumps(dict(__metadata__=meta, **header), separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    text = text.replace(b'"header_checksum":"' + b"0" * 16, b'"header_checksum":"%016x' % xxh3(text), 1)
    with open(os.path.join(FOLDER, name + ".fattr"), "wb") as out:
        out.write(struct.pack("<Q", header_length if header_length is not None else len(text)) + text + data + behind)


def keep_moments(meta, tensors):
    """Lower triangles for all sides, the dropped layer's too; projections are their eigenvectors."""
    meta["options"].update(keep_moments=True)
    for i, layer in enumerate(meta["layers"]):
        for side in ("in", "out"):
            a = np.random.RandomState(i).randn(layer[side], 5)
            tensors["layer.%d.moment_%s" % (i, side)] = (a @ a.T)[np.tril_indices(layer[side])]
            if not layer["dropped"]:
                tensors["layer.%d.p_%s" % (i, side)] = np.linalg.eigh(a @ a.T)[1][:, :-3:-1].astype(np.float32)


def change_moments(name, edit):
    def both(meta, tensors):
        keep_moments(meta, tensors)
        edit(meta, tensors)
    change(name, both)


def change(name, edit):
    meta, tensors = parts()
    edit(meta, tensors)
    write(name, meta, tensors)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    write("sound", *parts())
    write("behind", *parts(), behind=b"!")
    write("long-header", *parts(), header_length=1 << 62)
    change("newer", lambda m, t: m.update(format_version="2"))
    change("uncalibrated", lambda m, t: [t.pop("calibration." + name) for name in SCORES])
    change("half-calibrated", lambda m, t: t.pop("calibration.mean"))
    change("no-gram", lambda m, t: t.pop("references.gram"))
    change("indefinite", lambda m, t: t.update({"references.gram": np.array([[1, 1, -1], [1, 1, 1], [-1, 1, 1]], np.float32)}))
    change("silent", lambda m, t: t.update({"references.gram": np.zeros((3, 3), np.float32), "references.share": np.zeros((3, 2), np.float32),
                                            "references.blocks": np.zeros((3, 8), np.float32)}))
    change("nan", lambda m, t: t.update({"references.blocks": np.full((3, 8), np.nan, np.float32)}))
    change("no-layer", lambda m, t: m.update(layers=m["layers"][2:]))
    change("wide-layer", lambda m, t: m["layers"][0].update({"in": 1 << 31}))
    change("many-dims", lambda m, t: m.update(inputs=[dict(dtype=1, shape=[1] * 8)]))
    change("empty-scores", lambda m, t: t.update({"calibration." + name: np.zeros(0) for name in SCORES}))
    change("cross-entropy", lambda m, t: m["options"].update(loss="cross-entropy"))
    change("lossless", lambda m, t: m["options"].pop("loss"))
    change("unit-blocks", lambda m, t: m["options"].update(blocks="layer-unit", topk=2147483647))
    change("moments", keep_moments)
    change_moments("no-moment", lambda m, t: t.pop("layer.2.moment_out"))
    change_moments("square-moment", lambda m, t: t.update({"layer.0.moment_in": np.eye(4)}))
    change_moments("negative-moment", lambda m, t: t.update({"layer.1.moment_out": np.array([1.0, 0.0, -1.0])}))
    change_moments("nan-moment", lambda m, t: t.update({"layer.1.moment_out": np.array([1.0, np.nan, 1.0])}))
    change_moments("random-side", lambda m, t: [m["layers"][0].update(random_in=True), t.pop("layer.0.moment_in")])


if __name__ == "__main__":
    main()
