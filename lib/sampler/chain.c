/* SPDX-License-Identifier: Apache-2.0 */
#include "sampler/chain.h"

#include "base/error.h"
#include "base/rng.h"
#include "kernels/normal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define PIECE 512 /* weights moved together: their noise and preconditioner stay on the stack */

struct fa_chain {
    fa_sampler_setup setup;
    fa_sampler_target target;
    uint64_t id, noise_key, minibatch_key;
    fa_chain_state state;
    float *gradient;
    int64_t *index;        /* [minibatch] of the step under way */
    int64_t *order, epoch; /* [n_sample] the permutation of `epoch`; -1: none yet */
    fa_arena arena;
};

uint64_t fa_sampler_key(uint64_t seed, uint64_t chain, uint64_t purpose)
{
    uint32_t word[4];
    fa_philox(seed, chain, purpose, word);
    return word[0] | (uint64_t)word[1] << 32;
}

static int64_t batch_of(const fa_sampler_target *target, int64_t minibatch)
{
    return minibatch < target->n_sample ? minibatch : target->n_sample;
}

size_t fa_chain_bytes(const fa_sampler_target *t, int64_t minibatch)
{
    return sizeof(fa_chain) + FA_ARENA_SLACK + (3 * (size_t)t->n_weight + (size_t)t->n_statistics) * sizeof(float) +
           ((size_t)t->n_sample + (size_t)batch_of(t, minibatch)) * sizeof(int64_t);
}

static fa_status fill(fa_chain *c)
{
    const fa_sampler_target *t = &c->target;
    fa_chain_state *s = &c->state;
    s->weights = fa_arena_array(&c->arena, (size_t)t->n_weight, sizeof *s->weights);
    s->second_moment = fa_arena_array(&c->arena, (size_t)t->n_weight, sizeof *s->second_moment);
    s->statistics = fa_arena_array(&c->arena, (size_t)t->n_statistics, sizeof *s->statistics);
    c->gradient = fa_arena_array(&c->arena, (size_t)t->n_weight, sizeof *c->gradient);
    c->index = fa_arena_array(&c->arena, (size_t)batch_of(t, c->setup.minibatch), sizeof *c->index);
    c->order = fa_arena_array(&c->arena, (size_t)t->n_sample, sizeof *c->order);
    if (!s->weights || !s->second_moment || !s->statistics || !c->gradient || !c->index || !c->order) return FA_ERR_MEMORY;
    memcpy(s->weights, t->weights, (size_t)t->n_weight * sizeof *s->weights);
    if (t->n_statistics) memcpy(s->statistics, t->statistics, (size_t)t->n_statistics * sizeof *s->statistics);
    return FA_OK;
}

fa_status fa_chain_create(fa_context *context, const fa_sampler_setup *setup, const fa_sampler_target *target, uint64_t id, fa_chain **out)
{
    fa_chain *c = fa_new(context, sizeof *c);
    if (!c) return FA_ERR_MEMORY;
    *c = (fa_chain){.setup = *setup, .target = *target, .id = id, .noise_key = fa_sampler_key(setup->seed, id, FA_SAMPLER_NOISE),
                    .minibatch_key = fa_sampler_key(setup->seed, id, FA_SAMPLER_MINIBATCH), .epoch = -1, .arena = {.context = context}};
    fa_status status = fill(c);
    if (status != FA_OK) {
        fa_chain_destroy(c);
        return status;
    }
    *out = c;
    return FA_OK;
}

void fa_chain_destroy(fa_chain *c)
{
    if (!c) return;
    fa_context *context = c->arena.context;
    fa_arena_clear(&c->arena);
    fa_delete(context, c);
}

fa_chain_state *fa_chain_get_state(fa_chain *c)
{
    return &c->state;
}

static void permute(fa_chain *c, int64_t epoch)
{
    const int64_t n = c->target.n_sample;
    uint32_t word[4];
    for (int64_t i = 0; i < n; i++) c->order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        if (i % 2 || i == n - 1) fa_philox(c->minibatch_key, (uint64_t)(i / 2), (uint64_t)epoch, word);
        uint64_t number = word[2 * (i % 2)] | (uint64_t)word[2 * (i % 2) + 1] << 32;
        int64_t j = (int64_t)(number % (uint64_t)(i + 1)), kept = c->order[i];
        c->order[i] = c->order[j];
        c->order[j] = kept;
    }
    c->epoch = epoch;
}

int64_t fa_chain_minibatch(fa_chain *c, int64_t step, int64_t *index)
{
    const int64_t n = batch_of(&c->target, c->setup.minibatch), steps = c->target.n_sample / n;
    if (c->epoch != step / steps) permute(c, step / steps);
    memcpy(index, c->order + step % steps * n, (size_t)n * sizeof *index);
    return n;
}

/* v and G of a piece. */
static void precondition(const fa_sampler_setup *u, int64_t n, const float *restrict g, float *restrict v, float *restrict pre)
{
    const float decay = (float)u->decay, rest = (float)(1 - u->decay), epsilon = (float)u->epsilon;
    for (int64_t i = 0; i < n; i++) {
        v[i] = v[i] * decay + rest * (g[i] * g[i]);
        pre[i] = 1 / (sqrtf(v[i]) + epsilon);
    }
}

static void move(const fa_sampler_setup *u, int64_t n, const float *restrict g, const float *restrict trained, const float *restrict pre,
                 const float *restrict z, float *restrict w)
{
    const float half = (float)(-0.5 * u->step_size), size = (float)u->step_size, nbeta = (float)u->nbeta, gamma = (float)u->gamma, noise = (float)u->noise;
    for (int64_t i = 0; i < n; i++) {
        float moved = w[i] + half * pre[i] * (nbeta * g[i] + gamma * (w[i] - trained[i]));
        w[i] = moved + z[i] * sqrtf(size * pre[i]) * noise;
    }
}

static bool all_finite(const float *x, int64_t n)
{
    int32_t wrong = 0;
    for (int64_t i = 0; i < n; i++) wrong |= !(fabsf(x[i]) <= FLT_MAX);
    return !wrong;
}

static fa_status left_numbers(const fa_chain *c, const char *what)
{
    return fa_fail(FA_ERR_NOT_FINITE, "chain %llu, step %lld: the %s is not finite: lower step_size", (unsigned long long)c->id,
                   (long long)c->state.step, what);
}

fa_status fa_chain_step(fa_chain *c, int32_t thread, double *loss)
{
    const fa_sampler_target *t = &c->target;
    fa_chain_state *s = &c->state;
    float pre[PIECE], z[PIECE];
    double before;
    const int64_t batch = fa_chain_minibatch(c, s->step, c->index);
    fa_status status = t->gradient(t->user, thread, s->weights, s->statistics, c->index, batch, c->gradient, &before);
    if (status != FA_OK) return fa_fail_at(status, "chain %llu, step %lld", (unsigned long long)c->id, (long long)s->step);
    if (!isfinite(before)) return left_numbers(c, "loss");
    for (int64_t i = 0; i < PIECE; i++) pre[i] = 1; /* SGLD's */
    for (int64_t at = 0; at < t->n_weight; at += PIECE) {
        const int64_t n = t->n_weight - at < PIECE ? t->n_weight - at : PIECE;
        float *w = s->weights + at, *v = s->second_moment + at;
        if (c->setup.kind == FA_SAMPLER_RMSPROP_SGLD) precondition(&c->setup, n, c->gradient + at, v, pre);
        fa_normal(c->noise_key, (uint64_t)s->step, (uint64_t)at, n, z);
        move(&c->setup, n, c->gradient + at, t->weights + at, pre, z, w);
        if (!all_finite(w, n)) return left_numbers(c, "weight");
        if (!all_finite(v, n)) return left_numbers(c, "second moment of the gradient"); /* it would hold the weight still for ever */
    }
    s->step++;
    if (loss) *loss = before;
    return FA_OK;
}
