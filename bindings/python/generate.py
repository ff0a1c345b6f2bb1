# SPDX-License-Identifier: Apache-2.0
"""Writes fattr/_interface.py from the public headers: generate.py HEADERS_DIR OUT.py

The file is committed, so that the package works from a checkout; a test compares it with the headers. `ninja -C build python-interface` writes it anew.
"""
import pathlib
import re
import sys


def headers(folder):
    """What fattr.h includes, as text."""
    folder = pathlib.Path(folder)
    names = re.findall(r"^#include <fattr/(\w+\.h)>", (folder / "fattr.h").read_text(encoding="utf-8"), flags=re.M)
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def declarations(text):
    """Structs, callbacks and functions of a header, each on a line of its own."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    for found in re.finditer(r"typedef struct \w+ \{.*?\} \w+;|typedef [^;{]*;|FA_API [^;]*;", text, flags=re.S):
        yield " ".join(found[0].removeprefix("FA_API ").split())


def constants(text):
    for name, value in re.findall(r"^#define (FA_\w+)[ \t]+\(?(-?\d+)\)?", text, flags=re.M):
        if not name.startswith("FA_VERSION_"):
            yield f'    "{name}": {value},'


def main(folder, out):
    texts = headers(folder)
    lines = ["# SPDX-License-Identifier: Apache-2.0", '"""The C interface as the headers have it. Written by generate.py: ninja -C build python-interface"""', "",
             'DECLARATIONS = """']
    lines += [d for text in texts for d in declarations(text)]
    lines += ['"""', "", "CONSTANTS = {"]
    lines += [c for text in texts for c in constants(text)]
    pathlib.Path(out).write_text("\n".join(lines + ["}"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
