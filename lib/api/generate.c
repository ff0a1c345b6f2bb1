/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/generate.h"

#include "api/check.h"
#include "api/model.h"
#include "api/tensor.h"
#include "base/options.h"
#include "graph/array.h"
#include "sketch/progress.h"

#include <fattr/generate.h>

static const fa_generate_options defaults = {.struct_size = sizeof defaults, .tokens = 32, .stop = -1, .batch = 16};

void fa_generate_options_init(fa_generate_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

static fa_status resolve(const fa_generate_options *given, fa_generate_options *out)
{
    fa_generate_options o = defaults;
    FA_TRY(fa_options_read("fa_generate_options", &o, sizeof o, given));
    if (o.tokens == 0) o.tokens = defaults.tokens;
    if (o.batch == 0) o.batch = defaults.batch;
    if (o.tokens < 1 || o.tokens > 1 << 20) return fa_fail(FA_ERR_ARGUMENT, "fa_generate_options.tokens: %lld is not in 1 to %d", (long long)o.tokens, 1 << 20);
    if (o.batch < 1 || o.batch > 4096) return fa_fail(FA_ERR_ARGUMENT, "fa_generate_options.batch: %d is not in 1 to 4096", o.batch);
    if (o.pad < 0) return fa_fail(FA_ERR_ARGUMENT, "fa_generate_options.pad: %lld is no token", (long long)o.pad);
    *out = o;
    return FA_OK;
}

static fa_status check_prompts(const fa_array *prompts, const int64_t *lengths)
{
    int64_t count;
    FA_TRY(fa_array_check(prompts, "prompts", &count));
    if (prompts->ndim != 2) return fa_fail(FA_ERR_SHAPE, "prompts: %d dimensions; [n, tokens] is wanted", prompts->ndim);
    if (count == 0) return fa_fail(FA_ERR_ARGUMENT, "prompts: there are none, or they are empty");
    if (fa_dtype_is_real(prompts->dtype)) return fa_fail(FA_ERR_DTYPE, "prompts: %s where tokens are integers", fa_dtype_name(prompts->dtype));
    for (int64_t i = 0; lengths && i < prompts->shape[0]; i++)
        if (lengths[i] < 1 || lengths[i] > prompts->shape[1])
            return fa_fail(FA_ERR_ARGUMENT, "fa_generate_options.lengths: prompt %lld has %lld of %lld tokens", (long long)i, (long long)lengths[i], (long long)prompts->shape[1]);
    return FA_OK;
}

static fa_status step(void *user, int64_t made)
{
    return fa_progress_add(user, "responses", made);
}

static fa_status make(const fa_model *m, const fa_generation *g, fa_tensor **tokens, fa_tensor **mask)
{
    int64_t shape[2] = {g->prompts->shape[0]};
    FA_TRY(fa_generation_length(g, &shape[1]));
    FA_TRY(fa_tensor_new(m->context, "x", FA_INT64, 2, shape, tokens));
    FA_TRY(fa_tensor_new(m->context, FA_ARRAY_MASK, FA_UINT8, 2, shape, mask));
    return fa_generation_run(g, shape[1], (*tokens)->data, (*mask)->data);
}

fa_status fa_model_generate(const fa_model *model, const fa_array *prompts, const fa_generate_options *options, fa_tensor **tokens, fa_tensor **mask)
{
    fa_generate_options o;
    fa_tensor *x = NULL, *response = NULL;
    fa_progress_state progress;
    FA_CHECK(model);
    FA_CHECK(prompts);
    FA_CHECK(tokens);
    FA_CHECK(mask);
    FA_TRY(resolve(options, &o));
    FA_TRY(check_prompts(prompts, o.lengths));
    fa_progress_begin(&progress, &(fa_sketch_options){.progress = o.progress, .progress_user = o.progress_user, .timeout_ms = o.timeout_ms}, prompts->shape[0] * o.tokens);
    const fa_generation g = {.program = model->program, .context = model->context, .prompts = prompts, .lengths = o.lengths, .tokens = o.tokens, .stop = o.stop, .pad = o.pad,
                             .batch = o.batch, .step = step, .user = &progress};
    fa_status status = make(model, &g, &x, &response);
    if (status != FA_OK) {
        fa_tensor_release(x);
        fa_tensor_release(response);
        return status;
    }
    *tokens = x;
    *mask = response;
    return FA_OK;
}
