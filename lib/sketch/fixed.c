/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/fixed.h"

#include "base/error.h"
#include "kernels/fixed.h"
#include "sketch/sketch.h"

#include <fattr/score.h>
#include <math.h>

void fa_fixed_destroy(fa_fixed *o)
{
    if (!o) return;
    fa_delete(o->context, o->piece);
    fa_delete(o->context, o->offset);
    fa_delete(o->context, o->i16);
    fa_delete(o->context, o->i8);
    fa_delete(o->context, o->plain);
    fa_delete(o->context, o->unit);
    fa_delete(o->context, o);
}

void fa_fixed_sizes(int32_t n_layer, const int64_t *offset, int64_t *pieces, int64_t *length)
{
    *pieces = *length = 0;
    for (int32_t l = 0; l < n_layer; l++) {
        *pieces += (offset[l + 1] - offset[l] + FA_FIXED_PIECE - 1) / FA_FIXED_PIECE;
        *length += fa_fixed_round(offset[l + 1] - offset[l]);
    }
}

size_t fa_fixed_bytes(int32_t n_layer, const int64_t *offset, int64_t n, int32_t format)
{
    int64_t pieces, length;
    fa_fixed_sizes(n_layer, offset, &pieces, &length);
    const size_t row = (size_t)(length * (format == FA_SIGNATURES_INT8 ? 1 : 2)) + 2 * (size_t)pieces * sizeof(float);
    return sizeof(fa_fixed) + (size_t)n * row + (size_t)pieces * (sizeof(fa_fixed_piece) + sizeof(int64_t)) + 7 * FA_ALIGN;
}

static fa_status cut(fa_fixed *o, int32_t n_layer, const int64_t *offset)
{
    int64_t pieces, length;
    fa_fixed_sizes(n_layer, offset, &pieces, &length);
    if (!(o->piece = fa_new_array(o->context, (size_t)pieces, sizeof *o->piece)) || !(o->offset = fa_new_array(o->context, (size_t)pieces + 1, sizeof *o->offset))) return FA_ERR_MEMORY;
    for (int32_t l = 0; l < n_layer; l++)
        for (int64_t from = offset[l]; from < offset[l + 1]; from += FA_FIXED_PIECE) {
            fa_fixed_piece *p = &o->piece[o->pieces];
            *p = (fa_fixed_piece){.layer = l, .length = offset[l + 1] - from < FA_FIXED_PIECE ? (int32_t)(offset[l + 1] - from) : FA_FIXED_PIECE, .from = from};
            o->offset[o->pieces + 1] = o->offset[o->pieces] + fa_fixed_round(p->length);
            o->pieces++;
        }
    return FA_OK;
}

static fa_status fill(fa_fixed *o, int32_t n_layer, const int64_t *offset, int64_t n, const float *block, const float *share, const float *tau)
{
    const fa_fixed_kernels *k = fa_fixed_kernels_for(FA_KERNELS_FAST);
    FA_TRY(cut(o, n_layer, offset));
    const size_t pieces = (size_t)o->pieces, rows = (size_t)n, all = rows * (size_t)o->offset[pieces];
    const bool small = o->format == FA_SIGNATURES_INT8;
    o->plain = fa_new_array(o->context, rows * pieces, sizeof *o->plain);
    o->unit = fa_new_array(o->context, rows * pieces, sizeof *o->unit);
    if (small) o->i8 = fa_new_array(o->context, all, sizeof *o->i8);
    else o->i16 = fa_new_array(o->context, all, sizeof *o->i16);
    if (!o->plain || !o->unit || !(small ? (void *)o->i8 : (void *)o->i16)) return FA_ERR_MEMORY;
    for (int64_t j = 0; j < n; j++)
        for (int32_t p = 0; p < o->pieces; p++) {
            const fa_fixed_piece *piece = &o->piece[p];
            const float *x = block + j * offset[n_layer] + piece->from;
            const int64_t at = j * o->offset[o->pieces] + o->offset[p], i = j * o->pieces + p;
            const float scale = k->scale(piece->length, x, small ? INT8_MAX : INT16_MAX);
            if (!small) k->write(piece->length, x, scale, o->i16 + at);
            for (int64_t e = 0; small && e < piece->length; e++) o->i8[at + e] = (int8_t)lrintf(x[e] * scale);
            o->plain[i] = share[j * n_layer + piece->layer] / scale;
            o->unit[i] = tau[j] / scale;
        }
    return FA_OK;
}

fa_status fa_fixed_create(fa_context *context, int32_t n_layer, const int64_t *offset, int64_t n, const float *block, const float *share, const float *tau, int32_t format, fa_fixed **out)
{
    fa_fixed *o = fa_new(context, sizeof *o);
    if (!o) return FA_ERR_MEMORY;
    *o = (fa_fixed){.context = context, .format = format};
    fa_status status = fill(o, n_layer, offset, n, block, share, tau);
    if (status != FA_OK) {
        fa_fixed_destroy(o);
        return status;
    }
    *out = o;
    return FA_OK;
}

fa_status fa_body_fixed(fa_sketch_body *b, int32_t format, const fa_fixed **out)
{
    _Atomic(fa_fixed *) *place = format == FA_SIGNATURES_INT8 ? &b->int8 : &b->int16;
    fa_fixed *o = atomic_load_explicit(place, memory_order_acquire), *there = NULL;
    if (!o) {
        FA_TRY(fa_fixed_create(b->arena.context, b->n_layer, b->offset, b->n_reference, b->blocks, b->share, b->tau, format, &o));
        if (!atomic_compare_exchange_strong_explicit(place, &there, o, memory_order_acq_rel, memory_order_acquire)) { /* another thread was first */
            fa_fixed_destroy(o);
            o = there;
        }
    }
    *out = o;
    return FA_OK;
}
