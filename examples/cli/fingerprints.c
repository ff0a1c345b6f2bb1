/* SPDX-License-Identifier: Apache-2.0 */
#include "fingerprints.h"

#include <stdlib.h>
#include <string.h>

int fingerprints_create(const fa_mechanisms *mechanisms, int64_t n, fingerprints *out)
{
    fingerprints f = {.mechanisms = mechanisms, .n = n};
    f.row = calloc((size_t)n + 1, sizeof *f.row);
    f.group = calloc((size_t)n + 1, sizeof *f.group);
    if (!f.row || !f.group) {
        fingerprints_destroy(&f);
        return say_error("out of memory");
    }
    *out = f;
    return EXIT_DONE;
}

void fingerprints_destroy(fingerprints *f)
{
    for (int64_t i = 0; f->row && i < f->n; i++) free(f->row[i]);
    free(f->row);
    free(f->group);
    *f = (fingerprints){NULL};
}

bool fingerprints_take(void *user, int64_t i, const fa_result *r)
{
    fingerprints *f = user;
    if (r->flagged != 1) return true;
    f->row[i] = calloc((size_t)fa_mechanisms_fingerprint_length(f->mechanisms), sizeof(float));
    return f->row[i] && fa_mechanisms_fingerprint(f->mechanisms, r->residual, f->row[i]) == FA_OK;
}

int fingerprints_group(fingerprints *f, fa_mechanisms **known)
{
    size_t length = (size_t)fa_mechanisms_fingerprint_length(f->mechanisms), flagged = 0, cells;
    for (int64_t i = 0; i < f->n; i++) flagged += f->row[i] != NULL;
    if (__builtin_mul_overflow(flagged, length, &cells)) return say_error("out of memory");
    float *all = calloc(cells + 1, sizeof *all);
    int64_t *group = calloc(flagged + 1, sizeof *group), at = 0;
    int code = all && group ? EXIT_DONE : say_error("out of memory");
    for (int64_t i = 0; code == EXIT_DONE && i < f->n; i++) {
        if (!f->row[i]) continue;
        memcpy(all + (size_t)at++ * length, f->row[i], length * sizeof *all);
    }
    if (code == EXIT_DONE && fa_mechanisms_group(f->mechanisms, all, (int64_t)flagged, group, known) != FA_OK) code = say_failure();
    at = 0;
    for (int64_t i = 0; code == EXIT_DONE && i < f->n; i++) f->group[i] = f->row[i] ? group[at++] : -1;
    free(all);
    free(group);
    return code;
}
