/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/array.h"

#include "base/error.h"
#include "base/half.h"

#include <math.h>
#include <string.h>

size_t fa_dtype_size(int32_t dtype)
{
    switch (dtype) {
    case FA_UINT8:
    case FA_INT8:
    case FA_BOOL: return 1;
    case FA_UINT16:
    case FA_INT16:
    case FA_FLOAT16:
    case FA_BFLOAT16: return 2;
    case FA_FLOAT32:
    case FA_INT32:
    case FA_UINT32: return 4;
    case FA_FLOAT64:
    case FA_INT64:
    case FA_UINT64: return 8;
    default: return 0;
    }
}

fa_status fa_array_check(const fa_array *a, const char *what, int64_t *count)
{
    fa_view v;
    if (!fa_dtype_size(a->dtype)) return fa_fail(FA_ERR_DTYPE, "%s: element type %d is none of FA_FLOAT32, ...", what, a->dtype);
    if (a->ndim < 0 || a->ndim > FA_MAX_DIMS) return fa_fail(FA_ERR_SHAPE, "%s: %d dimensions; 0 to %d are allowed", what, a->ndim, FA_MAX_DIMS);
    if (a->ndim && !a->shape) return fa_fail(FA_ERR_ARGUMENT, "%s: 'shape' is NULL", what);
    for (int32_t i = 0; i < a->ndim; i++)
        if (a->shape[i] < 0) return fa_fail(FA_ERR_SHAPE, "%s: dimension %d is %lld", what, i, (long long)a->shape[i]);
    if (!fa_view_set_shape(&v, a->ndim, a->shape)) return fa_fail(FA_ERR_LIMIT, "%s: more than 2^40 elements", what);
    if (v.count && !a->data) return fa_fail(FA_ERR_ARGUMENT, "%s: 'data' is NULL", what);
    *count = v.count;
    return FA_OK;
}

/* One loop per element type: `EXPR` of element `v`. */
#define EACH(type, EXPR)                                                                                                                                 \
    do {                                                                                                                                                 \
        const type *p = (const type *)a->data + first;                                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                                                                                \
            type v = p[i];                                                                                                                               \
            EXPR;                                                                                                                                        \
        }                                                                                                                                                \
    } while (0)

/* Where the first block begins that may hold an element that is not finite: without branches inside a block, which every input of every pass goes through. */
static int64_t skip_finite(const float *p, int64_t n)
{
    enum { BLOCK = 64 };
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        uint32_t bits[BLOCK], any = 0;
        memcpy(bits, p + i, sizeof bits);
        for (int k = 0; k < BLOCK; k++) any |= (bits[k] & 0x7F800000u) == 0x7F800000u;
        if (any) break;
    }
    return i;
}

int64_t fa_array_not_finite(const fa_array *a, int64_t first, int64_t n)
{
    const int64_t begin = a->dtype == FA_FLOAT32 && n ? skip_finite((const float *)a->data + first, n) : 0;
    first += begin;
    n -= begin;
    switch (a->dtype) {
    case FA_FLOAT32: EACH(float, if (!isfinite(v)) return first + i); break;
    case FA_FLOAT64: EACH(double, if (!isfinite((float)v)) return first + i); break;
    case FA_FLOAT16: EACH(uint16_t, if ((v & 0x7C00) == 0x7C00) return first + i); break;
    case FA_BFLOAT16: EACH(uint16_t, if ((v & 0x7F80) == 0x7F80) return first + i); break;
    default: break;
    }
    return -1;
}

void fa_array_to_float(const fa_array *a, int64_t first, int64_t n, float *out)
{
    switch (a->dtype) {
    case FA_FLOAT32:
        if (n) memcpy(out, (const float *)a->data + first, (size_t)n * sizeof *out);
        break;
    case FA_FLOAT64: EACH(double, out[i] = (float)v); break;
    case FA_FLOAT16: EACH(uint16_t, out[i] = fa_float_from_half(v)); break;
    case FA_BFLOAT16: EACH(uint16_t, out[i] = fa_float_from_bfloat16(v)); break;
    case FA_BOOL: EACH(uint8_t, out[i] = v != 0); break;
    case FA_UINT8: EACH(uint8_t, out[i] = (float)v); break;
    case FA_INT8: EACH(int8_t, out[i] = (float)v); break;
    case FA_UINT16: EACH(uint16_t, out[i] = (float)v); break;
    case FA_INT16: EACH(int16_t, out[i] = (float)v); break;
    case FA_UINT32: EACH(uint32_t, out[i] = (float)v); break;
    case FA_INT32: EACH(int32_t, out[i] = (float)v); break;
    case FA_UINT64: EACH(uint64_t, out[i] = (float)v); break;
    case FA_INT64: EACH(int64_t, out[i] = (float)v); break;
    default: break;
    }
}

void fa_array_to_int64(const fa_array *a, int64_t first, int64_t n, int64_t *out)
{
    switch (a->dtype) {
    case FA_BOOL: EACH(uint8_t, out[i] = v != 0); break;
    case FA_UINT8: EACH(uint8_t, out[i] = v); break;
    case FA_INT8: EACH(int8_t, out[i] = v); break;
    case FA_UINT16: EACH(uint16_t, out[i] = v); break;
    case FA_INT16: EACH(int16_t, out[i] = v); break;
    case FA_UINT32: EACH(uint32_t, out[i] = v); break;
    case FA_INT32: EACH(int32_t, out[i] = v); break;
    case FA_UINT64: EACH(uint64_t, out[i] = (int64_t)v); break;
    case FA_INT64: EACH(int64_t, out[i] = v); break;
    default: break;
    }
}
