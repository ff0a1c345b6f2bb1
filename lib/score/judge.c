/* SPDX-License-Identifier: Apache-2.0 */
#include "score/judge.h"

#include "base/context.h"
#include "base/error.h"
#include "score/couplings_fixed.h"
#include "sketch/trace.h"

#include <fattr/score.h>
#include <string.h>

/* Floats of the arrays that follow the struct, in their order there. */
#define ARRAYS 10

static void sizes(const fa_sketch_body *b, int64_t n_reference, int64_t batch, uint32_t want, size_t size[ARRAYS])
{
    fa_space space = fa_body_space(b);
    size_t n = (size_t)batch, layers = (size_t)b->n_layer;
    size[0] = n * (size_t)b->offset[layers];
    size[1] = n * layers;
    size[2] = n;
    size[3] = n * (size_t)n_reference;
    size[4] = (fa_space_scratch(&space) + sizeof(float) - 1) / sizeof(float);
    size[5] = size[6] = b->trace ? n * layers : 0;
    size[7] = want & FA_WANT_CONCORDANCE ? n * (size_t)n_reference : 0;
    size[8] = b->options.subset ? (size_t)n_reference : 0;
    size[9] = 2 * n; /* int64_t */
    for (int i = 0; i < ARRAYS; i++) size[i] = (size[i] + 15) / 16 * 16; /* each begins at a multiple of FA_ALIGN */
}

size_t fa_judge_bytes(const fa_sketch_body *b, int64_t n_reference, int64_t batch, uint32_t want)
{
    size_t size[ARRAYS], all = sizeof(fa_judge) + 2 * FA_ALIGN;
    sizes(b, n_reference, batch, want, size);
    for (int i = 0; i < ARRAYS; i++) all += size[i] * sizeof(float);
    return all;
}

void fa_judge_destroy(fa_judge *j)
{
    if (!j) return;
    fa_scores_destroy(j->scores);
    fa_delete(j->context, j->fixed_scratch);
    fa_delete(j->context, j->blocks);
    fa_delete(j->context, j);
}

fa_status fa_judge_create(fa_context *context, const fa_sketch_body *b, int32_t kernels, int64_t batch, uint32_t want, fa_judge **out)
{
    fa_judge *j = fa_new(context, sizeof *j);
    if (!j) return FA_ERR_MEMORY;
    *j = (fa_judge){.context = context, .body = b, .kernels = fa_dot_kernels_for(kernels), .space = fa_body_space(b),
                    .references = fa_body_rows(b), .batch = batch};
    size_t size[ARRAYS], all = 0;
    want &= fa_body_scores(b);
    sizes(b, b->n_reference, batch, want, size);
    for (int i = 0; i < ARRAYS; i++) all += size[i];
    fa_scores_setup setup = fa_body_scores_setup(b, kernels, want);
    j->blocks = fa_new_array(context, all, sizeof(float));
    fa_status status = j->blocks ? fa_scores_create(context, &setup, &j->scores) : FA_ERR_MEMORY;
    if (status != FA_OK) {
        fa_judge_destroy(j);
        return status;
    }
    float **place[ARRAYS] = {&j->blocks, &j->share, &j->tau, &j->couplings, &j->scratch, &j->mean, &j->deviation, &j->concordance, &j->part, NULL}, *at = j->blocks;
    for (int i = 0; i < ARRAYS - 1; at += size[i++]) *place[i] = size[i] ? at : NULL;
    j->predicted = (int64_t *)(void *)at;
    *out = j;
    return FA_OK;
}

fa_status fa_judge_read(fa_judge *j, int32_t signatures)
{
    if (signatures == FA_SIGNATURES_F32) return FA_OK;
    j->fixed = fa_fixed_kernels_for(j->context->kernels);
    j->fixed_scratch = fa_new(j->context, fa_couplings_fixed_scratch(&j->space, j->fixed, j->batch));
    return j->fixed_scratch ? fa_body_fixed((fa_sketch_body *)(uintptr_t)j->body, signatures, &j->references.fixed) : FA_ERR_MEMORY;
}

static void couple(fa_judge *j, const fa_rows *x, const fa_rows *r, float *out)
{
    if (r->fixed) fa_couplings_fixed(&j->space, j->fixed, x, r, out, j->body->n_reference, j->fixed_scratch);
    else fa_space_couplings(&j->space, j->kernels, x, r, out, j->body->n_reference, j->scratch);
}

void fa_judge_sign_losses(fa_judge *j, int64_t n)
{
    fa_trace_sign(j->body, n, j->blocks, j->blocks, j->mean, j->deviation);
}

/* Each row with the references of its class. */
static void couple_parts(fa_judge *j, const fa_rows *rows)
{
    int64_t n = j->body->n_reference;
    for (int64_t i = 0; i < rows->n; i++) {
        fa_rows one = *rows, part = j->references;
        float *c = j->couplings + i * n;
        one.n = 1;
        one.pick = &i;
        part.n = fa_scores_part(j->scores, j->predicted[i], &part.pick);
        couple(j, &one, &part, j->part);
        memset(c, 0, (size_t)n * sizeof *c);
        for (int64_t e = 0; e < part.n; e++) c[part.pick[e]] = j->part[e];
    }
}

fa_status fa_judge_couple(fa_judge *j, int64_t first, int64_t n)
{
    const fa_sketch_body *b = j->body;
    int64_t length = b->offset[b->n_layer];
    for (int64_t i = 0; i < n; i++)
        if (fa_space_normalise(&j->space, j->kernels, j->blocks + i * length, j->share + i * b->n_layer) == FA_ROW_NOT_FINITE)
            return fa_fail(FA_ERR_NOT_FINITE, "input %lld: the model's %s are not finite", (long long)(first + i), b->trace ? "losses" : "gradients");
    fa_space_tau(&j->space, n, j->share, j->tau);
    fa_rows rows = {.n = n, .block = j->blocks, .share = j->share, .tau = j->tau};
    if (b->options.subset) couple_parts(j, &rows);
    else couple(j, &rows, &j->references, j->couplings);
    if (j->concordance) {
        fa_trace_rows x = {.rows = rows, .mean = j->mean, .deviation = j->deviation}, r = fa_body_trace_rows(b);
        fa_concordance(&j->space, j->kernels, &x, &r, j->concordance, b->n_reference, j->scratch);
    }
    return FA_OK;
}

void fa_judge_score(fa_judge *j, int64_t i, uint32_t want, fa_scores_result *result)
{
    int64_t n = j->body->n_reference;
    fa_scores_compute(j->scores,
                      &(fa_scores_input){.c = j->couplings + i * n, .concordance = j->concordance ? j->concordance + i * n : NULL, .signal = j->tau[i] > 0,
                                         .predicted = j->predicted[i]}, want, result);
}
