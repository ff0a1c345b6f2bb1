/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/* Compress, NonZero, NonMaxSuppression: contents decide the shape of the output, so those contents must be known at plan time. */

typedef struct selection {
    int64_t outer, n, inner; /* Compress: input [outer, n, inner] */
    int64_t count;
    int64_t *place;          /* [count] of the axis; for the others the output's elements */
} selection;

static fa_status need_known(const fa_op_setup *s, int32_t input, const char *what)
{
    if (s->in[input]->data || !s->in[input]->count) return FA_OK;
    return fa_fail(FA_ERR_UNSUPPORTED, "%s (input %d) decides the output's shape and is computed from the data; it must be known beforehand", what, input);
}

static bool is_zero(const fa_view *v, int64_t i)
{
    return fa_dtype_is_real(v->dtype) ? ((const fa_real *)v->data)[i] == 0 : ((const int64_t *)v->data)[i] == 0;
}

static fa_status new_selection(fa_op_setup *s, int64_t room, selection **out)
{
    selection *p = fa_arena_new(s->arena, sizeof *p);
    if (!p || !(p->place = fa_arena_array(s->arena, (size_t)room + 1, sizeof *p->place))) return FA_ERR_MEMORY;
    s->params = *out = p;
    return FA_OK;
}

static fa_status compress_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    const fa_view *x = s->in[0], *condition = s->in[1];
    bool flat = !fa_node_attr(s->node, "axis");
    int32_t axis = 0;
    selection *p;
    if (condition->dtype != FA_BOOL) return fa_fail(FA_ERR_DTYPE, "the condition (input 1) is %s, not bool", fa_dtype_name(condition->dtype));
    FA_TRY(need_known(s, 1, "the condition"));
    if (!flat) FA_TRY(FA_R(fa_op_axis)(fa_node_int(s->node, "axis", 0), x->ndim, &axis));
    FA_TRY(new_selection(s, condition->count, &p));
    p->outer = p->inner = 1;
    p->n = x->count;
    if (!flat) FA_R(fa_op_around)(x, axis, &p->outer, &p->n, &p->inner);
    if (condition->count > p->n) return fa_fail(FA_ERR_SHAPE, "%lld conditions for %lld elements", (long long)condition->count, (long long)p->n);
    for (int64_t i = 0; i < condition->count; i++)
        if (!is_zero(condition, i)) p->place[p->count++] = i;
    int64_t dim[FA_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = p->count;
    return FA_R(fa_op_set)(&s->out[0], x->dtype, flat ? 1 : x->ndim, dim);
}

#define EACH_PICK(statement)                                                                                                                             \
    {                                                                                                                                                    \
        const selection *p = c->params;                                                                                                                  \
        for (int64_t o = 0, to = 0; o < p->outer; o++)                                                                                                   \
            for (int64_t k = 0; k < p->count; k++, to += p->inner) {                                                                                     \
                const int64_t from = (o * p->n + p->place[k]) * p->inner;                                                                                \
                statement;                                                                                                                               \
            }                                                                                                                                            \
    }

static void compress_forward(const fa_op_call *c)
{
    const size_t size = fa_op_size(c->in[0]->dtype);
    if (c->out[0]->count)
        EACH_PICK(memcpy((char *)c->out[0]->data + (size_t)to * size, (const char *)c->in[0]->data + (size_t)from * size, (size_t)p->inner * size))
}

static void compress_backward(const fa_op_call *c)
{
    EACH_PICK(FA_R(fa_op_pass)(p->inner, (fa_real *)c->grad_in[0] + from, (const fa_real *)c->grad_out[0] + to, true))
}

static fa_status nonzero_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    const fa_view *x = s->in[0];
    selection *p;
    int64_t stride[FA_MAX_DIMS];
    FA_TRY(need_known(s, 0, "what NonZero looks through"));
    FA_TRY(new_selection(s, 0, &p));
    for (int64_t i = 0; i < x->count; i++) p->count += !is_zero(x, i);
    int64_t found = p->count, at = 0;
    p->count *= x->ndim;
    if (!(p->place = fa_arena_array(s->arena, (size_t)p->count + 1, sizeof *p->place))) return FA_ERR_MEMORY;
    FA_R(fa_op_strides)(x, stride);
    for (int64_t i = 0; i < x->count; i++) {
        if (is_zero(x, i)) continue;
        for (int32_t d = 0; d < x->ndim; d++) p->place[d * found + at] = i / stride[d] % x->dim[d];
        at++;
    }
    return FA_R(fa_op_set)(&s->out[0], FA_INT64, 2, (int64_t[]){x->ndim, found});
}

static void listed_forward(const fa_op_call *c)
{
    const selection *p = c->params;
    if (p->count) memcpy(c->out[0]->data, p->place, (size_t)p->count * sizeof *p->place);
}

/* NonMaxSuppression */

typedef struct box {
    double low[2], high[2], area;
} box;

static box box_at(const fa_op_setup *s, int64_t i)
{
    const fa_real *v = (const fa_real *)s->in[0]->data + 4 * i;
    box b;
    for (int32_t d = 0; d < 2; d++) {
        if (fa_node_int(s->node, "center_point_box", 0)) {
            b.low[d] = (double)v[d] - (double)v[d + 2] / 2;
            b.high[d] = (double)v[d] + (double)v[d + 2] / 2;
        } else { /* opposite corners, in either order */
            b.low[d] = (double)(v[d] < v[d + 2] ? v[d] : v[d + 2]);
            b.high[d] = (double)(v[d] < v[d + 2] ? v[d + 2] : v[d]);
        }
    }
    b.area = (b.high[0] - b.low[0]) * (b.high[1] - b.low[1]);
    return b;
}

/* Intersection over union. */
static double overlap(const box *a, const box *b)
{
    double common = 1;
    for (int32_t d = 0; d < 2; d++) {
        double low = a->low[d] > b->low[d] ? a->low[d] : b->low[d], high = a->high[d] < b->high[d] ? a->high[d] : b->high[d];
        common *= high > low ? high - low : 0;
    }
    double all = a->area + b->area - common;
    return all > 0 ? common / all : 0;
}

static fa_status read_limit(const fa_op_setup *s, int32_t input, const char *what, double fallback, double *out)
{
    const fa_view *v = input < s->n_in ? s->in[input] : NULL;
    *out = fallback;
    if (!v || !v->count) return FA_OK;
    FA_TRY(need_known(s, input, what));
    FA_TRY(FA_R(fa_op_need_count)(s, input, 1));
    *out = fa_dtype_is_real(v->dtype) ? (double)*(const fa_real *)v->data : (double)*(const int64_t *)v->data;
    return FA_OK;
}

/* The best box with a score above `least` that is neither taken nor suppressed, or -1. */
static int64_t best_box(const fa_real *score, const bool *done, int64_t n, double least)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!done[i] && (double)score[i] > least && (best < 0 || score[i] > score[best])) best = i;
    return best;
}

static fa_status suppression_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 2, 5, 1));
    const fa_view *boxes = s->in[0], *scores = s->in[1];
    double most, threshold, least;
    if (!fa_dtype_is_real(boxes->dtype) || !fa_dtype_is_real(scores->dtype)) return fa_fail(FA_ERR_DTYPE, "boxes or scores are not real");
    if (boxes->ndim != 3 || scores->ndim != 3 || boxes->dim[2] != 4 || boxes->dim[0] != scores->dim[0] || boxes->dim[1] != scores->dim[2]) {
        char a[FA_SHAPE_TEXT], b[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "boxes of shape %s with scores of shape %s", fa_shape_text(boxes->ndim, boxes->dim, a, sizeof a),
                       fa_shape_text(scores->ndim, scores->dim, b, sizeof b));
    }
    for (int32_t i = 0; i < 2; i++) FA_TRY(need_known(s, i, i ? "scores" : "boxes"));
    FA_TRY(read_limit(s, 2, "the number of boxes", 0, &most));
    FA_TRY(read_limit(s, 3, "the overlap", 0, &threshold));
    FA_TRY(read_limit(s, 4, "the least score", -(double)INFINITY, &least));
    int64_t n = boxes->dim[1], rows = scores->dim[0] * scores->dim[1], per_row = most < 0 ? 0 : most > (double)n ? n : (int64_t)most, room;
    selection *p;
    if (!fa_mul_i64(rows, 3 * per_row, &room)) return fa_fail(FA_ERR_LIMIT, "%lld lists of %lld boxes", (long long)rows, (long long)per_row);
    if ((double)rows * (double)per_row * (double)n > 1e11) return fa_fail(FA_ERR_LIMIT, "%lld lists of %lld among %lld boxes", (long long)rows, (long long)per_row, (long long)n);
    FA_TRY(new_selection(s, room, &p));
    bool *done = fa_arena_array(s->arena, (size_t)n + 1, sizeof *done);
    if (!done) return FA_ERR_MEMORY;
    for (int64_t row = 0; row < rows && n; row++) {
        const fa_real *score = (const fa_real *)scores->data + row * n;
        int64_t first = row / scores->dim[1] * n, best;
        memset(done, 0, (size_t)n * sizeof *done);
        for (int64_t k = 0; k < per_row && (best = best_box(score, done, n, least)) >= 0; k++) {
            const int64_t chosen[] = {row / scores->dim[1], row % scores->dim[1], best};
            memcpy(p->place + p->count, chosen, sizeof chosen);
            p->count += 3;
            box b = box_at(s, first + best);
            for (int64_t i = 0; i < n; i++) {
                box other = box_at(s, first + i);
                done[i] = done[i] || i == best || overlap(&b, &other) > threshold;
            }
        }
    }
    return FA_R(fa_op_set)(&s->out[0], FA_INT64, 2, (int64_t[]){p->count / 3, 3});
}

const fa_op FA_R(fa_ops_select)[] = {
    {"Compress", "", 9, FA_OPSET_ANY, 0, 0, 0, compress_prepare, compress_forward, compress_backward},
    {"NonZero", "", 9, FA_OPSET_ANY, 0, 0, 0, nonzero_prepare, listed_forward, NULL},
    {"NonMaxSuppression", "", 10, FA_OPSET_ANY, 0, 0, 0, suppression_prepare, listed_forward, NULL},
    {NULL},
};
