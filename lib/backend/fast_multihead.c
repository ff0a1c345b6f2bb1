/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/attention_head.h"
#include "backend/fast_ops.h"
#include "ops/multihead.h"

#include <math.h>
#include <string.h>

/* Attention of the default domain, head by head. Its backward pass works the weights out anew. What is not plain attention (a past, lengths, a soft cap, other outputs than Y) is
 * the reference's. */
typedef struct fast {
    const fa_multihead *shape;
    bool fits;
    size_t square, whole; /* bytes of a [t, s] in scratch, and of the factors' room */
} fast;

/* What a call works in. */
typedef struct work {
    const fast *f;
    const fa_multihead *p;
    void *packed;
    float *weights, *slope, *addend; /* [t, s] */
    float *sees;                     /* [t] 0: no key takes part */
    bool masked;                     /* there is an addend */
    int64_t made;                    /* where in the mask the addend comes from, -1: it is to be made */
} work;

static const fa_view *given(const fa_op_setup *s, int32_t input)
{
    return input < s->n_in ? s->in[input] : NULL;
}

static fa_status prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_multihead_prepare)(s));
    const fa_multihead *p = s->params;
    fast *f = fa_arena_new(s->arena, sizeof *f);
    if (!f) return FA_ERR_MEMORY;
    f->shape = p;
    f->fits = p->t && p->s && p->d && p->e && s->node->out[FA_MULTIHEAD_Y] >= 0 && p->softcap == 0 && !given(s, FA_MULTIHEAD_PAST_K) && !given(s, FA_MULTIHEAD_LENGTHS);
    for (int32_t o = 1; o < s->n_out; o++) f->fits &= s->node->out[o] < 0;
    f->square = fa_head_square(p->t, p->s);
    f->whole = fa_head_packed(p->s, p->d, p->e);
    s->params = f;
    const size_t scratch = f->whole + 3 * f->square + fa_head_square(p->t, 1);
    if (s->scratch < scratch) s->scratch = scratch;
    return FA_OK;
}

static void by_reference(const fa_op_call *call, bool backward)
{
    const fast *f = call->params;
    fa_op_call c = *call;
    c.params = f->shape;
    if (backward) FA_R(fa_ops_multihead)->backward(&c);
    else FA_R(fa_ops_multihead)->forward(&c);
}

static work begin(const fa_op_call *call)
{
    const fast *f = call->params;
    const fa_view *mask = call->n_in > FA_MULTIHEAD_MASK ? call->in[FA_MULTIHEAD_MASK] : NULL;
    char *at = call->scratch;
    float *const room = (float *)(void *)(at + f->whole);
    const size_t step = f->square / sizeof(float);
    return (work){f, f->shape, at, room, room + step, room + 2 * step, room + 3 * step, mask || f->shape->causal, -1};
}

/* What is added to the scores of a head: the mask, and -inf where a key takes no part. */
static void mask_head(const fa_op_call *call, work *w, int64_t n, int64_t head)
{
    const fa_multihead *p = w->p;
    const fa_view *mask = call->n_in > FA_MULTIHEAD_MASK ? call->in[FA_MULTIHEAD_MASK] : NULL;
    const int64_t at = n * p->mask_step[0] + head * p->mask_step[1];
    if (!w->masked || w->made == at) return;
    for (int64_t i = 0; i < p->t; i++) {
        float *row = w->addend + i * p->s, top = -INFINITY;
        for (int64_t j = 0; j < p->s; j++) {
            const int64_t from = at + i * p->mask_step[2] + j * p->mask_step[3];
            const bool seen = (!p->causal || j <= i) && j < p->mask_width && (!mask || p->real_mask || ((const int64_t *)mask->data)[from]);
            row[j] = !seen ? -INFINITY : mask && p->real_mask ? ((const float *)mask->data)[from] : 0;
            top = fmaxf(top, row[j]);
        }
        w->sees[i] = top > -INFINITY ? 1.0f : 0.0f;
    }
    w->made = at;
}

static float *part(void *from, const fa_multihead_side *side, int64_t n, int64_t head)
{
    return from ? (float *)from + n * side->n + head * side->head : NULL;
}

static fa_head matrices(const fa_op_call *call, const work *w, int64_t n, int64_t head, int64_t kv)
{
    const fa_multihead *p = w->p;
    return (fa_head){.t = p->t, .s = p->s, .d = p->d, .e = p->e, .q = part(call->in[FA_MULTIHEAD_Q]->data, &p->q, n, head), .k = part(call->in[FA_MULTIHEAD_K]->data, &p->k, n, kv),
                     .v = part(call->in[FA_MULTIHEAD_V]->data, &p->v, n, kv), .q_row = p->q.place, .k_row = 1, .k_col = p->k.place, .v_row = p->v.place, .y_row = p->y.place,
                     .packed = w->packed, .pool = call->pool};
}

static void weigh(const fa_op_call *call, work *w, const fa_head *h, int64_t n, int64_t head)
{
    const fa_multihead *p = w->p;
    mask_head(call, w, n, head);
    fa_head_scores(h, w->weights);
    fa_head_softmax(h, (float)p->scale, w->masked ? w->addend : NULL, p->s, w->weights);
    for (int64_t i = 0; w->masked && i < p->t; i++)
        if (w->sees[i] == 0) memset(w->weights + i * p->s, 0, (size_t)p->s * sizeof *w->weights);
}

#define EACH_HEAD(p)                                                                                                                                     \
    for (int64_t n = 0; n < (p)->n; n++)                                                                                                                 \
        for (int64_t head = 0, kv = 0; head < (p)->heads; head++, kv = head / ((p)->heads / (p)->kv_heads))

static void forward(const fa_op_call *call)
{
    work w = begin(call);
    const fa_multihead *p = w.p;
    if (!w.f->fits) {
        by_reference(call, false);
        return;
    }
    EACH_HEAD(p) {
        const fa_head h = matrices(call, &w, n, head, kv);
        weigh(call, &w, &h, n, head);
        fa_head_output(&h, w.weights, part(call->out[FA_MULTIHEAD_Y]->data, &p->y, n, head));
    }
}

/* As in ops/multihead.c, with matrices. */
static void go_back(const fa_op_call *call, const work *w, const fa_head *h, int64_t n, int64_t head, int64_t kv)
{
    const fa_multihead *p = w->p;
    const float *g = (const float *)call->grad_out[FA_MULTIHEAD_Y] + n * p->y.n + head * p->y.head;
    float *gq = part(call->grad_in[FA_MULTIHEAD_Q], &p->q, n, head), *gk = part(call->grad_in[FA_MULTIHEAD_K], &p->k, n, kv), *gv = part(call->grad_in[FA_MULTIHEAD_V], &p->v, n, kv);
    float *gm = call->n_in > FA_MULTIHEAD_MASK ? call->grad_in[FA_MULTIHEAD_MASK] : NULL, *z = w->slope;
    if (gv) fa_head_values_gradient(h, w->weights, g, gv);
    if (!gq && !gk && !gm) return;
    fa_head_weights_gradient(h, g, z);
    fa_head_softmax_gradient(h, gm ? 1 : (float)p->scale, w->weights, z);
    for (int64_t i = 0; gm && i < p->t; i++)
        for (int64_t j = 0; j < p->s; j++) {
            if (j < p->mask_width) gm[n * p->mask_step[0] + head * p->mask_step[1] + i * p->mask_step[2] + j * p->mask_step[3]] += z[i * p->s + j];
            z[i * p->s + j] *= (float)p->scale;
        }
    fa_head_factors_gradient(h, z, gq, gk);
}

static void backward(const fa_op_call *call)
{
    work w = begin(call);
    const fa_multihead *p = w.p;
    if (!w.f->fits || !call->grad_out[FA_MULTIHEAD_Y]) {
        by_reference(call, true);
        return;
    }
    EACH_HEAD(p) {
        const fa_head h = matrices(call, &w, n, head, kv);
        weigh(call, &w, &h, n, head);
        go_back(call, &w, &h, n, head, kv);
    }
}

const fa_op fa_fast_ops_multihead[] = {
    {.name = "Attention", .domain = "", .since = 23, .until = FA_OPSET_ANY, .back_in = (1u << FA_MULTIHEAD_INPUTS) - 1, .prepare = prepare, .forward = forward, .backward = backward},
    {0},
};
