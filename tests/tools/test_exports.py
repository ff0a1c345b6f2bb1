# SPDX-License-Identifier: Apache-2.0
"""What the libraries export: exactly the functions the public headers declare, under the version node. test_exports.py HEADERS_DIR shared|static LIBRARY [PREFIX]"""
import pathlib
import re
import subprocess
import sys

headers, kind, library = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
npz = len(sys.argv) > 4
names = [headers / "npz.h"] if npz else [h for h in headers.glob("*.h") if h.name != "npz.h"]
declared = set()
for header in names:
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
    declared |= set(re.findall(r"^FA_API[^;]*?\b(fa_\w+)\s*\(", text, flags=re.M))
lines = subprocess.run(["nm", "-D", "--defined-only", library] if kind == "shared" else ["nm", "-g", "--defined-only", library], capture_output=True, text=True, check=True)
exported, nodes = set(), set()
for line in lines.stdout.splitlines():
    parts = line.split()
    if len(parts) != 3:
        continue
    name = parts[2].split("@")[0]
    (nodes if parts[1] == "A" else exported).add(name)
problems = [f"exported but not declared: {n}" for n in sorted(exported - declared)] + [f"declared but not exported: {n}" for n in sorted(declared - exported)]
problems += [f"version node {n}" for n in nodes if not n.startswith("FATTR_")]
if kind == "shared" and not nodes:
    problems.append("no version node")
print("\n".join(problems[:40]) or f"{len(exported)} functions, as declared")
sys.exit(bool(problems) or not declared)
