/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/sketch.h"

#include "base/error.h"
#include "sketch/fixed.h"
#include "sketch/trace.h"

#include <fattr/score.h>

static void body_release(fa_sketch_body *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) > 1) return;
    fa_context *context = b->arena.context;
    fa_fixed_destroy(atomic_load_explicit(&b->int16, memory_order_relaxed));
    fa_fixed_destroy(atomic_load_explicit(&b->int8, memory_order_relaxed));
    fa_arena_clear(&b->arena);
    fa_delete(context, b);
}

fa_status fa_sketch_new(fa_context *context, fa_sketch_body *share_body, fa_sketch **out)
{
    fa_sketch *s = fa_new(context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    atomic_init(&s->references, 1);
    s->context = context;
    s->body = share_body;
    if (share_body) {
        atomic_fetch_add_explicit(&share_body->references, 1, memory_order_relaxed);
    } else {
        s->body = fa_new(context, sizeof *s->body);
        if (!s->body) {
            fa_delete(context, s);
            return FA_ERR_MEMORY;
        }
        atomic_init(&s->body->references, 1);
        s->body->arena.context = context;
    }
    *out = s;
    return FA_OK;
}

void fa_sketch_free(fa_sketch *s)
{
    if (!s) return;
    fa_delete(s->context, s->calibration[0]);
    fa_delete(s->context, s->calibration_loss);
    body_release(s->body);
    fa_delete(s->context, s);
}

fa_status fa_sketch_new_calibration(fa_sketch *s, int64_t n)
{
    size_t size;
    if (!fa_mul_size((size_t)n, FA_SCORE_COUNT, &size)) return fa_fail_memory(SIZE_MAX);
    double *scores = fa_new_array(s->context, size, sizeof *scores);
    if (!scores) return FA_ERR_MEMORY;
    s->n_calibration = n;
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) s->calibration[k] = scores + k * n;
    if (!s->body->trace) return FA_OK;
    if (!fa_mul_size((size_t)n, (size_t)s->body->offset[s->body->n_layer], &size)) return fa_fail_memory(SIZE_MAX);
    s->calibration_loss = fa_new_array(s->context, size, sizeof *s->calibration_loss);
    return s->calibration_loss ? FA_OK : FA_ERR_MEMORY;
}

uint32_t fa_body_scores(const fa_sketch_body *b)
{
    const uint32_t all = (1u << FA_SCORE_COUNT) - 1, concordance = 1u << FA_SCORE_MEAN_CCC | 1u << FA_SCORE_CLASS_CCC;
    uint32_t scores = b->trace && !b->trace->options.partial ? all : all & ~concordance;
    return b->n_reference > FA_GRAM_MOST || b->options.subset ? scores & ~(1u << FA_SCORE_SPAN) : scores;
}

fa_status fa_sketch_body_new_references(fa_sketch_body *b)
{
    fa_arena *a = &b->arena;
    size_t n = (size_t)b->n_reference, length = (size_t)b->offset[b->n_layer], layers = (size_t)b->n_layer, all, shares;
    if (!fa_mul_size(n, length, &all) || !fa_mul_size(n, layers, &shares)) return fa_fail_memory(SIZE_MAX);
    b->blocks = fa_arena_array(a, all, sizeof *b->blocks);
    b->share = fa_arena_array(a, shares, sizeof *b->share);
    b->tau = fa_arena_array(a, n, sizeof *b->tau);
    b->id = fa_arena_array(a, n, sizeof *b->id);
    b->predicted = fa_arena_array(a, n, sizeof *b->predicted);
    b->label = fa_arena_array(a, n, sizeof *b->label);
    if (!b->blocks || !b->share || !b->tau || !b->id || !b->predicted || !b->label) return FA_ERR_MEMORY;
    if (n > FA_GRAM_MOST) return FA_OK;
    b->gram = fa_arena_array(a, n * n, sizeof *b->gram);
    b->factor = fa_arena_array(a, n * n, sizeof *b->factor);
    return b->gram && b->factor ? FA_OK : FA_ERR_MEMORY;
}

/* What an arena makes of its blocks: large ones lie alone, small ones share chunks. Sizes with the arena's and the allocator's headers. */
typedef struct tally {
    size_t large, small;
} tally;

static void count(void *user, size_t n, size_t size)
{
    tally *t = user;
    size_t bytes = (n * size + 15) / 16 * 16;
    if (bytes >= 4096) t->large += bytes + 2 * FA_ALIGN;
    else t->small += bytes;
}

int64_t fa_layer_moment(const fa_sketch_layer *l, int side)
{
    int64_t n = side ? l->out : l->in;
    return (side ? l->random_out : l->random_in) ? 0 : n * (n + 1) / 2;
}

size_t fa_sketch_bytes(const fa_sketch_body *b, int64_t n_reference, int64_t n_calibration)
{
    size_t n = (size_t)n_reference, layers = (size_t)b->n_layer, chunk = 16384;
    tally t = {0, 0};
    count(&t, n * (size_t)b->offset[layers], sizeof(float));
    count(&t, n * layers, sizeof(float));
    count(&t, n, sizeof(float));
    for (int i = 0; i < 3; i++) count(&t, n, sizeof(int64_t));
    for (int i = 0; i < 2 && n <= FA_GRAM_MOST; i++) count(&t, n * n, sizeof(float));
    for (size_t l = 0; !b->trace && l < layers; l++) {
        const fa_sketch_layer *s = &b->layer[l];
        count(&t, (size_t)(s->in * s->k_in), sizeof(float));
        count(&t, (size_t)(s->out * s->k_out), sizeof(float));
        t.small += 64; /* names */
        for (int e = 0; b->options.keep_moments && e < 2; e++) count(&t, (size_t)fa_layer_moment(s, e), sizeof(double));
    }
    if (!b->trace) count(&t, layers, sizeof(fa_sketch_layer));
    count(&t, layers + 1, sizeof(int64_t));
    if (b->trace) fa_trace_sizes(b, count, &t);
    size_t fixed = !b->trace && n_calibration ? fa_fixed_bytes(b->n_layer, b->offset, n_reference, FA_SIGNATURES_INT16) : 0;
    size_t traces = b->trace ? (size_t)(n_calibration * b->offset[layers]) * sizeof(float) : 0;
    return traces + fixed + t.large + (t.small / chunk + 1) * (chunk + 2 * FA_ALIGN) + (size_t)n_calibration * FA_SCORE_COUNT * sizeof(double) + sizeof(fa_sketch) +
           sizeof(fa_sketch_body) + 3 * FA_ALIGN;
}
