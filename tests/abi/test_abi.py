# SPDX-License-Identifier: Apache-2.0
"""Holds the interface against the recorded one: test_abi.py BASELINE_DIR LAYOUT LIBRARY NPZ_LIBRARY [--update]

symbols.txt: every recorded function is still exported, under its version node. layout.json: every recorded constant has its value; structs that
begin with struct_size have kept their fields in place and only grown at the end; all other structs are what they were. New names are allowed: they
are recorded at the next release, with --update.
"""
import json
import pathlib
import subprocess
import sys

folder, layout, libraries = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:5]
FREE = ("FA_VERSION_MAJOR", "FA_VERSION_MINOR", "FA_VERSION_PATCH")


def symbols(library):
    """name@NODE of every exported function."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout.splitlines()
    return {parts[2].replace("@@", "@") for parts in map(str.split, lines) if len(parts) == 3 and parts[1] in "TW"}


def struct_problem(name, before, now):
    if now is None:
        return f"{name} is gone"
    (old_size, old), (size, fields) = before, now
    if fields[:len(old)] != old:
        wrong = next(a for a, b in zip(old, fields + [None] * len(old)) if a != b)
        return f"{name}.{wrong[0]} was at offset {wrong[1]}, {wrong[2]} bytes of kind {wrong[3]}; it no longer is"
    if old[0][0] != "struct_size" and (size, fields) != (old_size, old):
        return f"{name} has no struct_size and may not grow"
    return f"{name} shrank" if size < old_size else None


have_symbols = set().union(*map(symbols, libraries))
have = json.loads(subprocess.run([layout], check=True, capture_output=True).stdout)
if sys.argv[5:] == ["--update"]:
    (folder / "symbols.txt").write_text("\n".join(sorted(have_symbols)) + "\n")
    for name in FREE:
        del have["constants"][name]
    parts = [f'"{part}": {{\n' + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(have[part].items())) + "\n}" for part in ("structs", "constants")]
    (folder / "layout.json").write_text("{" + ",\n".join(parts) + "}\n")
    sys.exit(0)

recorded_symbols = set((folder / "symbols.txt").read_text().split())
recorded = json.loads((folder / "layout.json").read_text())
assert recorded_symbols and recorded["structs"] and recorded["constants"], "the baseline is empty"
problems = [f"no longer exported: {s}" for s in sorted(recorded_symbols - have_symbols)]
problems += filter(None, (struct_problem(n, s, have["structs"].get(n)) for n, s in recorded["structs"].items()))
problems += [f"{n} was {v}, now {have['constants'].get(n)}" for n, v in recorded["constants"].items() if have["constants"].get(n) != v]
new = sorted(have_symbols - recorded_symbols) + sorted(set(have["structs"]) - set(recorded["structs"])) + sorted(set(have["constants"]) - set(recorded["constants"]) - set(FREE))
print("\n".join(problems) or f"{len(recorded_symbols)} functions, {len(recorded['structs'])} structs, {len(recorded['constants'])} constants as recorded")
if new:
    print("new since then:", ", ".join(new))
sys.exit(bool(problems))
