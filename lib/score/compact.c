/* SPDX-License-Identifier: Apache-2.0 */
#include "score/compact.h"

#include "base/half.h"

#include <fattr/score.h>
#include <math.h>

void fa_compact_destroy(fa_context *context, fa_compact *o)
{
    if (!o) return;
    fa_delete(context, (void *)(uintptr_t)o->bf16);
    fa_delete(context, (void *)(uintptr_t)o->i8);
    fa_delete(context, (void *)(uintptr_t)o->scale);
    fa_delete(context, o);
}

/* A block as integers. Returns what they are multiplied by. */
static float integers(const float *x, int64_t n, int8_t *out)
{
    float largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(x[i]));
    const float to = largest > 0 ? 127 / largest : 0;
    for (int64_t i = 0; i < n; i++) out[i] = (int8_t)lrintf(x[i] * to);
    return largest / 127;
}

static fa_status fill(fa_context *context, const fa_space *s, const fa_rows *r, fa_compact *o)
{
    const int64_t length = s->offset[s->n_layer], all = r->n * length;
    if (o->format == FA_SIGNATURES_BF16) {
        uint16_t *to = fa_new_array(context, (size_t)all, sizeof *to);
        if (!(o->bf16 = to)) return FA_ERR_MEMORY;
        for (int64_t i = 0; i < all; i++) to[i] = fa_bfloat16_from_float(r->block[i]);
        return FA_OK;
    }
    int8_t *to = fa_new_array(context, (size_t)all, sizeof *to);
    if (!(o->i8 = to)) return FA_ERR_MEMORY;
    float *scale = fa_new_array(context, (size_t)(r->n * s->n_layer), sizeof *scale);
    if (!(o->scale = scale)) return FA_ERR_MEMORY;
    for (int64_t j = 0; j < r->n; j++)
        for (int32_t l = 0; l < s->n_layer; l++) {
            const int64_t at = j * length + s->offset[l];
            scale[j * s->n_layer + l] = integers(r->block + at, s->offset[l + 1] - s->offset[l], to + at);
        }
    return FA_OK;
}

fa_status fa_compact_create(fa_context *context, const fa_space *space, const fa_rows *rows, int32_t format, fa_compact **out)
{
    fa_compact *o = fa_new(context, sizeof *o);
    if (!o) return FA_ERR_MEMORY;
    o->format = format;
    fa_status status = fill(context, space, rows, o);
    if (status != FA_OK) {
        fa_compact_destroy(context, o);
        return status;
    }
    *out = o;
    return FA_OK;
}
