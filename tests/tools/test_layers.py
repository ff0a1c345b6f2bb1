# SPDX-License-Identifier: Apache-2.0
"""Includes between the modules of lib/ go one way, and each library that serves us is included in one module alone."""
import pathlib
import re
import sys

ALLOWED = {
    "base": set(),
    "graph": {"base"},
    "onnx": {"base", "graph"},
    "ops": {"base", "graph"},
    "kernels": {"base"},
    "sampler": {"base", "kernels"},
    "backend": {"base", "graph", "ops", "kernels"},
    "sketch": {"base", "graph", "kernels", "sampler", "backend"},
    "score": {"base", "graph", "kernels", "sampler", "backend", "sketch"},
    "mechanism": {"base", "kernels", "sketch", "score"},
    "monitor": {"base", "sketch"},
    "api": {"base", "graph", "onnx", "ops", "kernels", "sampler", "backend", "sketch", "score", "mechanism", "monitor"},
    "npz": set(),
}
HOMES = {"blis": "kernels", "protobuf-c": "onnx", "onnx.pb-c": "onnx", "zip.h": "npz", "xxhash": "base"}

root = pathlib.Path(sys.argv[1]) / "lib"
wrong = []
files = sorted(root.glob("*/*.[ch]"))
for file in files:
    module = file.parent.name
    for number, line in enumerate(file.read_text().splitlines(), 1):
        quoted = re.match(r'\s*#\s*include\s+"(\w+)/', line)
        if quoted and quoted[1] != module and quoted[1] in ALLOWED and quoted[1] not in ALLOWED[module]:
            wrong.append(f"{file}:{number}: {module} may not include {quoted[1]}")
        for library, home in HOMES.items():
            if re.match(rf'\s*#\s*include\s+[<"].*{re.escape(library)}', line) and module != home:
                wrong.append(f"{file}:{number}: {library} belongs to {home} alone")
if not files:
    wrong.append(f"no sources under {root}")
print("\n".join(wrong) or f"{len(files)} files keep the order")
sys.exit(bool(wrong))
