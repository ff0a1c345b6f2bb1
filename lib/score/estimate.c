/* SPDX-License-Identifier: Apache-2.0 */
#include "score/build_parts.h"

#include "base/context.h"
#include "base/error.h"
#include "score/couplings_fixed.h"
#include "score/judge.h"
#include "score/scorer.h"
#include "score/trace_build.h"
#include "sketch/file.h"
#include "sketch/fit.h"
#include "sketch/project.h"

#include <fattr/score.h>

/*
 * What a build will take: the sizes of the stages, from the functions beside the code that allocates, and those of passes and solvers by making
 * one in a context that counts for itself. Every layer is taken to have signal and every reference to be kept.
 */
typedef struct sizing {
    const fa_build_request *request;
    fa_blocks blocks;
    fa_sketch_body body; /* layers' dimensions and offsets alone */
    fa_pass *pass;
    size_t pass_bytes, scores_bytes;
    int32_t threads;
    int64_t batch;
} sizing;

static size_t most(size_t a, size_t b)
{
    return a > b ? a : b;
}

static fa_status describe_body(sizing *z, fa_arena *arena)
{
    fa_sketch_body *b = &z->body;
    const fa_program *program = z->request->network->program;
    b->options = *z->request->options;
    b->n_reference = z->request->references->n;
    b->layer = fa_arena_array(arena, (size_t)z->blocks.count, sizeof *b->layer);
    b->offset = fa_arena_array(arena, (size_t)z->blocks.count + 1, sizeof *b->offset);
    if (!b->layer || !b->offset) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < z->blocks.count; i++) {
        const fa_block *block = &z->blocks.block[i];
        const fa_layer *l = fa_program_layer(program, block->layer);
        b->layer[i] = (fa_sketch_layer){.index = block->layer, .in = l->in, .out = l->out, .groups = l->groups, .k_in = block->side[0].k,
                                        .k_out = block->side[1].k, .random_in = block->side[0].random, .random_out = block->side[1].random};
        b->offset[i + 1] = b->offset[i] + (int64_t)block->side[0].k * block->side[1].k;
    }
    b->n_layer = z->blocks.count;
    return FA_OK;
}

/* The peak over the stages of fa_build(). */
static size_t build_bytes(const sizing *z)
{
    const fa_build_request *r = z->request;
    const fa_program *program = r->network->program;
    const fa_refset *refs = r->references;
    bool filters = r->options->drop_misclassified && refs->label;
    size_t t = (size_t)z->threads, n = (size_t)refs->n, layers = (size_t)z->body.n_layer;
    size_t copies = filters ? n * fa_refset_row_bytes(refs) : 0;
    size_t base = t * (z->pass_bytes + sizeof(fa_extraction)) + copies + layers * 256 + 4 * 16384;
    size_t predicting = filters ? n * (sizeof(int64_t) + sizeof(bool)) : 0;
    size_t total = z->blocks.total_doubles * sizeof(double), projections = 0;
    size_t summing = total + t * (z->blocks.partial_floats * sizeof(float) + fa_moments_scratch(program, &z->blocks, z->pass));
    for (size_t i = 0; i < layers; i++)
        projections += sizeof(float) * (size_t)(z->body.layer[i].in * z->body.layer[i].k_in + z->body.layer[i].out * z->body.layer[i].k_out);
    size_t projecting = total + projections + fa_project_bytes(&z->blocks, z->threads);
    int64_t m = r->calibration ? r->calibration->n : 0;
    size_t signing = fa_sketch_bytes(&z->body, refs->n, m) + fa_projector_bytes(program, &z->body, z->pass) +
        t * fa_extract_scratch(program, &z->body, z->pass);
    const fa_space space = fa_body_space(&z->body);
    size_t integers = fa_couplings_fixed_scratch(&space, fa_fixed_kernels_for(FA_KERNELS_FAST), z->batch);
    size_t judging = m ? t * (fa_judge_bytes(&z->body, refs->n, z->batch, 0) + integers + z->scores_bytes) : 0;
    return base + most(most(predicting, summing), most(projecting, signing + judging));
}

/* Of a scorer's taps. */
static size_t workspace(void *user, const fa_pass *pass)
{
    const sizing *z = user;
    return fa_extract_scratch(z->request->network->program, &z->body, pass);
}

static fa_status plan(sizing *z, fa_context *context, const fa_array *inputs, int64_t batch, size_t (*space)(void *, const fa_pass *), fa_pass **out)
{
    const fa_network *n = z->request->network;
    return fa_pass_create(&(fa_pass_request){.program = n->program, .context = context, .inputs = inputs, .n_inputs = n->n_input, .batch = batch,
                                             .tapped = z->blocks.tapped, .loss = z->request->options->loss, .workspace = space, .workspace_user = z},
                          out);
}

/* All scores over so many references. */
static fa_status measure_scores(sizing *z, fa_context *counter, fa_arena *arena)
{
    fa_scores *scores;
    fa_scores_setup setup = fa_body_scores_setup(&z->body, counter->kernels, FA_WANT_COUPLINGS);
    setup.predicted = fa_arena_array(arena, (size_t)z->body.n_reference, sizeof(int64_t));
    if (!setup.predicted) return FA_ERR_MEMORY;
    FA_TRY(fa_scores_create(counter, &setup, &scores));
    z->scores_bytes = (size_t)fa_context_memory_used(counter);
    fa_scores_destroy(scores);
    return FA_OK;
}

static fa_status estimate(sizing *z, fa_context *counter, const fa_array *inputs, fa_memory_estimate *out)
{
    const fa_build_request *r = z->request;
    const fa_program *program = r->network->program;
    fa_pass *single;
    FA_TRY(plan(z, counter, inputs, r->options->batch, NULL, &z->pass));
    z->pass_bytes = (size_t)fa_context_memory_used(counter);
    z->batch = fa_pass_batch(z->pass);
    int64_t m = r->calibration ? r->calibration->n : 0, longest = m > r->references->n ? m : r->references->n;
    z->threads = fa_crew_threads(r->network->context, z->batch, longest);
    out->build_bytes = build_bytes(z);
    out->sketch_bytes = fa_sketch_bytes(&z->body, r->references->n, m);
    out->file_bytes = fa_sketch_file_bytes(&z->body, r->references->n, m);
    fa_pass_destroy(z->pass);
    z->pass = NULL;
    FA_TRY(plan(z, counter, inputs, 1, workspace, &single));
    out->scorer_bytes = fa_context_memory_used(counter) + fa_projector_bytes(program, &z->body, single) +
                        z->scores_bytes + fa_scorer_bytes(&z->body, r->references->n, r->network->n_input, 1);
    if (!m) out->scorer_bytes += fa_fixed_bytes(z->body.n_layer, z->body.offset, r->references->n, FA_SIGNATURES_INT16);
    fa_pass_destroy(single);
    return FA_OK;
}

fa_status fa_build_estimate(const fa_build_request *r, fa_memory_estimate *out)
{
    fa_context counter;
    fa_arena arena = {.context = r->network->context};
    if (r->options->trace) return fa_trace_estimate(r, out);
    sizing z = {.request = r};
    fa_memory_estimate own = *out;
    fa_array *inputs = fa_arena_array(&arena, (size_t)(r->network->n_input + FA_ASIDES), sizeof *inputs);
    fa_build_shadow(r->network->context, &counter);
    fa_status status = inputs ? fa_network_order(r->network, r->references->input, r->references->n_input, inputs) : FA_ERR_MEMORY;
    if (status == FA_OK) status = fa_blocks_afford(r->network, &counter, r->options, inputs, &arena, &z.blocks);
    if (status == FA_OK) status = describe_body(&z, &arena);
    if (status == FA_OK) status = measure_scores(&z, &counter, &arena);
    if (status == FA_OK) status = estimate(&z, &counter, inputs, &own);
    fa_pass_destroy(z.pass);
    fa_arena_clear(&arena);
    if (status == FA_OK) *out = own;
    return status;
}
