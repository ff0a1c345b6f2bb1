/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/sampling.h"

#include "backend/varied.h"
#include "base/context.h"
#include "base/error.h"
#include "sketch/waves.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A mean gradient is the sum over chunks of the minibatch, in their order, whatever thread took which. */
#define CHUNK 32

/* One thread's share of a gradient. */
typedef struct member {
    fa_pass *pass;
    float *gradient; /* [weights] of a chunk */
    double loss;
    int64_t set;     /* the gradient whose weights the pass has */
} member;

typedef struct work {
    const fa_sampling *sampling;
    fa_context *context;
    bool reestimate;
    int32_t threads;
    member *member;
    int64_t minibatch;
    float *trained, *statistics;
    float *drawn;       /* [weights] of a gaussian draw */
    char stage[96];
    /* of the gradient under way */
    int64_t number, n;
    const float *weights;
    const int64_t *index;
    float *sum;
    double loss;
} work;

static int64_t minibatch_of(const fa_trace_options *o, int64_t n)
{
    return o->minibatch < n ? o->minibatch : n;
}

int64_t fa_sampling_steps(const fa_trace_options *o)
{
    return o->burn_in + (o->draws - 1) * o->thinning + 1;
}

int64_t fa_sampling_units_done(const fa_trace_options *o, int64_t n, int32_t chain, int64_t step)
{
    int64_t units;
    if (o->sampler == FA_SAMPLER_GAUSSIAN) return 0;
    /* Options in range may ask for more steps than anybody will wait for. */
    return fa_mul_i64(chain * fa_sampling_steps(o) + step, minibatch_of(o, n), &units) && units < INT64_MAX / 4 ? units : INT64_MAX / 4;
}

int64_t fa_sampling_units(const fa_trace_options *o, int64_t n)
{
    return fa_sampling_units_done(o, n, o->chains, 0);
}

static fa_status plan(const fa_sampling *s, fa_context *context, bool reestimate, int64_t minibatch, fa_pass **out)
{
    int64_t batch = reestimate || minibatch < CHUNK ? minibatch : CHUNK;
    FA_TRY(fa_pass_create(&(fa_pass_request){.program = s->program, .context = context, .inputs = s->inputs, .n_inputs = s->network->n_input, .batch = batch, .gradient = true,
                                             .loss = s->body->options.loss},
                          out));
    if (!reestimate || fa_pass_batch(*out) == minibatch) return FA_OK;
    return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.minibatch: the model takes %lld inputs at a time; with re-estimated BatchNormalization a minibatch must have as many",
                   (long long)fa_pass_batch(*out));
}

static fa_status begin(work *w)
{
    const fa_sampling *s = w->sampling;
    const fa_trace_options *o = &s->body->trace->options;
    size_t weights = (size_t)fa_program_weight_count(s->program);
    w->threads = w->reestimate ? 1 : fa_pool_threads(s->pool);
    w->member = fa_new_array(w->context, (size_t)w->threads, sizeof *w->member);
    w->trained = fa_new_array(w->context, weights, sizeof(float));
    w->statistics = fa_new_array(w->context, (size_t)fa_program_statistics_count(s->program) + 1, sizeof(float));
    if (!w->member || !w->trained || !w->statistics) return FA_ERR_MEMORY;
    fa_program_trained(s->program, w->trained, w->statistics);
    if (o->sampler == FA_SAMPLER_GAUSSIAN) return (w->drawn = fa_new_array(w->context, weights, sizeof(float))) ? FA_OK : FA_ERR_MEMORY;
    for (int32_t t = 0; t < w->threads; t++) {
        FA_TRY(plan(s, w->context, w->reestimate, w->minibatch, &w->member[t].pass));
        if (!w->reestimate && !(w->member[t].gradient = fa_new_array(w->context, weights, sizeof(float)))) return FA_ERR_MEMORY;
    }
    return FA_OK;
}

static void end(work *w)
{
    for (int32_t t = 0; w->member && t < w->threads; t++) {
        fa_pass_destroy(w->member[t].pass);
        fa_delete(w->context, w->member[t].gradient);
    }
    fa_delete(w->context, w->member);
    fa_delete(w->context, w->trained);
    fa_delete(w->context, w->statistics);
    fa_delete(w->context, w->drawn);
}

static fa_status chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    work *w = user;
    member *m = &w->member[t];
    if (m->set != w->number) FA_TRY(fa_pass_set_weights(m->pass, w->weights, w->statistics));
    m->set = w->number;
    m->loss = 0;
    memset(m->gradient, 0, (size_t)fa_program_weight_count(w->sampling->program) * sizeof(float));
    return fa_pass_mean_gradient(m->pass, w->sampling->inputs, w->index + first, n, w->sampling->asked, 1 / (double)w->n, m->gradient, &m->loss, NULL);
}

static void reduce(void *user, int32_t t)
{
    work *w = user;
    const float *part = w->member[t].gradient;
    int64_t weights = fa_program_weight_count(w->sampling->program);
    for (int64_t i = 0; i < weights; i++) w->sum[i] += part[i];
    w->loss += w->member[t].loss;
}

/* fa_sampler_target.gradient */
static fa_status gradient(void *user, int32_t thread, const float *weights, float *statistics, const int64_t *index, int64_t n, float *out, double *loss)
{
    work *w = user;
    const fa_sampling *s = w->sampling;
    (void)thread;
    w->number++;
    w->n = n;
    w->weights = weights;
    w->index = index;
    w->sum = out;
    w->loss = 0;
    memset(out, 0, (size_t)fa_program_weight_count(s->program) * sizeof *out);
    if (w->reestimate) {
        FA_TRY(fa_pass_set_weights(w->member[0].pass, weights, statistics));
        FA_TRY(fa_pass_mean_gradient(w->member[0].pass, s->inputs, index, n, s->asked, 1 / (double)n, out, &w->loss, statistics));
        FA_TRY(fa_progress_add(s->progress, w->stage, n));
    } else {
        fa_waves waves = {.pool = s->pool, .n = n, .batch = fa_pass_batch(w->member[0].pass), .stage = w->stage, .progress = s->progress, .user = w, .chunk = chunk,
                          .reduce = reduce};
        FA_TRY(fa_waves_run(&waves, w->context));
    }
    *loss = w->loss;
    return FA_OK;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum);
}

/* Makes a chain's present weights draw `t` of the body. */
static void keep(const work *w, const fa_chain_state *state, int64_t t)
{
    fa_sketch_trace *trace = w->sampling->body->trace;
    fa_draw_encode(&trace->layout, trace->options.storage, w->trained, state->weights, trace->draw + (size_t)t * trace->draw_bytes);
    if (trace->statistics) memcpy(trace->statistics + t * trace->n_statistics, state->statistics, (size_t)trace->n_statistics * sizeof(float));
}

static fa_status gaussian(work *w)
{
    const fa_sampling *s = w->sampling;
    fa_sketch_body *b = s->body;
    fa_sketch_trace *trace = b->trace;
    for (int64_t t = s->first_draw; t < b->offset[b->n_layer]; t++) {
        if (trace->draw_bytes) {
            fa_trace_replay(b, t, w->trained, w->drawn);
            keep(w, &(fa_chain_state){.weights = w->drawn}, t);
        }
        FA_TRY(s->observe(s->user, t));
        if (s->pause) FA_TRY(s->pause(s->user, fa_trace_chain_of(b, t), NULL, t + 1));
    }
    for (int32_t c = 0; c < b->n_layer; c++) {
        fa_trace_weights(b, b->offset[c + 1] - 1, w->trained, w->drawn);
        trace->chain[c].distance = distance(w->drawn, w->trained, trace->layout.n_weight);
    }
    return FA_OK;
}

static void restore(fa_chain_state *to, const fa_chain_state *from, const fa_sampler_target *target)
{
    memcpy(to->weights, from->weights, (size_t)target->n_weight * sizeof(float));
    memcpy(to->second_moment, from->second_moment, (size_t)target->n_weight * sizeof(float));
    if (target->n_statistics) memcpy(to->statistics, from->statistics, (size_t)target->n_statistics * sizeof(float));
    to->step = from->step;
}

static fa_status walk(work *w, fa_chain *chain, int32_t c)
{
    const fa_sampling *s = w->sampling;
    const fa_sketch_body *b = s->body;
    const fa_trace_options *o = &b->trace->options;
    fa_chain_state *state = fa_chain_get_state(chain);
    double loss = 0;
    while (state->step < fa_sampling_steps(o)) {
        if (loss > 0) snprintf(w->stage, sizeof w->stage, "chain %d of %d, step %lld, minibatch loss %.4f nats", c + 1, b->n_layer, (long long)state->step, loss);
        else snprintf(w->stage, sizeof w->stage, "chain %d of %d, step %lld", c + 1, b->n_layer, (long long)state->step);
        FA_TRY(fa_chain_step(chain, 0, &loss));
        /* As published: the first step behind burn-in is kept, then every thinning-th. */
        int64_t behind = state->step - 1 - o->burn_in, done = behind < 0 ? 0 : behind / o->thinning + 1;
        if (behind >= 0 && behind % o->thinning == 0) {
            keep(w, state, b->offset[c] + done - 1);
            FA_TRY(s->observe(s->user, b->offset[c] + done - 1));
        }
        if (s->pause) FA_TRY(s->pause(s->user, c, state, b->offset[c] + done));
    }
    b->trace->chain[c].distance = distance(state->weights, w->trained, b->trace->layout.n_weight);
    return FA_OK;
}

static fa_status walk_all(work *w)
{
    const fa_sampling *s = w->sampling;
    const fa_trace_options *o = &s->body->trace->options;
    fa_sampler_target target = {.user = w, .n_weight = fa_program_weight_count(s->program), .n_statistics = fa_program_statistics_count(s->program), .weights = w->trained,
                                .statistics = w->statistics, .n_sample = s->n, .gradient = gradient};
    for (int32_t c = s->first_chain; c < s->body->n_layer; c++) {
        const fa_trace_chain *as = &s->body->trace->chain[c];
        fa_sampler_setup setup = {.kind = o->sampler, .seed = as->seed, .step_size = o->step_size, .gamma = o->gamma, .nbeta = o->nbeta, .noise = o->noise, .decay = o->decay,
                                  .epsilon = o->epsilon, .minibatch = w->minibatch};
        fa_chain *chain;
        FA_TRY(fa_chain_create(w->context, &setup, &target, as->id, &chain));
        if (c == s->first_chain && s->state.weights) restore(fa_chain_get_state(chain), &s->state, &target);
        fa_status status = walk(w, chain, c);
        fa_chain_destroy(chain);
        FA_TRY(status);
    }
    return FA_OK;
}

fa_status fa_sampling_run(const fa_sampling *s)
{
    const fa_trace_options *o = &s->body->trace->options;
    work w = {.sampling = s, .context = s->network->context, .reestimate = o->batchnorm == FA_BATCHNORM_REESTIMATE, .minibatch = minibatch_of(o, s->n)};
    fa_status status = begin(&w);
    if (status == FA_OK) status = o->sampler == FA_SAMPLER_GAUSSIAN ? gaussian(&w) : walk_all(&w);
    end(&w);
    return status;
}

fa_status fa_sampling_bytes(const fa_sampling *s, fa_context *counter, size_t *out)
{
    const fa_trace_options *o = &s->body->trace->options;
    int64_t minibatch = minibatch_of(o, s->n);
    bool reestimate = o->batchnorm == FA_BATCHNORM_REESTIMATE;
    size_t weights = (size_t)fa_program_weight_count(s->program) * sizeof(float), threads = reestimate ? 1 : (size_t)s->network->context->threads;
    size_t bytes = weights + (size_t)fa_program_statistics_count(s->program) * sizeof(float) + (size_t)minibatch * sizeof(int64_t) + 4 * FA_ALIGN;
    if (o->sampler == FA_SAMPLER_GAUSSIAN) {
        *out = bytes + weights;
        return FA_OK;
    }
    fa_pass *pass;
    uint64_t before = fa_context_memory_used(counter);
    FA_TRY(plan(s, counter, reestimate, minibatch, &pass));
    size_t each = (size_t)(fa_context_memory_used(counter) - before) + (reestimate ? 0 : weights + FA_ALIGN);
    fa_pass_destroy(pass);
    fa_sampler_target target = {.n_weight = fa_program_weight_count(s->program), .n_statistics = fa_program_statistics_count(s->program), .n_sample = s->n};
    *out = bytes + threads * each + fa_chain_bytes(&target, minibatch);
    return FA_OK;
}
