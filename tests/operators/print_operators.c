/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/operators.md from the table of operators, or with a file's name compares: the page cannot lag behind the code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/table.h"

typedef struct row {
    const char *name;
    int32_t since, until;
    bool gradient;
} row;

static int by_name(const void *a, const void *b)
{
    const row *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : x->since - y->since;
}

static size_t collect(row *rows, size_t room)
{
    size_t n = 0;
    for (const fa_op *const *family = fa_op_table_f32.families; *family; family++)
        for (const fa_op *op = *family; op->name && n < room; op++)
            if (!op->domain[0]) rows[n++] = (row){op->name, op->since, op->until, op->backward != NULL};
    qsort(rows, n, sizeof *rows, by_name);
    size_t merged = 0; /* entries of one operator whose versions follow each other are one line */
    for (size_t i = 0; i < n; i++) {
        row *last = merged ? &rows[merged - 1] : NULL;
        if (last && strcmp(last->name, rows[i].name) == 0 && last->gradient == rows[i].gradient && rows[i].since <= last->until + 1) {
            if (rows[i].until > last->until) last->until = rows[i].until;
        } else {
            rows[merged++] = rows[i];
        }
    }
    return merged;
}

static void print(FILE *out)
{
    static row rows[1024];
    size_t n = collect(rows, sizeof rows / sizeof rows[0]);
    fprintf(out, "# Operators\n\nGenerated from the code by `tests/operators`; a test compares. Versions are those of ONNX's default operator set; \"on\" means that newer\n"
                 "sets are taken too, since the operator's meaning has not changed. Gradients are checked by finite differences in double precision.\n\n"
                 "| operator | versions | gradient |\n|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "| %s | %d ", rows[i].name, rows[i].since);
        if (rows[i].until == FA_OPSET_ANY) fprintf(out, "on");
        else fprintf(out, "to %d", rows[i].until);
        fprintf(out, " | %s |\n", rows[i].gradient ? "yes" : "-");
    }
    fprintf(out, "\nIf (1 on), Loop (1 on) and Scan (9 on) are unrolled: their bodies are copied into the graph around them where the branch or the number of\n"
                 "rounds is known beforehand, from initialisers when a model is loaded, from shapes and bound inputs when it is planned. Layers in what\n"
                 "initialisers decide are layers of the model. RoiAlign gives no gradient to its regions, as usual.\n");
    fprintf(out, "\n%zu rows. A model that needs more gets one error that lists every node without an operator.\n", n);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print(stdout);
        return 0;
    }
    char *have = calloc(1, 1 << 20), *want = calloc(1, 1 << 20);
    FILE *f = fopen(argv[1], "rb"), *m = have && want ? fmemopen(want, (1 << 20) - 1, "w") : NULL;
    if (!f || !m) return 2;
    size_t n = fread(have, 1, (1 << 20) - 1, f);
    fclose(f);
    print(m);
    fclose(m);
    int differ = strlen(want) != n || memcmp(have, want, n) != 0;
    if (differ) printf("%s is not what the code says: write it anew with %s > %s\n", argv[1], argv[0], argv[1]);
    free(have);
    free(want);
    return differ;
}
