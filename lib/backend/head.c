/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/head.h"

#include "backend/numbers.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what fits */

/* Dimensions of 1 do not count where there is one position. */
static bool fit_classes(const fa_view *v, fa_head *h)
{
    int32_t wide = 0;
    for (int32_t d = 1; d < v->ndim; d++) wide += v->dim[d] > 1;
    h->positions = h->position_step = 1;
    h->channels = h->outputs;
    h->channel_step = 1;
    return wide == 1;
}

static bool fit_tokens(const fa_view *v, fa_head *h)
{
    if (v->ndim < 3) return false;
    h->channels = h->position_step = v->dim[v->ndim - 1];
    h->positions = h->outputs / h->channels;
    h->channel_step = 1;
    return h->channels > 1 && (h->loss != FA_LOSS_NEXT_TOKEN || (v->ndim == 3 && h->positions > 1));
}

static bool fit_pixels(const fa_view *v, fa_head *h)
{
    if (v->ndim < 3) return false;
    h->channels = v->dim[1];
    h->positions = h->channel_step = h->outputs / h->channels;
    h->position_step = 1;
    return true;
}

static bool fits(int32_t loss, const fa_view *v, int64_t batch, fa_head *h)
{
    if (!fa_dtype_is_real(v->dtype) || v->ndim < 1 || v->dim[0] != batch || v->count == 0) return false;
    *h = (fa_head){.loss = loss, .kind = fa_loss_kind_of(loss), .outputs = v->count / batch, .position_step = 1, .channel_step = 1};
    h->positions = h->outputs;
    h->channels = 1;
    switch (h->kind->output) {
    case FA_OUTPUT_CLASSES: return fit_classes(v, h);
    case FA_OUTPUT_TOKENS: return fit_tokens(v, h);
    case FA_OUTPUT_PIXELS: return fit_pixels(v, h);
    default: return true;
    }
}

/* "per-pixel, multi-label, ..." */
static const char *fitting(const fa_view *v, int64_t batch, char *text, size_t size)
{
    size_t at = 0;
    fa_head h;
    text[0] = 0;
    for (int32_t i = 0; i < FA_LOSS_COUNT; i++)
        if (fits(i, v, batch, &h) && at < size) at += (size_t)snprintf(text + at, size - at, "%s%s", at ? ", " : "", h.kind->name);
    return text;
}

fa_status fa_head_fit(int32_t loss, const fa_view *v, int64_t batch, const char *name, bool constant, fa_head *out)
{
    char shape[FA_SHAPE_TEXT], others[200];
    const fa_loss_kind *kind = fa_loss_kind_of(loss);
    if (!constant && fits(loss, v, batch, out)) return FA_OK;
    fa_shape_text(v->ndim, v->dim, shape, sizeof shape);
    if (constant) return fa_fail(FA_ERR_SHAPE, "output '%s' is %s %s at batch %lld and does not depend on the input", name, fa_dtype_name(v->dtype), shape, (long long)batch);
    fitting(v, batch, others, sizeof others);
    return fa_fail(FA_ERR_SHAPE, "output '%s' is %s %s at batch %lld; the loss '%s' takes %s%s%s", name, fa_dtype_name(v->dtype), shape, (long long)batch, kind->name, kind->shape,
                   others[0] ? "; losses that take this one: " : "", others);
}

int64_t fa_head_classes(const fa_head *h)
{
    if (h->kind->output == FA_OUTPUT_NUMBERS) return 0;
    return h->kind->output == FA_OUTPUT_LABELS ? h->positions : h->channels;
}

/* ---- looking */

/* The class of an input: what it is classified as, or the label that is surest to be on; -1 without one, or where there is one for each position. */
static void predict(const fa_head *h, const float *z, fa_loss *out)
{
    const bool labels = h->kind->output == FA_OUTPUT_LABELS;
    int64_t best = 0;
    if (!labels && h->kind->output != FA_OUTPUT_CLASSES) return;
    for (int64_t k = 1; k < h->outputs; k++)
        if (z[k] > z[best]) best = k;
    if (!labels || z[best] > 0) out->predicted = best;
    if (labels) return;
    double sum = 0;
    for (int64_t k = 0; k < h->outputs; k++) sum += exp((double)z[k] - (double)z[best]);
    out->confidence = 1 / sum;
}

fa_status fa_head_look(const fa_head *h, const fa_head_row *row, fa_position *position, fa_loss *out)
{
    const int64_t classes = h->channels == 1 ? 2 : h->channels, *target = row->target;
    double sum = 0, weights = 0;
    bool any = false;
    for (int64_t p = 0; p < h->positions; p++) {
        position[p].weight = target && target[p] < 0 ? 0 : row->weight ? row->weight[p] : 1;
        if (position[p].weight == 0) continue;
        any = true;
        if (h->kind->output == FA_OUTPUT_NUMBERS) continue;
        if (target && target[p] >= classes)
            return fa_fail(FA_ERR_ARGUMENT, "target %lld at position %lld of %lld classes", (long long)target[p], (long long)p, (long long)classes);
        fa_position_look(row->z + p * h->position_step, h->channels, h->channel_step, target ? target[p] : -1, &position[p]);
        sum += (double)position[p].weight * fa_position_loss(&position[p]);
        weights += (double)position[p].weight;
    }
    if (!any) return fa_fail(FA_ERR_ARGUMENT, "no position counts: %s", row->weight ? "the mask is 0 at all that have a target" : "none has a target");
    *out = (fa_loss){-1, (double)NAN, 0};
    if (h->kind->output == FA_OUTPUT_NUMBERS) {
        out->loss = fa_numbers_loss(h, row);
        return FA_OK;
    }
    out->loss = h->positions == 1 ? fa_position_loss(position) : sum / weights;
    out->confidence = exp(-out->loss);
    predict(h, row->z, out);
    return FA_OK;
}

/* ---- gradients */

void fa_head_normalise(int64_t n, float *gradient)
{
    double square = 0, most = 0;
    for (int64_t k = 0; k < n; k++) most = fmax(most, fabs((double)gradient[k]));
    if (most == 0) return;
    for (int64_t k = 0; k < n; k++) square += (double)gradient[k] / most * ((double)gradient[k] / most);
    for (int64_t k = 0; k < n; k++) gradient[k] = (float)((double)gradient[k] / most / sqrt(square));
}

/* Of each position that counts, times its weight; `whole`: and times its other classes' probability, which makes it the gradient of the cross-entropy. */
static void at_positions(const fa_head *h, const float *z, const fa_position *position, bool margin, bool whole, double scale, float *gradient)
{
    memset(gradient, 0, (size_t)h->outputs * sizeof *gradient);
    for (int64_t p = 0; p < h->positions; p++) {
        const double one = position[p].weight == 0 ? 0 : (double)position[p].weight * (whole ? exp(fa_position_log_rest(&position[p])) : 1);
        const int64_t at = p * h->position_step;
        if (one != 0) fa_position_gradient(&position[p], z + at, h->channels, h->channel_step, margin, scale * one, gradient + at);
    }
}

void fa_head_unit_gradient(const fa_head *h, const fa_head_row *row, const fa_position *position, float *gradient)
{
    const bool margin = h->kind->margin;
    double square = 0;
    if (h->kind->output == FA_OUTPUT_NUMBERS) {
        fa_numbers_direction(h, row, gradient);
        return;
    }
    for (int64_t p = 0; p < h->positions; p++) {
        const double one = (double)position[p].weight;
        if (one != 0) square += one * one * fa_position_square(&position[p], h->channels, margin);
    }
    at_positions(h, row->z, position, margin, false, 1 / sqrt(square), gradient);
}

void fa_head_loss_gradient(const fa_head *h, const fa_head_row *row, const fa_position *position, float *gradient)
{
    double weights = 0;
    if (h->kind->output == FA_OUTPUT_NUMBERS) {
        fa_numbers_loss_gradient(h, row, gradient);
        return;
    }
    for (int64_t p = 0; p < h->positions; p++) weights += (double)position[p].weight;
    at_positions(h, row->z, position, false, true, 1 / weights, gradient);
}
