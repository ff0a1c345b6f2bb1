#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/sketch/ and tests/fuzz/corpus/checkpoint/: valid sketches of either kind and checkpoints, small, and relatives that each break one rule of
docs/sketch-format.md while their checksums fit. The same bytes every time; standard library and NumPy."""
import json
import os
import struct
import sys

import numpy as np

sys.dont_write_bytecode = True
from read_sketch import CONCORDANCE, SCORES, xxh3  # noqa: E402

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "fuzz", "corpus")
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


DIAGNOSIS = dict(ess=5.5, ess_min=2, split_rhat=1.01, split_rhat_max=None, drift=0.2, signal=2.5, moved=1, shortest=3)


def trace_parts(storage="f32", partial=False):
    """Of a sketch of two chains with three draws each: nine weights in two initialisers, three references, four calibration inputs."""
    random = np.random.RandomState(6)
    chains = [dict(seed="7", id=str(i), draws=3, loss_before=0.1, loss_after=0.2, distance=0.3, diagnosis=DIAGNOSIS) for i in range(2)]
    loss = random.rand(3, 6).astype(np.float32)
    blocks = np.concatenate([loss[:, a:a + 3] - loss[:, a:a + 3].mean(1, keepdims=True) for a in (0, 3)], 1).astype(np.float64)
    if partial:
        common = blocks.mean(0) / np.linalg.norm(blocks.mean(0))
        blocks -= np.outer(blocks @ common, common)
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True)
    gram = (blocks @ blocks.T).astype(np.float32)
    gram = np.triu(gram, 1) + np.triu(gram, 1).T + np.eye(3, dtype=np.float32)
    draws = {"f32": random.randn(6, 9).astype(np.float32), "bf16": random.randint(0, 256, (6, 20)).astype(np.uint8), "int8": random.randint(0, 256, (6, 36)).astype(np.uint8)}
    tensors = {"draws.delta": draws[storage]} if storage != "replay" else {}
    tensors.update({"draws.statistics": random.rand(6, 2).astype(np.float32)} if storage == "f32" else {})
    tensors.update({"references.loss": loss, "calibration.loss": random.rand(4, 6).astype(np.float32), "references.gram": gram, "references.id": np.arange(3),
                    "references.predicted": np.array([0, 1, 1]), "references.label": np.array([0, -1, 1])})
    for name in SCORES + (() if partial else CONCORDANCE):
        tensors["calibration." + name] = np.array([-0.5, 0.25, 0.25, 0.75])
    meta = {k: v for k, v in parts()[0].items() if k != "layers"}
    meta.update(kind="trace", calibration_digest="e" * 32, chains=chains, parameters=[dict(name="w", rows=3, row_length=2), dict(name="b", rows=3, row_length=1)],
                options=dict(ridge=0.1, topk=5, batch=16, drop_misclassified=False),
                trace=dict(sampler="gaussian" if storage == "replay" else "rmsprop_sgld", storage=storage, batchnorm="reestimate" if storage == "f32" else "frozen", partial=partial,
                           burn_in=4, thinning=2, minibatch=2, step_size=1e-6, gamma=1e4, nbeta=100, noise=1, decay=0.99, epsilon=0.1, parameters=None,
                           statistics=2 if storage == "f32" else 0, loss_before=0.1, loss_after=0.2, diagnosis=DIAGNOSIS))
    return meta, tensors


def checkpoint_parts(storage="f32"):
    """Of a build of such a sketch with two calibration inputs, after four of its draws."""
    tensors = trace_parts(storage)[1]
    done = {k: tensors[k][:4] for k in ("draws.delta", "draws.statistics") if k in tensors}
    if storage == "int8":
        done["draws.statistics"] = np.ones((4, 2), np.float32)
    done.update({"references.loss": tensors["references.loss"], "calibration.loss": tensors["calibration.loss"][:2]})
    if storage != "replay":
        done.update({"chain.weights": np.arange(9, dtype=np.float32), "chain.second_moment": np.ones(9, np.float32), "chain.statistics": np.ones(2, np.float32)})
    return {"format": "fattr-checkpoint", "format_version": "1", "request": "0" * 32, "chain": "1", "draw": "4", "step": "6" if storage != "replay" else "0",
            "chains": [dict(distance=0.5), dict(distance=None)]}, done


def write(name, meta, tensors, header_length=None, behind=b"", folder="sketch"):
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
    with open(os.path.join(CORPUS, folder, name + ".fattr"), "wb") as out:
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


def change(name, edit, made=parts, **where):
    meta, tensors = made()
    edit(meta, tensors)
    write(name, meta, tensors, **where)


def change_trace(name, edit):
    change("trace-" + name, edit, trace_parts)


def change_checkpoint(name, edit):
    change(name, edit, checkpoint_parts, folder="checkpoint")


def main():
    for folder in ("sketch", "checkpoint"):
        os.makedirs(os.path.join(CORPUS, folder), exist_ok=True)
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
    none = np.full(3, -1)
    for loss, classes in (("next-token", "2"), ("per-pixel", "1"), ("multi-label", "2"), ("regression", "0"), ("host", "0")):
        change(loss, lambda m, t: [m["options"].update(loss=loss), m.update(classes=classes), t.update({"references.predicted": none})])
    change("margin-of-none", lambda m, t: t.update({"references.predicted": none}))
    change("margin-of-one", lambda m, t: [m.update(classes="1"), t.update({"references.predicted": np.zeros(3, np.int64)})])
    change("regression-to-classes", lambda m, t: m["options"].update(loss="regression"))
    change("lossless", lambda m, t: m["options"].pop("loss"))
    change("unit-blocks", lambda m, t: m["options"].update(blocks="layer-unit", topk=2147483647))
    change("subset", lambda m, t: [m["options"].update(subset="class", max_forwards=1.1), t.pop("calibration.span")])
    change("subset-unknown", lambda m, t: m["options"].update(subset="some"))
    change("no-forwards", lambda m, t: m["options"].update(max_forwards=-1))
    change("moments", keep_moments)
    change_moments("no-moment", lambda m, t: t.pop("layer.2.moment_out"))
    change_moments("square-moment", lambda m, t: t.update({"layer.0.moment_in": np.eye(4)}))
    change_moments("negative-moment", lambda m, t: t.update({"layer.1.moment_out": np.array([1.0, 0.0, -1.0])}))
    change_moments("nan-moment", lambda m, t: t.update({"layer.1.moment_out": np.array([1.0, np.nan, 1.0])}))
    change_moments("random-side", lambda m, t: [m["layers"][0].update(random_in=True), t.pop("layer.0.moment_in")])
    for storage in ("replay", "f32", "bf16", "int8"):
        write("trace-" + storage, *trace_parts(storage))
        if storage != "bf16":
            write(storage, *checkpoint_parts(storage), folder="checkpoint")
    write("trace-partial", *trace_parts("bf16", partial=True))
    change_trace("uncalibrated", lambda m, t: [t.pop(name) for name in list(t) if name.startswith("calibration.")] + [m.pop("calibration_digest")])
    change_trace("no-losses", lambda m, t: t.pop("references.loss"))
    change_trace("no-calibration-losses", lambda m, t: t.pop("calibration.loss"))
    change_trace("negative-loss", lambda m, t: t.update({"references.loss": -t["references.loss"]}))
    change_trace("still", lambda m, t: t.update({"references.loss": np.ones((3, 6), np.float32), "references.gram": np.zeros((3, 3), np.float32)}))
    change_trace("wild-draws", lambda m, t: t.update({"draws.delta": np.full((6, 9), np.nan, np.float32)}))
    change_trace("few-draws", lambda m, t: t.update({"draws.delta": t["draws.delta"][:5]}))
    change_trace("same-chain", lambda m, t: m["chains"][1].update(id="0"))
    change_trace("one-draw", lambda m, t: m["chains"][1].update(draws=1))
    change_trace("no-chain", lambda m, t: m.update(chains=[]))
    change_trace("wide-weight", lambda m, t: m["parameters"][0].update(rows=2147483647, row_length=2147483647))
    change_trace("no-sampler", lambda m, t: m["trace"].update(sampler="hmc"))
    change_trace("chain-again", lambda m, t: m["trace"].update(storage="replay"))
    change_trace("more-statistics", lambda m, t: m["trace"].update(statistics=3))
    change_trace("tokens", lambda m, t: [m["options"].update(loss="next-token"), t.update({"references.predicted": none})])
    change_trace("no-kind", lambda m, t: m.update(kind="third"))
    change_checkpoint("begun", lambda m, t: [m.update(chain="0", draw="0", step="3"), t.pop("draws.delta"), t.pop("draws.statistics")])
    change_checkpoint("done", lambda m, t: [m.update(draw="6", step="9"), t.update({"draws.delta": np.ones((6, 9), np.float32), "draws.statistics": np.ones((6, 2), np.float32)})])
    change_checkpoint("newer", lambda m, t: m.update(format_version="2"))
    change_checkpoint("foreign", lambda m, t: m.update(request="1" * 32))
    change_checkpoint("third-chain", lambda m, t: m.update(chain="2"))
    change_checkpoint("other-step", lambda m, t: m.update(step="7"))
    change_checkpoint("far-step", lambda m, t: m.update(step="9223372036854775807"))
    change_checkpoint("seven-draws", lambda m, t: m.update(draw="7"))
    change_checkpoint("no-state", lambda m, t: t.pop("chain.weights"))
    change_checkpoint("wild-state", lambda m, t: t.update({"chain.second_moment": np.full(9, np.inf, np.float32)}))
    change_checkpoint("one-distance", lambda m, t: m["chains"].pop())
    write("sketch", *parts(), folder="checkpoint")


if __name__ == "__main__":
    main()
