#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/npz/: small NumPy files that between them reach every branch of the reader. The same bytes every time."""
import io
import os
import zipfile

import numpy as np

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "npz")
EPOCH = (1980, 1, 1, 0, 0, 0)


def npy(array, version=(1, 0)):
    f = io.BytesIO()
    np.lib.format.write_array(f, np.asanyarray(array), version)
    return f.getvalue()


def archive(compression, **members):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", compression) as z:
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo(name.replace("__", "."), EPOCH), data, compression)
    return f.getvalue()


grid = np.arange(24).reshape(2, 3, 4)
FILES = {
    "float32.npy": npy(grid.astype("<f4") / 4),
    "float64-big-endian.npy": npy(grid.astype(">f8") / 4),
    "float16.npy": npy(grid.astype("<f2") / 4),
    "fortran.npy": npy(np.asfortranarray(grid.astype("<i4"))),
    "version2.npy": npy(grid.astype("<u2"), (2, 0)),
    "version3.npy": npy(grid.astype("<i2"), (3, 0)),
    "scalar.npy": npy(np.float32(2.5)),
    "empty.npy": npy(np.zeros((0, 28, 28), "<f4")),
    "bool.npy": npy(np.array([True, False, True])),
    "structured.npy": npy(np.zeros(2, [("a", "<f4"), ("b", "<i8", (2,))])),
    "text.npy": npy(np.array(["one", "two"])),
    "nine-dimensions.npy": npy(np.zeros((1,) * 9, "<f4")),
    "stored.npz": archive(zipfile.ZIP_STORED, x__npy=npy(grid.astype("<f4")), y__npy=npy(np.array([0, 1])), id__npy=npy(np.array([7, 9]))),
    "deflated.npz": archive(zipfile.ZIP_DEFLATED, x__npy=npy(np.zeros((2, 1, 28, 28), "|u1")), y__npy=npy(np.array([3, 4], "|u1")), note__txt=b"no array"),
    "bzip2.npz": archive(zipfile.ZIP_BZIP2, x__npy=npy(grid)),
    "no-members.npz": archive(zipfile.ZIP_STORED),
}

if __name__ == "__main__":
    os.makedirs(FOLDER, exist_ok=True)
    for name, data in FILES.items():
        with open(os.path.join(FOLDER, name), "wb") as f:
            f.write(data)
