# SPDX-License-Identifier: Apache-2.0
"""Writes a C file that defines what the public headers declare, and nothing else: interface.py OUT.c HEADERS_DIR HEADER...

Compiled with debug information it shows abidw exactly the promised interface, whatever the build's options: private types never enter, and the
library cannot differ from its headers, since it is compiled with them.
"""
import pathlib
import re
import sys

out, folder, headers = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
lines = []
for header in headers:
    text = re.sub(r"/\*.*?\*/", "", (folder / header).read_text(encoding="utf-8"), flags=re.S)
    lines.append(f"#include <fattr/{header}>")
    lines += [" ".join(d.split()) + " { __builtin_trap(); }" for d in re.findall(r"^FA_API ([^;]+);", text, flags=re.M)]
pathlib.Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")
