/* SPDX-License-Identifier: Apache-2.0 */
#include "score/judge.h"

#include "base/error.h"
#include "sketch/trace.h"

/* Floats of the eight arrays that follow the struct, in their order there. */
#define ARRAYS 8

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
    fa_scores_setup setup = {.kernels = j->kernels, .n = b->n_reference, .gram = b->gram, .factor = b->factor, .predicted = b->predicted,
                             .ridge = b->options.ridge, .topk = b->options.topk, .want = want};
    j->blocks = fa_new_array(context, all, sizeof(float));
    fa_status status = j->blocks ? fa_scores_create(context, &setup, &j->scores) : FA_ERR_MEMORY;
    if (status != FA_OK) {
        fa_judge_destroy(j);
        return status;
    }
    float **place[ARRAYS] = {&j->blocks, &j->share, &j->tau, &j->couplings, &j->scratch, &j->mean, &j->deviation, &j->concordance}, *at = j->blocks;
    for (int i = 0; i < ARRAYS; at += size[i++]) *place[i] = size[i] ? at : NULL;
    *out = j;
    return FA_OK;
}

void fa_judge_sign_losses(fa_judge *j, int64_t n)
{
    fa_trace_sign(j->body, n, j->blocks, j->blocks, j->mean, j->deviation);
}

fa_status fa_judge_couple(fa_judge *j, int64_t first, int64_t n)
{
    const fa_sketch_body *b = j->body;
    int64_t length = b->offset[b->n_layer];
    for (int64_t i = 0; i < n; i++)
        if (fa_space_normalise(&j->space, j->blocks + i * length, j->share + i * b->n_layer) == FA_ROW_NOT_FINITE)
            return fa_fail(FA_ERR_NOT_FINITE, "input %lld: the model's %s are not finite", (long long)(first + i), b->trace ? "losses" : "gradients");
    fa_space_tau(&j->space, n, j->share, j->tau);
    fa_rows rows = {.n = n, .block = j->blocks, .share = j->share, .tau = j->tau};
    fa_space_couplings(&j->space, j->kernels, &rows, &j->references, j->couplings, b->n_reference, j->scratch);
    if (j->concordance) {
        fa_trace_rows x = {.rows = rows, .mean = j->mean, .deviation = j->deviation}, r = fa_body_trace_rows(b);
        fa_concordance(&j->space, j->kernels, &x, &r, j->concordance, b->n_reference, j->scratch);
    }
    return FA_OK;
}

void fa_judge_score(fa_judge *j, int64_t i, uint32_t want, fa_scores_result *result)
{
    int64_t n = j->body->n_reference;
    fa_scores_compute(j->scores, j->couplings + i * n, j->concordance ? j->concordance + i * n : NULL, j->tau[i] > 0, want, result);
}
