/* SPDX-License-Identifier: Apache-2.0 */
#include "score/finish.h"

#include "base/error.h"
#include "score/cholesky.h"
#include "sketch/trace.h"

fa_space fa_body_space(const fa_sketch_body *b)
{
    return (fa_space){.n_layer = b->n_layer, .blocks = b->options.blocks, .offset = b->offset};
}

fa_rows fa_body_rows(const fa_sketch_body *b)
{
    return (fa_rows){.n = b->n_reference, .block = b->blocks, .share = b->share, .tau = b->tau};
}

fa_trace_rows fa_body_trace_rows(const fa_sketch_body *b)
{
    return (fa_trace_rows){.rows = fa_body_rows(b), .mean = b->trace->mean, .deviation = b->trace->deviation};
}

fa_scores_setup fa_body_scores_setup(const fa_sketch_body *b, int32_t kernels, uint32_t want)
{
    return (fa_scores_setup){.kernels = fa_dot_kernels_for(kernels), .n = b->n_reference, .gram = b->gram, .factor = b->factor, .space = fa_body_space(b),
                             .rows = fa_body_rows(b), .wide = b->n_reference > FA_GRAM_MOST, .subset = b->options.subset != FA_SUBSET_ALL, .predicted = b->predicted, .ridge = b->options.ridge, .topk = b->options.topk, .want = want};
}

/* Unit blocks and shares from raw ones. */
static fa_status normalise(fa_sketch_body *b, const fa_dot_kernels *kernels, int64_t *signals)
{
    fa_space space = fa_body_space(b);
    int64_t length = b->offset[b->n_layer];
    *signals = 0;
    for (int64_t i = 0; i < b->n_reference; i++) {
        int32_t kind = fa_space_normalise(&space, kernels, b->blocks + i * length, b->share + i * b->n_layer);
        if (kind == FA_ROW_NOT_FINITE)
            return fa_fail(FA_ERR_NOT_FINITE, "reference %lld: the model's %s are not finite", (long long)b->id[i], b->trace ? "losses" : "gradients");
        *signals += kind == FA_ROW_SIGNAL;
    }
    fa_space_tau(&space, b->n_reference, b->share, b->tau);
    return FA_OK;
}

fa_status fa_body_derive(fa_sketch_body *b, int32_t kernels)
{
    fa_space space = fa_body_space(b);
    if (b->trace) {
        int64_t signals;
        fa_trace_sign_references(b);
        FA_TRY(normalise(b, fa_dot_kernels_for(kernels), &signals));
    } else {
        fa_space_tau(&space, b->n_reference, b->share, b->tau);
    }
    if (b->gram) fa_cholesky(fa_dot_kernels_for(kernels), b->gram, b->n_reference, b->options.ridge, b->factor);
    return FA_OK;
}

fa_status fa_body_finish(fa_sketch_body *b, int32_t kernels, fa_pool *pool)
{
    fa_space space = fa_body_space(b);
    int64_t signals;
    FA_TRY(normalise(b, fa_dot_kernels_for(kernels), &signals));
    if (!signals) {
        if (b->trace) return fa_fail(FA_ERR_NO_SIGNAL, "no reference's loss changes over the draws: lower gamma or raise step_size");
        return fa_fail(FA_ERR_NO_SIGNAL, "no reference has a gradient in any of the tapped layers");
    }
    if (!b->gram) return FA_OK;
    fa_rows rows = fa_body_rows(b);
    FA_TRY(fa_space_gram(b->arena.context, &space, fa_dot_kernels_for(kernels), &rows, pool, b->gram));
    fa_cholesky(fa_dot_kernels_for(kernels), b->gram, b->n_reference, b->options.ridge, b->factor);
    return FA_OK;
}
