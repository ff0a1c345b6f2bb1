#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/mechanisms/ and monitor/: from the file `sound` of each, which the library wrote, relatives that each break one rule of
docs/mechanisms.md while their checksums fit. The same bytes every time; standard library and NumPy."""
import json
import os
import struct
import sys

import numpy as np

sys.dont_write_bytecode = True
from read_sketch import xxh3  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "fuzz", "corpus")
TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
NAMES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def read(path):
    with open(path, "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    meta = {k: v for k, v in header.pop("__metadata__").items() if "checksum" not in k}
    tensors = {}
    for name, t in header.items():
        begin, end = t["data_offsets"]
        if not name.startswith("pad."):
            tensors[name] = np.frombuffer(data[8 + n + begin:8 + n + end], TYPES[t["dtype"]]).reshape(t["shape"]).copy()
    return meta, tensors


def write(path, meta, tensors):
    data, header = b"", {}
    for i, (key, value) in enumerate(tensors.items()):
        gap = -len(data) % 64
        if gap:
            header["pad.%d" % i] = dict(dtype="U8", shape=[gap], data_offsets=[len(data), len(data) + gap])
            data += bytes(gap)
        header[key] = dict(dtype=NAMES[value.dtype.name], shape=list(value.shape), data_offsets=[len(data), len(data) + value.nbytes])
        data += value.tobytes()
    meta = dict(meta, checksums=json.dumps({k: "%016x" % xxh3(v.tobytes()) for k, v in tensors.items()}, separators=(",", ":")), header_checksum="0" * 16)
    text = json.dumps(dict(__metadata__=meta, **header), separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    text = text.replace(b'"header_checksum":"' + b"0" * 16, b'"header_checksum":"%016x' % xxh3(text), 1)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + data)


def relatives(kind, edits):
    for name, edit in edits.items():
        meta, tensors = read(os.path.join(FOLDER, kind, "sound"))
        edit(meta, tensors)
        write(os.path.join(FOLDER, kind, name), meta, tensors)


def main():
    relatives("mechanisms", {
        "newer": lambda m, t: m.update(format_version="2"),
        "other-format": lambda m, t: m.update(format="fattr-sketch"),
        "other-sketch": lambda m, t: m.update(sketch_digest="0" * 32),
        "no-groups": lambda m, t: (m.update(groups="0"), t.clear()),
        "more-groups": lambda m, t: m.update(groups="9223372036854775807"),
        "negative-groups": lambda m, t: m.update(groups="-1"),
        "no-count": lambda m, t: t.pop("groups.count"),
        "zero-count": lambda m, t: t["groups.count"].__setitem__(0, 0),
        "large-count": lambda m, t: t["groups.count"].__setitem__(0, 1 << 62),
        "long-name": lambda m, t: t["groups.name"].__setitem__(1, 1 << 48),
        "long-sum": lambda m, t: t["groups.sum"].__setitem__((0, 0), 1e30),
        "nan-sum": lambda m, t: t["groups.sum"].__setitem__((0, 0), np.nan),
        "zero-sum": lambda m, t: t["groups.sum"].__setitem__(0, 0),
        "narrow-sum": lambda m, t: t.update({"groups.sum": t["groups.sum"][:, 1:].copy()}),
        "wrong-cut": lambda m, t: m.update(linkage="nan"),
        "no-likeness": lambda m, t: m.pop("likeness"),
    })
    relatives("monitor", {
        "newer": lambda m, t: m.update(format_version="2"),
        "other-format": lambda m, t: m.update(format="fattr-mechanisms"),
        "no-wealth": lambda m, t: t.clear(),
        "nan-wealth": lambda m, t: t["monitor.wealth"].__setitem__(0, np.nan),
        "negative-wealth": lambda m, t: t["monitor.wealth"].__setitem__(0, -1),
        "rich": lambda m, t: t["monitor.wealth"].__setitem__(slice(None), 1e280),
        "few-bets": lambda m, t: t.update({"monitor.wealth": t["monitor.wealth"][1:].copy()}),
        "late-alarm": lambda m, t: m.update(alarm_at="1000000"),
        "old": lambda m, t: m.update(count="4611686018427387903"),
        "many-calibrated": lambda m, t: m.update(calibration_count="1099511627776"),
        "sure": lambda m, t: m.update(false_alarm="1"),
    })


if __name__ == "__main__":
    main()
