# SPDX-License-Identifier: Apache-2.0
"""Writes a C program that prints how the compiler lays out every public struct, and the value of every public constant, as JSON.

python3 layout.py OUT.c HEADER...
"""

import re
import sys

STRUCT = re.compile(r"typedef struct (\w+) \{(.*?)\n\} \1;", re.S)
CONSTANT = re.compile(r"^#define (FA_\w+)[ \t]+\(?-?\d", re.M)

PROGRAM = """#include <fattr/fattr.h>
#include <stdio.h>

#define KIND(v) _Generic((v), double: "d", float: "f", uint8_t: "u1", int32_t: "i4", uint32_t: "u4", int64_t: "i8", uint64_t: "u8", default: "p")
#define FIELD(s, f, element, end) \\
    printf("[\\"%s\\", %zu, %zu, \\"%s\\"]%s", #f, offsetof(s, f), sizeof ((s *)0)->f, KIND(((s *)0)->f element), end)

int main(void)
{
    printf("{\\"structs\\": {");
@STRUCTS@
    printf("}, \\"constants\\": {");
@CONSTANTS@
    printf("}}\\n");
    return 0;
}
"""


def fields(body):
    """(name, whether it is an array) in order."""
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    for declaration in (d.strip() for d in body.split(";")):
        callback = re.search(r"\(\*(\w+)\)", declaration)
        if callback:
            yield callback[1], False
        elif declaration:
            for declarator in declaration.split(","):
                name = re.search(r"(\w+)(\[\w*\])?$", declarator)
                yield name[1], bool(name[2])


def main(out, *headers):
    text = "".join(open(h, encoding="utf-8").read() for h in headers)
    structs = []
    for k, (name, body) in enumerate(STRUCT.findall(text)):
        structs.append(f'    printf("%s\\"{name}\\": [%zu, [", "{", " if k else ""}", sizeof({name}));')
        all_fields = list(fields(body))
        for i, (field, array) in enumerate(all_fields):
            end = ", " if i + 1 < len(all_fields) else "]]"
            structs.append(f'    FIELD({name}, {field}, {"[0]" if array else ""}, "{end}");')
    constants = [f'    printf("%s\\"{name}\\": %d", "{", " if k else ""}", (int)({name}));' for k, name in enumerate(CONSTANT.findall(text))]
    with open(out, "w", encoding="utf-8") as f:
        f.write(PROGRAM.replace("@STRUCTS@", "\n".join(structs)).replace("@CONSTANTS@", "\n".join(constants)))


if __name__ == "__main__":
    main(*sys.argv[1:])
