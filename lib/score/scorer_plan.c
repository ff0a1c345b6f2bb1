/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/error.h"

#include <string.h>

/* Passes for inputs of one shape, as many shapes as are asked for. Signatures are sums over positions, so couplings do not know which shape they came from. */

static void lane_end(fa_scorer_lane *l)
{
    fa_pass_destroy(l->extraction.pass);
    fa_projector_destroy(l->projector);
    fa_tracer_end(&l->tracer);
    *l = (fa_scorer_lane){.batch = 0};
}

static void plan_end(fa_context *context, fa_scorer_plan *p)
{
    lane_end(&p->single);
    lane_end(&p->many);
    fa_own_end(&p->own);
    fa_delete(context, p->token_loss);
    fa_delete(context, p->token_mask);
    *p = (fa_scorer_plan){.single = {.batch = 0}};
}

static fa_status check_classes(const fa_sketch_body *b, const fa_pass *pass)
{
    const int64_t classes = fa_head_classes(fa_pass_head(pass));
    if (classes == b->classes) return FA_OK;
    return fa_fail(FA_ERR_MISMATCH, "the sketch was made for %lld classes; the model has %lld", (long long)b->classes, (long long)classes);
}

/* What other plans have left of draw_cache_bytes. */
static uint64_t cache_left(const fa_scorer *s)
{
    uint64_t left = s->options.draw_cache_bytes;
    for (int32_t i = 0; i < s->shapes.slots; i++) {
        const fa_tracer *t = &s->plan[i].single.tracer;
        left -= (uint64_t)t->slots * (t->kept_bytes + sizeof *t->has);
    }
    return left;
}

static fa_status trace_lane_begin(fa_scorer *s, const fa_pass_request *request, int64_t batch, fa_scorer_lane *l)
{
    FA_TRY(fa_tracer_begin(&l->tracer, s->context, s->varied, request->inputs, request->n_inputs, batch, request->loss));
    l->batch = l->tracer.batch;
    FA_TRY(check_classes(s->sketch->body, l->tracer.pass));
    /* A batch shares what it takes to make a draw. */
    return batch == 1 ? fa_tracer_keep(&l->tracer, s->sketch->body->offset[s->sketch->body->n_layer], cache_left(s)) : FA_OK;
}

/* What the taps of a lane work in. */
static size_t workspace(void *user, const fa_pass *pass)
{
    const fa_scorer *s = user;
    return fa_extract_scratch(s->network->program, s->sketch->body, pass);
}

/* `other`: a lane whose projections this one may share, and which outlives it; or NULL. */
static fa_status lane_begin(fa_scorer *s, const fa_pass_request *request, int64_t batch, const fa_scorer_lane *other, fa_scorer_lane *l)
{
    if (s->varied) return trace_lane_begin(s, request, batch, l);
    const fa_program *program = s->network->program;
    const fa_sketch_body *b = s->sketch->body;
    fa_pass_request r = *request;
    r.batch = batch;
    r.workspace = workspace;
    r.workspace_user = s;
    FA_TRY(fa_pass_create(&r, &l->extraction.pass));
    FA_TRY(check_classes(b, l->extraction.pass));
    l->extraction.scratch = fa_pass_workspace(l->extraction.pass);
    if (other && fa_projector_serves(program, other->extraction.pass, l->extraction.pass)) l->extraction.projector = other->extraction.projector;
    else FA_TRY(fa_projector_create(s->context, program, b, l->extraction.pass, &l->projector));
    if (l->projector) l->extraction.projector = l->projector;
    l->batch = fa_pass_batch(l->extraction.pass);
    return FA_OK;
}

/* Values and gradients that a core's caches may be hoped to keep until the taps read them again. */
#define CACHED (4 << 20)

/* Inputs at a time that are enough for weights to be read seldom. */
#define ENOUGH 8

/* Inputs of a batch that go through the network together: gradients of a large batch would come back from memory. Its draws are what a batch of traces shares. How much memory one input
 * takes, a pass says that is made for that alone. */
static fa_status together(fa_scorer *s, const fa_pass_request *request, fa_scorer_plan *p, int64_t *inputs)
{
    const int64_t batch = *inputs = s->options.max_batch, most = batch / ENOUGH;
    if (s->varied || most < 2) return FA_OK;
    FA_TRY(lane_begin(s, request, 1, NULL, &p->single));
    const int64_t wanted = (int64_t)((double)fa_pass_bytes(p->single.extraction.pass) * (double)batch / CACHED) + 1, parts = wanted < most ? wanted : most;
    lane_end(&p->single);
    *inputs = (batch + parts - 1) / parts;
    return FA_OK;
}

/* Single inputs run in the memory of a batch's pass. */
static fa_status lanes_begin(fa_scorer *s, const fa_pass_request *request, fa_scorer_plan *p)
{
    fa_pass_request beside = *request;
    if (s->options.max_batch > 1) {
        int64_t inputs;
        FA_TRY(together(s, request, p, &inputs));
        FA_TRY(lane_begin(s, request, inputs, NULL, &p->many));
        beside.beside = p->many.extraction.pass;
    }
    return lane_begin(s, &beside, 1, p->many.batch && !s->varied ? &p->many : NULL, &p->single);
}

/* What a plan keeps of the positions of an output. */
static fa_status targets_begin(fa_scorer *s, fa_scorer_plan *p)
{
    const bool tokens = !s->varied && s->sketch->body->options.loss == FA_LOSS_NEXT_TOKEN;
    if (!s->varied && !tokens) return FA_OK;
    const fa_head *head = fa_pass_head(tokens ? p->single.extraction.pass : p->single.tracer.pass);
    FA_TRY(fa_own_begin(&p->own, s->context, head, tokens ? 1 : s->options.max_batch));
    if (!tokens) return FA_OK;
    p->token_loss = fa_new_array(s->context, (size_t)head->positions, sizeof *p->token_loss);
    p->token_mask = fa_new_array(s->context, (size_t)head->positions, sizeof *p->token_mask);
    return p->token_loss && p->token_mask ? FA_OK : FA_ERR_MEMORY;
}

/* A key of shapes: for each input its rank, then its dimensions but the first. */
static fa_status plan_begin(fa_scorer *s, const int64_t *key, fa_scorer_plan *p)
{
    const fa_sketch_body *b = s->sketch->body;
    fa_arena arena = {.context = s->context};
    fa_array *inputs = fa_arena_array(&arena, (size_t)b->n_input, sizeof *inputs);
    int64_t *shapes = fa_arena_array(&arena, (size_t)b->n_input * FA_MAX_DIMS, sizeof *shapes);
    fa_status status = inputs && shapes ? FA_OK : FA_ERR_MEMORY;
    for (int32_t i = 0; i < b->n_input && status == FA_OK; i++, key += FA_MAX_DIMS) {
        int64_t *shape = shapes + i * FA_MAX_DIMS;
        memcpy(shape, key, FA_MAX_DIMS * sizeof *shape);
        shape[0] = 1;
        inputs[i] = (fa_array){.shape = shape, .ndim = (int32_t)key[0], .dtype = b->input[i].dtype};
    }
    fa_pass_request request = {.program = s->network->program, .context = s->context, .inputs = inputs, .n_inputs = b->n_input, .tapped = s->tapped,
                               .loss = b->options.loss, .output_gradient = s->options.output_gradient, .output_gradient_user = s->options.output_gradient_user, .pool = s->pool};
    if (status == FA_OK) status = lanes_begin(s, &request, p);
    fa_arena_clear(&arena);
    if (status == FA_OK) status = targets_begin(s, p);
    if (status != FA_OK) plan_end(s->context, p);
    return status;
}

/* Makes the plan of a shape, then lets go of the one that has not been used for longest. */
static fa_status add(fa_scorer *s, const int64_t *key)
{
    fa_scorer_plan made = {.single = {.batch = 0}};
    FA_TRY(plan_begin(s, key, &made));
    int32_t slot = fa_lru_oldest(&s->shapes);
    plan_end(s->context, &s->plan[slot]);
    s->plan[slot] = made;
    s->current = &s->plan[slot];
    fa_lru_set(&s->shapes, slot, key);
    return FA_OK;
}

fa_status fa_scorer_plans_begin(fa_scorer *s)
{
    const fa_sketch_body *b = s->sketch->body;
    const fa_program *program = s->network->program;
    FA_TRY(fa_lru_begin(&s->shapes, s->context, (int32_t)s->options.plan_cache, b->n_input * FA_MAX_DIMS));
    s->plan = fa_new_array(s->context, (size_t)s->shapes.slots, sizeof *s->plan);
    s->shape = fa_new_array(s->context, (size_t)s->shapes.length, sizeof *s->shape);
    if (!s->plan || !s->shape) return FA_ERR_MEMORY;
    if (!b->trace) {
        s->tapped = fa_new_array(s->context, (size_t)fa_program_layer_count(program) + 1, sizeof *s->tapped);
        if (!s->tapped) return FA_ERR_MEMORY;
        fa_body_taps(program, b, s->tapped);
    }
    for (int32_t i = 0; i < b->n_input; i++) {
        int64_t *key = s->shape + i * FA_MAX_DIMS;
        key[0] = b->input[i].ndim + 1;
        memcpy(key + 1, b->input[i].dim, (size_t)b->input[i].ndim * sizeof *key);
    }
    FA_TRY(add(s, s->shape));
    const fa_pass *pass = s->varied ? s->current->single.tracer.pass : s->current->single.extraction.pass;
    s->flops_forward = fa_pass_flops_forward(pass);
    s->flops_score = s->varied ? s->flops_forward * (double)(1 + b->offset[b->n_layer])
                               : s->flops_forward + fa_pass_flops_backward(pass) + fa_extract_flops(program, b, pass);
    return FA_OK;
}

void fa_scorer_plans_end(fa_scorer *s)
{
    for (int32_t i = 0; s->plan && i < s->shapes.slots; i++) plan_end(s->context, &s->plan[i]);
    fa_delete(s->context, s->plan);
    fa_delete(s->context, s->shape);
    fa_delete(s->context, s->tapped);
    fa_lru_end(&s->shapes);
}

fa_status fa_scorer_plan_for(fa_scorer *s)
{
    for (int32_t i = 0; i < s->network->n_input; i++) {
        const fa_array *a = &s->inputs[i];
        int64_t *key = s->shape + i * FA_MAX_DIMS;
        memset(key, 0, FA_MAX_DIMS * sizeof *key);
        key[0] = a->ndim;
        for (int32_t d = 1; d < a->ndim; d++) key[d] = a->shape[d];
    }
    int32_t slot = fa_lru_find(&s->shapes, s->shape);
    if (slot < 0) return add(s, s->shape);
    s->current = &s->plan[slot];
    return FA_OK;
}
