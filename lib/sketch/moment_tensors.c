/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/moment_tensors.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEADER_TENSOR_BYTES 150 /* of the header, with padding and checksum: for estimates */

static const char *const sides[2] = {"in", "out"};

void fa_list_moments(const fa_sketch_body *b, fa_st_tensor *list, int32_t *count)
{
    char name[FA_ST_NAME];
    for (int32_t i = 0; b->options.keep_moments && i < b->n_layer + b->n_dropped; i++)
        for (int e = 0; e < 2; e++) {
            const fa_sketch_layer *l = &b->layer[i];
            if (!l->moment[e]) continue;
            snprintf(name, sizeof name, "layer.%d.moment_%s", i, sides[e]);
            fa_st_add(list, count, name, FA_ST_F64, fa_layer_moment(l, e), 0, l->moment[e]);
        }
}

/* Sums of squares lie on the diagonal. What lies beside it the eigensolver takes as it comes, as long as it is finite. */
static fa_status check(const char *name, const double *lower, int64_t count)
{
    for (int64_t k = 0, diagonal = 0, row = 0; k < count; k++) {
        bool bad = !isfinite(lower[k]);
        if (k == diagonal) {
            bad = bad || lower[k] < 0;
            diagonal += ++row + 1;
        }
        if (bad) return fa_fail(FA_ERR_FORMAT, "tensor '%s': element %lld is out of range", name, (long long)k);
    }
    return FA_OK;
}

fa_status fa_read_moments(fa_st_file *f, fa_sketch_body *b)
{
    char name[FA_ST_NAME];
    for (int32_t i = 0; b->options.keep_moments && i < b->n_layer + b->n_dropped; i++)
        for (int e = 0; e < 2; e++) {
            const fa_st_tensor *t;
            fa_sketch_layer *l = &b->layer[i];
            int64_t n = fa_layer_moment(l, e);
            if (!n) continue;
            snprintf(name, sizeof name, "layer.%d.moment_%s", i, sides[e]);
            FA_TRY(fa_st_expect(f, name, FA_ST_F64, n, 0, &t));
            double *lower = fa_arena_new(&b->arena, t->size);
            if (!lower) return FA_ERR_MEMORY;
            memcpy(lower, t->data, t->size);
            FA_TRY(check(name, lower, n));
            l->moment[e] = lower;
        }
    return FA_OK;
}

size_t fa_moments_file_bytes(const fa_sketch_body *b)
{
    size_t size = 0;
    for (int32_t i = 0; b->options.keep_moments && i < b->n_layer + b->n_dropped; i++)
        for (int e = 0; e < 2; e++) {
            size_t n = (size_t)fa_layer_moment(&b->layer[i], e);
            if (n) size += HEADER_TENSOR_BYTES + (n * sizeof(double) + FA_ST_ALIGN - 1) / FA_ST_ALIGN * FA_ST_ALIGN;
        }
    return size;
}
