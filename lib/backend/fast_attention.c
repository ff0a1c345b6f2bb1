/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/attention_head.h"
#include "backend/fast_ops.h"
#include "ops/attention.h"

#include <string.h>

/* Attention head by head: a head's weights and what belongs to them stay in the second-level cache. Strides are those of the tensors as they lie, so heads are
 * neither taken apart nor joined by copying. */
typedef struct fast {
    const fa_attention *shape;
    bool fits;
    size_t square, whole; /* bytes of a [t, s] in scratch, and of the factors' room */
} fast;

/* What a call works in. */
typedef struct work {
    const fast *f;
    const fa_attention *p;
    void *packed;
    float *square, *factor, *addend; /* [t, s]: scores or their gradient; what Where multiplies them by and adds to them */
    const void *kept;                /* the `keep` that factor and addend are of */
} work;

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_attention_prepare)(s));
    const fa_attention *p = s->params;
    const fa_attention_side *side = p->side;
    fast *f = fa_arena_new(s->arena, sizeof *f);
    if (!f) return FA_ERR_MEMORY;
    f->shape = p;
    f->fits = s->node->out[0] >= 0 && s->node->out[1] >= 0 && p->d && p->e && side[FA_ATTENTION_Q].col == 1 && (side[FA_ATTENTION_K].row == 1 || side[FA_ATTENTION_K].col == 1) &&
              side[FA_ATTENTION_V].col == 1 && p->y.col == 1 && (!s->in[FA_ATTENTION_MASK] || side[FA_ATTENTION_MASK].col == 1);
    f->square = fa_head_square(p->t, p->s);
    f->whole = fa_head_packed(p->s, p->d, p->e);
    s->params = f;
    if (s->scratch < f->whole + 3 * f->square) s->scratch = f->whole + 3 * f->square;
    return FA_OK;
}

static work begin(const fa_op_call *call)
{
    const fast *f = call->params;
    char *at = call->scratch;
    work w = {f, f->shape, at, (float *)(void *)(at + f->whole), (float *)(void *)(at + f->whole + f->square), (float *)(void *)(at + f->whole + 2 * f->square), NULL};
    return w;
}

static void by_reference(const fa_op_call *call, bool backward)
{
    const fast *f = call->params;
    fa_op_call c = *call;
    c.params = f->shape;
    if (backward) FA_R(fa_ops_attention)->backward(&c);
    else FA_R(fa_ops_attention)->forward(&c);
}

static float *begins(const fa_op_call *call, const work *w, int32_t input, int64_t head)
{
    return (float *)call->in[input]->data + FA_R(fa_attention_place)(w->p, &w->p->side[input], head);
}

static float *gradient(const fa_op_call *call, const work *w, int32_t input, int64_t head)
{
    return call->grad_in[input] ? (float *)call->grad_in[input] + FA_R(fa_attention_place)(w->p, &w->p->side[input], head) : NULL;
}

static fa_head matrices(const fa_op_call *call, const work *w, int64_t head)
{
    const fa_attention *p = w->p;
    const fa_attention_side *k = &p->side[FA_ATTENTION_K];
    return (fa_head){.t = p->t, .s = p->s, .d = p->d, .e = p->e, .q = begins(call, w, FA_ATTENTION_Q, head), .k = begins(call, w, FA_ATTENTION_K, head),
                     .v = begins(call, w, FA_ATTENTION_V, head), .q_row = p->side[FA_ATTENTION_Q].row, .k_row = k->row, .k_col = k->col, .v_row = p->side[FA_ATTENTION_V].row,
                     .y_row = p->y.row, .packed = w->packed, .pool = call->pool};
}

/* Where(keep, x, fill), or keep x, as factor x + addend, made anew where the head's `keep` is another one than before; the mask is added to it. */
static const float *choose(const fa_op_call *call, work *w, int64_t head)
{
    const fa_attention *p = w->p;
    const fa_attention_side *side = &p->side[FA_ATTENTION_KEEP], *mask_side = &p->side[FA_ATTENTION_MASK];
    if (!call->in[FA_ATTENTION_KEEP]) return NULL;
    const int64_t at = FA_R(fa_attention_place)(p, side, head), *keep = p->factors ? NULL : (const int64_t *)call->in[FA_ATTENTION_KEEP]->data + at;
    const float *by = p->factors ? (const float *)call->in[FA_ATTENTION_KEEP]->data + at : NULL;
    const void *given = p->factors ? (const void *)by : keep;
    const float *mask = call->in[FA_ATTENTION_MASK] && call->in[FA_ATTENTION_MASK]->data ? begins(call, w, FA_ATTENTION_MASK, head) : NULL;
    if (given == w->kept && !mask) return w->factor;
    for (int64_t i = 0; i < p->t; i++)
        for (int64_t j = 0; j < p->s; j++) {
            const int64_t here = i * side->row + j * side->col;
            const bool kept = by || keep[here] != 0;
            w->factor[i * p->s + j] = by ? by[here] : kept ? 1.0f : 0.0f;
            w->addend[i * p->s + j] = (kept ? 0.0f : p->fill) + (mask ? mask[i * mask_side->row + j] : 0.0f);
        }
    w->kept = given;
    return w->factor;
}

static void times(int64_t n, const float *factor, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] *= factor[i];
}

static void forward(const fa_op_call *call)
{
    work w = begin(call);
    const fa_attention *p = w.p;
    if (!w.f->fits) {
        by_reference(call, false);
        return;
    }
    for (int64_t h = 0; h < p->heads; h++) {
        const fa_head head = matrices(call, &w, h);
        float *weights = (float *)call->out[1]->data + h * p->t * p->s;
        const float *mask = call->in[FA_ATTENTION_MASK] ? begins(call, &w, FA_ATTENTION_MASK, h) : NULL, *factor = choose(call, &w, h);
        fa_head_scores(&head, weights);
        if (factor) times(p->t * p->s, factor, weights);
        fa_head_softmax(&head, p->scale, factor ? w.addend : mask, factor ? p->s : p->side[FA_ATTENTION_MASK].row, weights);
        fa_head_output(&head, weights, (float *)call->out[0]->data + FA_R(fa_attention_place)(p, &p->y, h));
    }
}

/* The gradient at the sums goes to the mask as it is, and on with the scale. */
static void leave_mask(const fa_attention *p, float *z, float *to)
{
    const int64_t row = p->side[FA_ATTENTION_MASK].row;
    for (int64_t i = 0; i < p->t; i++)
        for (int64_t j = 0; j < p->s; j++) {
            to[i * row + j] += z[i * p->s + j];
            z[i * p->s + j] *= p->scale;
        }
}

/* As in ops/attention.c. */
static void backward(const fa_op_call *call)
{
    work w = begin(call);
    const fa_attention *p = w.p;
    if (!w.f->fits || call->grad_in[FA_ATTENTION_KEEP] || call->grad_out[1] || !call->grad_out[0]) {
        by_reference(call, true);
        return;
    }
    for (int64_t h = 0; h < p->heads; h++) {
        const fa_head head = matrices(call, &w, h);
        const float *weights = (const float *)call->out[1]->data + h * p->t * p->s, *g = (const float *)call->grad_out[0] + FA_R(fa_attention_place)(p, &p->y, h);
        const float *factor = choose(call, &w, h);
        float *gq = gradient(call, &w, FA_ATTENTION_Q, h), *gk = gradient(call, &w, FA_ATTENTION_K, h), *gv = gradient(call, &w, FA_ATTENTION_V, h);
        float *gm = gradient(call, &w, FA_ATTENTION_MASK, h), *z = w.square;
        if (gv) fa_head_values_gradient(&head, weights, g, gv);
        if (!gq && !gk && !gm) continue;
        fa_head_weights_gradient(&head, g, z);
        fa_head_softmax_gradient(&head, gm ? 1 : p->scale, weights, z);
        if (gm) leave_mask(p, z, gm);
        if (factor) times(p->t * p->s, factor, z);
        fa_head_factors_gradient(&head, z, gq, gk);
    }
}

const fa_op fa_fast_ops_attention[] = {
    {.name = "Attention", .domain = FA_FAST_DOMAIN, .since = 1, .until = FA_OPSET_ANY,
     .back_in = 1u << FA_ATTENTION_Q | 1u << FA_ATTENTION_K | 1u << FA_ATTENTION_V | 1u << FA_ATTENTION_MASK | 1u << FA_ATTENTION_KEEP, .back_out = 2, .prepare = prepare,
     .forward = forward, .backward = backward},
    {0},
};
