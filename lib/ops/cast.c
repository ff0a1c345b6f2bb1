/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * Cast and CastLike. Reals become integers by truncation and wrap to the declared type (outside of int64: its nearest end; NaN: 0). Casting to
 * float16 or bfloat16 rounds the values, to nearest, ties to even; their gradient passes as if it did not.
 */

static fa_status to_dtype(fa_op_setup *s, int32_t to)
{
    const fa_view *x = s->in[0];
    if (strcmp(fa_dtype_name(to), "unknown") == 0) return fa_fail(FA_ERR_UNSUPPORTED, "a cast to element type %d", to);
    return FA_R(fa_op_set)(&s->out[0], to, x->ndim, x->dim);
}

static fa_status cast_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_attr *to = fa_node_attr(s->node, "to");
    if (to && to->kind == FA_ATTR_STRING) { /* up to operator set 5: "FLOAT", "INT64" */
        static const struct {
            const char *name;
            int32_t dtype;
        } types[] = {{"FLOAT", FA_FLOAT32}, {"UINT8", FA_UINT8}, {"INT8", FA_INT8}, {"UINT16", FA_UINT16}, {"INT16", FA_INT16}, {"INT32", FA_INT32},
                     {"INT64", FA_INT64}, {"BOOL", FA_BOOL}, {"FLOAT16", FA_FLOAT16}, {"DOUBLE", FA_FLOAT64}, {"UINT32", FA_UINT32}, {"UINT64", FA_UINT64}};
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (strcmp(to->s, types[i].name) == 0) return to_dtype(s, types[i].dtype);
        return fa_fail(FA_ERR_UNSUPPORTED, "a cast to '%s'", to->s);
    }
    int64_t dtype = fa_node_int(s->node, "to", 0);
    return to_dtype(s, dtype > 0 && dtype < 1000 ? (int32_t)dtype : 0);
}

static fa_status like_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    return to_dtype(s, s->in[1]->dtype);
}

/* `v` with `bits` bits of significand and exponents from `least` on (below: multiples of the smallest number); infinite beyond `most`. */
static fa_real round_to(fa_real v, int bits, int least, double most)
{
    int e;
    if (!isfinite(v) || v == 0) return v;
    FA_MATH(frexp)(v, &e); /* v is below 2 to the e */
    int last = e - bits < least ? least : e - bits;
    double r = ldexp(nearbyint(ldexp((double)v, -last)), last);
    return fabs(r) > most ? (fa_real)copysign(INFINITY, r) : (fa_real)r;
}

static int64_t real_to_int(fa_real v, int32_t dtype)
{
    if (dtype == FA_BOOL) return v != 0;
    if (isnan(v)) return 0;
    if (dtype == FA_UINT64 && v >= (fa_real)9223372036854775808.0)
        return v < (fa_real)18446744073709551616.0 ? (int64_t)(uint64_t)v : -1; /* the bits of the largest uint64 */
    if (v >= (fa_real)9223372036854775808.0) return FA_R(fa_op_wrap)(INT64_MAX, dtype);
    if (v <= (fa_real)-9223372036854775808.0) return FA_R(fa_op_wrap)(INT64_MIN, dtype);
    return FA_R(fa_op_wrap)((int64_t)v, dtype);
}

static void forward(const fa_op_call *c)
{
    const int32_t from = c->in[0]->dtype, to = c->out[0]->dtype;
    const int64_t n = c->in[0]->count;
    const fa_real *xr = c->in[0]->data;
    const int64_t *xi = c->in[0]->data;
    fa_real *yr = c->out[0]->data;
    int64_t *yi = c->out[0]->data;
    if (!fa_dtype_is_real(to)) {
        if (fa_dtype_is_real(from)) for (int64_t i = 0; i < n; i++) yi[i] = real_to_int(xr[i], to);
        else for (int64_t i = 0; i < n; i++) yi[i] = FA_R(fa_op_wrap)(xi[i], to);
        return;
    }
    if (fa_dtype_is_real(from)) for (int64_t i = 0; i < n; i++) yr[i] = xr[i];
    else if (from == FA_UINT64) for (int64_t i = 0; i < n; i++) yr[i] = (fa_real)(uint64_t)xi[i];
    else for (int64_t i = 0; i < n; i++) yr[i] = (fa_real)xi[i];
    if (to == FA_FLOAT16) for (int64_t i = 0; i < n; i++) yr[i] = round_to(yr[i], 11, -24, 65504);
    if (to == FA_BFLOAT16) for (int64_t i = 0; i < n; i++) yr[i] = round_to(yr[i], 8, -133, 3.3895313892515355e38);
}

static void backward(const fa_op_call *c)
{
    if (c->grad_in[0]) FA_R(fa_op_pass)(c->in[0]->count, c->grad_in[0], c->grad_out[0], c->accumulate[0]);
    if (c->n_in > 1 && c->grad_in[1] && !c->accumulate[1]) memset(c->grad_in[1], 0, (size_t)c->in[1]->count * sizeof(fa_real));
}

const fa_op FA_R(fa_ops_cast)[] = {
    {"Cast", "", 1, FA_OPSET_ANY, FA_OP_OVERWRITES, 0, 0, cast_prepare, forward, backward},
    {"CastLike", "", 15, FA_OPSET_ANY, FA_OP_OVERWRITES, 0, 0, like_prepare, forward, backward},
    {NULL},
};
