/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_AGREE_H
#define FA_TESTS_AGREE_H

/* What reference and fast kernels say of one network, to be compared. */
#include "backend/pass.h"
#include "base/pool.h"
#include "random_network.h"

#include <stdlib.h>

/* What one backend says of a network, in an order that does not depend on its layouts. */
typedef struct layer_record {
    bool seen;
    float *a, *d, *A, *G, *blocks;
    int64_t n_a, n_d, n_A, n_G, n_blocks;
} layer_record;

typedef struct record {
    fa_context *context;
    const fa_program *program;
    int32_t layers, channels_last; /* channels_last: taps of images laid out so */
    layer_record layer[64];
    float loss[BATCH];
    int64_t predicted[BATCH];
} record;

#define K_IN 7
#define K_OUT 5

static inline float *copy(const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t sn, int64_t sc, int64_t sh, int64_t sw, int64_t *count)
{
    float *to = malloc((size_t)(*count = n * c * h * w) * sizeof *to), *at = to;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t y = 0; y < h; y++)
                for (int64_t x = 0; x < w; x++) *at++ = from[i * sn + j * sc + y * sh + x * sw];
    return to;
}

static inline void visit(void *user, const fa_tap *t)
{
    record *r = user;
    layer_record *l = &r->layer[t->layer];
    const fa_layer *about = fa_program_layer(r->program, t->layer);
    const fa_tap_ops *ops = fa_program_tap_ops(r->program);
    l->seen = true;
    r->channels_last += t->h * t->w > 1 && t->a_c == 1 && t->c > 1;
    l->a = copy(t->a, t->n, t->c, t->h, t->w, t->a_n, t->a_c, t->a_h, t->a_w, &l->n_a);
    l->d = copy(t->d, t->n, t->out, t->oh, t->ow, t->d_n, t->d_c, t->d_h, t->d_w, &l->n_d);
    l->n_A = about->in * about->in, l->n_G = about->out * about->out, l->n_blocks = t->n * K_IN * K_OUT;
    l->A = calloc((size_t)l->n_A, sizeof(float)), l->G = calloc((size_t)l->n_G, sizeof(float)), l->blocks = calloc((size_t)l->n_blocks, sizeof(float));
    float *p_in = malloc((size_t)(about->in * K_IN) * sizeof *p_in), *p_out = malloc((size_t)(about->out * K_OUT) * sizeof *p_out);
    fa_normal(3, 1, 0, about->in * K_IN, p_in);
    fa_normal(3, 2, 0, about->out * K_OUT, p_out);
    void *scratch = fa_new(r->context, ops->scratch(t, K_IN, K_OUT)), *packed = fa_new(r->context, ops->packed_size(t, K_IN, K_OUT)), *rows = fa_new(r->context, ops->moments_scratch(t));
    ops->moments(t, l->A, l->G, rows);
    ops->pack(t, p_in, K_IN, p_out, K_OUT, packed);
    ops->blocks(t, packed, K_IN, K_OUT, l->blocks, K_IN * K_OUT, scratch);
    for (int64_t i = 0; i < about->in; i++)
        for (int64_t j = i + 1; j < about->in; j++) l->A[i * about->in + j] = 0;
    for (int64_t i = 0; i < about->out; i++)
        for (int64_t j = i + 1; j < about->out; j++) l->G[i * about->out + j] = 0;
    fa_delete(r->context, scratch);
    fa_delete(r->context, rows);
    fa_delete(r->context, packed);
    free(p_in), free(p_out);
}

/* Whose threads share the passes; NULL: none. */
static fa_pool *agree_pool;

typedef struct rounds {
    fa_pass *pass;
    const fa_array *inputs;
    int64_t n;
    record *r;
} rounds;

/* The second time, the arena is dirty. */
static inline void go_twice(void *user)
{
    const rounds *w = user;
    record *r = w->r;
    for (int repeat = 0; repeat < 2; repeat++) {
        const fa_pass_outputs out = {.predicted = r->predicted, .loss = r->loss};
        ck_assert_msg(fa_pass_forward(w->pass, w->inputs, 0, w->n, NULL, &out) == FA_OK, "%s", fa_error_message());
        for (int32_t l = 0; l < r->layers && repeat; l++) free(r->layer[l].a), free(r->layer[l].d), free(r->layer[l].A), free(r->layer[l].G), free(r->layer[l].blocks);
        fa_pass_backward(w->pass, visit, r);
    }
}

static inline void run_in(fa_context *context, const fa_graph *g, int32_t logits, int32_t kernels, int32_t precision, int32_t packing, const int64_t shape[4], const float *data, int64_t n, record *r)
{
    fa_program *program;
    fa_pass *pass;
    bool tapped[64];
    memset(r, 0, sizeof *r);
    r->context = context;
    ck_assert_msg(fa_program_create_in(g, logits, kernels, precision, packing, &program) == FA_OK, "%s", fa_error_message());
    r->program = program;
    r->layers = fa_program_layer_count(program);
    ck_assert_int_le(r->layers, 64);
    memset(tapped, 1, sizeof tapped);
    const fa_array input = {.data = data, .shape = shape, .ndim = 4, .dtype = FA_FLOAT32};
    const fa_pass_request q = {.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .tapped = tapped, .pool = agree_pool};
    ck_assert_msg(fa_pass_create(&q, &pass) == FA_OK, "%s", fa_error_message());
    fa_pool_lead(agree_pool, go_twice, &(rounds){pass, &input, n, r});
    fa_pass_destroy(pass);
    fa_program_destroy(program);
}

static inline void run(fa_context *context, const fa_graph *g, int32_t logits, int32_t kernels, const int64_t shape[4], const float *data, int64_t n, record *r)
{
    run_in(context, g, logits, kernels, FA_PRECISION_F32, FA_PACKING_FAST, shape, data, n, r);
}

static inline void compare(const float *got, const float *want, int64_t n, double tolerance, const char *what, uint64_t seed, int32_t layer)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs((double)want[i]) > largest) largest = fabs((double)want[i]);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= tolerance * (largest + 1e-6), "network %d, layer %d, %s[%lld]: %.8g where the reference has %.8g (largest %.3g)",
                      (int)seed, layer, what, (long long)i, (double)got[i], (double)want[i], largest);
}

static inline void release(record *r)
{
    for (int32_t l = 0; l < r->layers; l++) free(r->layer[l].a), free(r->layer[l].d), free(r->layer[l].A), free(r->layer[l].G), free(r->layer[l].blocks);
}

#endif
