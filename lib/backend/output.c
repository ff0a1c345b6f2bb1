/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/engine.h"
#include "base/alloc.h"
#include "base/error.h"
#include "graph/array.h"

#include <math.h>
#include <string.h>

/* What becomes of a pass's outputs: they are held against what is asked of them. */

/* Where row `row` of an array of the caller begins, which has a number for each position. */
static fa_status find_row(const fa_pass *p, const fa_array *from, const char *what, int64_t row, int64_t *at)
{
    int64_t each = 1;
    bool fits = from->ndim > 0 && row < from->shape[0];
    for (int32_t d = 1; fits && d < from->ndim; d++) fits = fa_mul_i64(each, from->shape[d], &each);
    if (fits && each == p->head.positions) {
        *at = row * each;
        return FA_OK;
    }
    char have[FA_SHAPE_TEXT];
    return fa_fail(FA_ERR_SHAPE, "%s: shape %s where the output of input %lld has %lld positions", what, fa_shape_text(from->ndim, from->shape, have, sizeof have), (long long)row,
                   (long long)p->head.positions);
}

/* The input that holds the tokens: the first of integers with one for each position. */
static const fa_array *find_tokens(const fa_pass *p, const fa_array *inputs)
{
    for (int32_t i = 0; i < p->n_input; i++)
        if (!fa_dtype_is_real(p->input[i].view->dtype) && p->input[i].view->count == p->batch * p->head.positions) return &inputs[i];
    return NULL;
}

static fa_status read_target(fa_pass *p, const fa_array *inputs, const fa_asked *asked, int64_t row, const int64_t **out)
{
    const bool next = p->head.loss == FA_LOSS_NEXT_TOKEN;
    const int64_t skip = next, n = p->head.positions;
    const fa_array *from = asked ? asked->target : NULL;
    int64_t at;
    *out = asked && asked->own_target ? asked->own_target + row * n : NULL;
    if (*out) return FA_OK;
    if (next && !from) from = find_tokens(p, inputs);
    if (!from) return next ? fa_fail(FA_ERR_ARGUMENT, "the loss 'next-token' needs targets: the model has no input of integers [n, %lld]", (long long)n) : FA_OK;
    if (fa_dtype_is_real(from->dtype)) return fa_fail(FA_ERR_DTYPE, "target: %s where integers are taken", fa_dtype_name(from->dtype));
    FA_TRY(find_row(p, from, "target", row, &at));
    fa_array_to_int64(from, at + skip, n - skip, p->target);
    if (next) p->target[n - 1] = -1;
    *out = p->target;
    return FA_OK;
}

static fa_status read_weight(fa_pass *p, const fa_array *from, int64_t row, const float **out)
{
    const int64_t skip = p->head.loss == FA_LOSS_NEXT_TOKEN, n = p->head.positions;
    int64_t at;
    *out = NULL;
    if (!from) return FA_OK;
    FA_TRY(find_row(p, from, "mask", row, &at));
    fa_array_to_float(from, at + skip, n - skip, p->weight);
    for (int64_t k = 0; k < n - skip; k++)
        if (!(p->weight[k] >= 0 && isfinite(p->weight[k])))
            return fa_fail(FA_ERR_ARGUMENT, "mask: element %lld of input %lld is %g, no weight", (long long)(k + skip), (long long)row, (double)p->weight[k]);
    if (skip) p->weight[n - 1] = 0;
    *out = p->weight;
    return FA_OK;
}

fa_status fa_pass_look(fa_pass *p, const fa_array *inputs, const fa_asked *asked, int64_t i, int64_t row, fa_head_row *out, fa_loss *loss)
{
    const int64_t length = p->head.outputs;
    *out = (fa_head_row){.z = p->logits + i * length, .own = asked && asked->own_output ? asked->own_output + row * length : NULL};
    for (int64_t k = 0; k < length; k++)
        if (!isfinite(out->z[k]))
            return fa_fail(FA_ERR_NOT_FINITE, "input %lld: the model's logit %lld is %s", (long long)row, (long long)k, out->z[k] != out->z[k] ? "NaN" : "infinite");
    FA_TRY(read_target(p, inputs, asked, row, &out->target));
    FA_TRY(read_weight(p, asked ? asked->mask : NULL, row, &out->weight));
    fa_status status = fa_head_look(&p->head, out, p->position, loss);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "input %lld", (long long)row);
}

static void tell(const fa_pass *p, int64_t i, const fa_loss *loss, const fa_pass_outputs *o)
{
    if (o->predicted) o->predicted[i] = loss->predicted;
    if (o->confidence) o->confidence[i] = (float)loss->confidence;
    if (o->loss) o->loss[i] = (float)loss->loss;
    if (o->output) memcpy(o->output + i * p->head.outputs, p->logits + i * p->head.outputs, (size_t)p->head.outputs * sizeof *o->output);
    if (!o->target && !o->position_loss) return;
    const int64_t n = p->head.positions;
    for (int64_t k = 0; k < n; k++) {
        const bool counts = p->position[k].weight > 0 && p->head.kind->output != FA_OUTPUT_NUMBERS;
        if (o->target) o->target[i * n + k] = counts ? p->position[k].y : -1;
        if (o->position_loss) o->position_loss[i * n + k] = counts ? (float)fa_position_loss(&p->position[k]) : 0;
    }
}

/* The host's gradient at the outputs. */
static fa_status ask_host(fa_pass *p, const fa_array *inputs, int64_t first)
{
    const int64_t length = p->head.outputs;
    const fa_output_batch batch = {.struct_size = sizeof batch, .n = p->n, .length = length, .outputs = p->logits, .inputs = inputs, .first = first, .input_count = p->n_input};
    memset(p->at_logits, 0, (size_t)(p->n * length) * sizeof *p->at_logits);
    fa_error_set(FA_OK, "");
    fa_status status = p->output_gradient(p->output_gradient_user, &batch, p->at_logits);
    if (status > 0 || (status < 0 && !strcmp(fa_status_name(status), "unknown"))) return fa_fail(FA_ERR_ARGUMENT, "output_gradient() returned %d, which is no status", status);
    if (status != FA_OK) return fa_error_message()[0] ? fa_fail_at(status, "output_gradient()") : fa_fail(status, "output_gradient() returned %s without a reason", fa_status_name(status));
    for (int64_t i = 0; i < p->n; i++) {
        float *gradient = p->at_logits + i * length;
        for (int64_t k = 0; k < length; k++)
            if (!isfinite(gradient[k])) return fa_fail(FA_ERR_NOT_FINITE, "output_gradient(): element %lld for input %lld is NaN or infinite", (long long)k, (long long)(first + i));
        fa_head_normalise(length, gradient);
    }
    return FA_OK;
}

fa_status fa_pass_judge_outputs(fa_pass *p, const fa_array *inputs, const int64_t *index, int64_t first, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    const int64_t length = p->head.outputs;
    float *gradient = p->at_logits;
    for (int64_t i = 0; i < p->n; i++) {
        fa_head_row row;
        fa_loss loss;
        FA_TRY(fa_pass_look(p, inputs, asked, i, index ? index[i] : first + i, &row, &loss));
        if (outputs) tell(p, i, &loss, outputs);
        if (gradient && p->head.loss != FA_LOSS_HOST) fa_head_unit_gradient(&p->head, &row, p->position, gradient + i * length);
    }
    if (gradient && p->head.loss == FA_LOSS_HOST) FA_TRY(ask_host(p, inputs, first));
    if (gradient) memset(gradient + p->n * length, 0, (size_t)((p->batch - p->n) * length) * sizeof *gradient);
    return FA_OK;
}
