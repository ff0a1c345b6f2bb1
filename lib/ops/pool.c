/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"
#include "ops/window.h"

#include <math.h>

/* A pool is a sum over windows of something; a global pool has one window per plane. Windows are walked row by row: `visit` sees the taps of a row
 * that lie inside the tensor, as `count` elements `step` apart. */
typedef struct pool {
    fa_window w;
    int64_t planes;
    bool count_pads;
    bool columns_first; /* order of the spatial axes in Indices */
    double p;
} pool;

typedef struct state {
    const fa_view *x;
    fa_real *grad;     /* at the input */
    int64_t best;      /* MaxPool: index of the largest element so far, or -1 */
    double sum, scale; /* forward: what has been added; backward: what is spread */
    double p;
} state;

typedef void (*row_fn)(state *s, int64_t first, int64_t step, int64_t count);

/* Walks window `o` of a plane that begins at element `plane`. Returns how many taps lie inside the tensor, or (count_pads) inside it and its pads. */
static int64_t walk(const pool *p, int64_t plane, const int64_t o[3], row_fn visit, state *s)
{
    const fa_window *w = &p->w;
    int64_t first[3], end[3], base[3], taps = 1;
    for (int32_t i = 0; i < 3; i++) {
        fa_window_taps(w, i, o[i], w->in[i], &first[i], &end[i]);
        base[i] = o[i] * w->stride[i] - w->pad[i];
        int64_t padded_first, padded_end = end[i] - first[i];
        if (p->count_pads) fa_window_taps(w, i, o[i], w->in[i] + w->pad_end[i], &padded_first, &padded_end);
        taps *= padded_end;
    }
    int64_t count = end[2] - first[2];
    for (int64_t a = first[0]; a < end[0] && count; a++)
        for (int64_t b = first[1]; b < end[1]; b++) {
            int64_t row = (base[0] + a * w->dilation[0]) * w->in[1] + base[1] + b * w->dilation[1];
            visit(s, plane + row * w->in[2] + base[2] + first[2] * w->dilation[2], w->dilation[2], count);
        }
    return taps;
}

typedef void (*window_fn)(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3]);

/* Every window: `at` counts them, which is the output's element order; its plane begins at input element `plane`. */
static void each_window(const fa_op_call *call, window_fn visit)
{
    const pool *p = call->params;
    const fa_window *w = &p->w;
    int64_t o[3], at = 0;
    for (int64_t plane = 0; plane < p->planes; plane++)
        for (o[0] = 0; o[0] < w->out[0]; o[0]++)
            for (o[1] = 0; o[1] < w->out[1]; o[1]++)
                for (o[2] = 0; o[2] < w->out[2]; o[2]++) visit(p, call, at++, plane * fa_window_volume(w->in), o);
}

static void largest(state *s, int64_t first, int64_t step, int64_t count)
{
    const fa_real *x = s->x->data;
    int64_t best = s->best < 0 ? first : s->best;
    for (int64_t i = first; count--; i += step)
        if (x[i] > x[best] || (isnan(x[i]) && !isnan(x[best]))) best = i;
    s->best = best;
}

static void largest_int(state *s, int64_t first, int64_t step, int64_t count)
{
    const int64_t *x = s->x->data;
    int64_t best = s->best < 0 ? first : s->best;
    for (int64_t i = first; count--; i += step)
        if (x[i] > x[best]) best = i;
    s->best = best;
}

static void sum_up(state *s, int64_t first, int64_t step, int64_t count)
{
    const fa_real *x = s->x->data;
    for (int64_t i = first; count--; i += step) s->sum += (double)x[i];
}

static void spread(state *s, int64_t first, int64_t step, int64_t count)
{
    for (int64_t i = first; count--; i += step) s->grad[i] += (fa_real)s->scale;
}

static void sum_powers(state *s, int64_t first, int64_t step, int64_t count)
{
    const fa_real *x = s->x->data;
    for (int64_t i = first; count--; i += step) s->sum += s->p == 2 ? (double)x[i] * (double)x[i] : pow(fabs((double)x[i]), s->p);
}

static void spread_powers(state *s, int64_t first, int64_t step, int64_t count)
{
    const fa_real *x = s->x->data;
    for (int64_t i = first; count--; i += step)
        if (x[i] != 0) s->grad[i] += (fa_real)(copysign(pow(fabs((double)x[i]), s->p - 1), (double)x[i]) * s->scale);
}

static fa_status keep(fa_op_setup *s, const pool *p)
{
    pool *kept = fa_arena_new(s->arena, sizeof *kept);
    if (!kept) return FA_ERR_MEMORY;
    *kept = *p;
    s->params = kept;
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s, bool ints, pool *p)
{
    const fa_view *x = s->in[0];
    int32_t auto_pad;
    if (!fa_dtype_is_real(x->dtype) && !ints) return fa_fail(FA_ERR_DTYPE, "%s of %s is not supported", s->node->op, fa_dtype_name(x->dtype));
    FA_TRY(FA_R(fa_window_auto_pad)(s->node, &auto_pad));
    FA_TRY(FA_R(fa_window_read)(s->node, x, NULL, &p->w));
    FA_TRY(FA_R(fa_window_fit)(&p->w, auto_pad, fa_node_int(s->node, "ceil_mode", 0) != 0));
    for (int32_t i = 0; i < 3; i++)
        if (p->w.pad[i] >= fa_window_reach(&p->w, i) || p->w.pad_end[i] >= fa_window_reach(&p->w, i))
            return fa_fail(FA_ERR_SHAPE, "pads are as large as the kernel");
    FA_TRY(FA_R(fa_window_shape)(&p->w, x->dim[0], x->dim[1], p->w.out, x->dtype, &s->out[0]));
    p->planes = s->out[0].count ? x->dim[0] * x->dim[1] : 0;
    return FA_OK;
}

static fa_status prepare_global(fa_op_setup *s, pool *p)
{
    const fa_view *x = s->in[0];
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "%s of %s is not supported", s->node->op, fa_dtype_name(x->dtype));
    if (x->ndim < 3) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions, at least 3 are needed", x->ndim);
    fa_window w = {.rank = 1, .in = {1, 1, 1}, .out = {1, 1, 1}, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    int64_t dim[FA_MAX_DIMS] = {x->dim[0], x->dim[1]};
    for (int32_t i = 2; i < x->ndim; i++) {
        w.in[2] *= x->dim[i];
        dim[i] = 1;
    }
    if (!w.in[2]) return fa_fail(FA_ERR_SHAPE, "a pool over no elements");
    w.kernel[2] = w.in[2];
    p->w = w;
    p->planes = x->dim[0] * x->dim[1];
    return FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim);
}

static fa_status max_prepare(fa_op_setup *s)
{
    pool p = {0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 2));
    FA_TRY(prepare(s, true, &p));
    p.columns_first = fa_node_int(s->node, "storage_order", 0) != 0;
    if (s->n_out > 1) {
        s->out[1] = s->out[0];
        s->out[1].dtype = FA_INT64;
    }
    return keep(s, &p);
}

static fa_status global_max_prepare(fa_op_setup *s)
{
    pool p = {0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(prepare_global(s, &p));
    return keep(s, &p);
}

static int64_t stored_index(const pool *p, int64_t i)
{
    const int64_t *in = p->w.in;
    int64_t volume = fa_window_volume(in), inner = i % volume;
    if (!p->columns_first || i < 0) return i;
    int64_t c = inner % in[2], b = inner / in[2] % in[1], a = inner / in[2] / in[1];
    return i - inner + a + b * in[0] + c * in[0] * in[1];
}

static bool has(const fa_op_call *call, int32_t output)
{
    return output < call->n_out && call->out[output] && call->out[output]->data;
}

static void max_of_window(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    const fa_view *x = call->in[0];
    state s = {.x = x, .best = -1};
    bool real = fa_dtype_is_real(x->dtype);
    walk(p, plane, o, real ? largest : largest_int, &s);
    if (has(call, 0) && real) ((fa_real *)call->out[0]->data)[at] = s.best < 0 ? -(fa_real)INFINITY : ((const fa_real *)x->data)[s.best];
    if (has(call, 0) && !real) ((int64_t *)call->out[0]->data)[at] = s.best < 0 ? 0 : ((const int64_t *)x->data)[s.best];
    if (has(call, 1)) ((int64_t *)call->out[1]->data)[at] = stored_index(p, s.best);
}

static void max_forward(const fa_op_call *call)
{
    each_window(call, max_of_window);
}

static void max_gradient(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    state s = {.x = call->in[0], .best = -1};
    walk(p, plane, o, largest, &s);
    if (s.best >= 0) ((fa_real *)call->grad_in[0])[s.best] += ((const fa_real *)call->grad_out[0])[at];
}

static void max_backward(const fa_op_call *call)
{
    if (call->grad_out[0] && call->grad_in[0] && fa_dtype_is_real(call->in[0]->dtype)) each_window(call, max_gradient);
}

static fa_status average_prepare(fa_op_setup *s)
{
    pool p = {.count_pads = fa_node_int(s->node, "count_include_pad", 0) != 0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(prepare(s, false, &p));
    return keep(s, &p);
}

static fa_status global_average_prepare(fa_op_setup *s)
{
    pool p = {0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(prepare_global(s, &p));
    return keep(s, &p);
}

static void average_of_window(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    state s = {.x = call->in[0]};
    int64_t taps = walk(p, plane, o, sum_up, &s);
    ((fa_real *)call->out[0]->data)[at] = taps ? (fa_real)(s.sum / (double)taps) : 0;
}

static void average_forward(const fa_op_call *call)
{
    each_window(call, average_of_window);
}

static void nothing(state *s, int64_t first, int64_t step, int64_t count)
{
    (void)s, (void)first, (void)step, (void)count;
}

static void average_gradient(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    state s = {.grad = call->grad_in[0]};
    int64_t taps = walk(p, plane, o, nothing, &s);
    if (!taps) return;
    s.scale = (double)((const fa_real *)call->grad_out[0])[at] / (double)taps;
    walk(p, plane, o, spread, &s);
}

static void average_backward(const fa_op_call *call)
{
    if (call->grad_out[0] && call->grad_in[0]) each_window(call, average_gradient);
}

static fa_status read_power(const fa_node *node, double *p)
{
    const fa_attr *a = fa_node_attr(node, "p"); /* a float in operator set 1, an integer since */
    *p = !a ? 2 : a->kind == FA_ATTR_FLOAT ? (double)a->f : (double)a->i;
    if (!(*p >= 1)) return fa_fail(FA_ERR_UNSUPPORTED, "a norm with p = %g", *p);
    return FA_OK;
}

static fa_status lp_prepare(fa_op_setup *s)
{
    pool p = {0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(read_power(s->node, &p.p));
    FA_TRY(prepare(s, false, &p));
    return keep(s, &p);
}

static fa_status global_lp_prepare(fa_op_setup *s)
{
    pool p = {0};
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(read_power(s->node, &p.p));
    FA_TRY(prepare_global(s, &p));
    return keep(s, &p);
}

static void norm_of_window(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    state s = {.x = call->in[0], .p = p->p};
    walk(p, plane, o, sum_powers, &s);
    ((fa_real *)call->out[0]->data)[at] = (fa_real)pow(s.sum, 1 / p->p);
}

static void lp_forward(const fa_op_call *call)
{
    each_window(call, norm_of_window);
}

static void norm_gradient(const pool *p, const fa_op_call *call, int64_t at, int64_t plane, const int64_t o[3])
{
    state s = {.x = call->in[0], .grad = call->grad_in[0], .p = p->p};
    walk(p, plane, o, sum_powers, &s);
    if (s.sum == 0) return;
    s.scale = (double)((const fa_real *)call->grad_out[0])[at] * pow(s.sum, 1 / p->p - 1);
    walk(p, plane, o, spread_powers, &s);
}

static void lp_backward(const fa_op_call *call)
{
    if (call->grad_out[0] && call->grad_in[0]) each_window(call, norm_gradient);
}

#define POOL(op, reads, prepare_, forward_, backward_) \
    {.name = op, .domain = "", .since = 1, .until = FA_OPSET_ANY, .back_in = reads, .prepare = prepare_, .forward = forward_, .backward = backward_}

const fa_op FA_R(fa_ops_pool)[] = {
    POOL("MaxPool", 1, max_prepare, max_forward, max_backward),
    POOL("GlobalMaxPool", 1, global_max_prepare, max_forward, max_backward),
    POOL("AveragePool", 0, average_prepare, average_forward, average_backward),
    POOL("GlobalAveragePool", 0, global_average_prepare, average_forward, average_backward),
    POOL("LpPool", 1, lp_prepare, lp_forward, lp_backward),
    POOL("GlobalLpPool", 1, global_lp_prepare, lp_forward, lp_backward),
    {0},
};
