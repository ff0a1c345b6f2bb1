/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/loss.h"

#include <math.h>
#include <string.h>

static const fa_loss_kind kinds[FA_LOSS_COUNT] = {
    [FA_LOSS_MARGIN] = {"margin", FA_OUTPUT_CLASSES, 2, true, "[n, classes] with at least two classes"},
    [FA_LOSS_CROSS_ENTROPY] = {"cross-entropy", FA_OUTPUT_CLASSES, 2, false, "[n, classes] with at least two classes"},
    [FA_LOSS_NEXT_TOKEN] = {"next-token", FA_OUTPUT_TOKENS, 2, true, "[n, tokens, classes] with at least two tokens and classes"},
    [FA_LOSS_PER_TOKEN] = {"per-token", FA_OUTPUT_TOKENS, 2, true, "[n, positions, classes] with at least two classes"},
    [FA_LOSS_PER_PIXEL] = {"per-pixel", FA_OUTPUT_PIXELS, 1, true, "[n, classes, height, width]"},
    [FA_LOSS_MULTI_LABEL] = {"multi-label", FA_OUTPUT_LABELS, 1, true, "[n, labels]"},
    [FA_LOSS_REGRESSION] = {"regression", FA_OUTPUT_NUMBERS, 0, false, "[n, ...]"},
    [FA_LOSS_EMBEDDING] = {"embedding", FA_OUTPUT_NUMBERS, 0, false, "[n, ...]"},
    [FA_LOSS_HOST] = {"host", FA_OUTPUT_NUMBERS, 0, false, "[n, ...]"},
};

const fa_loss_kind *fa_loss_kind_of(int32_t loss)
{
    return &kinds[loss];
}

int32_t fa_loss_number(const char *name)
{
    for (int32_t i = 0; name && i < FA_LOSS_COUNT; i++)
        if (!strcmp(name, kinds[i].name)) return i;
    return -1;
}

/* z against 0: class 1 where z > 0. */
static void look_at_one(float z, int64_t target, fa_position *p)
{
    p->y = target < 0 ? z > 0 : target;
    p->top = p->y ? 0 : z;
    p->others = p->square = 1;
    p->lead = p->y ? -(double)z : (double)z;
}

void fa_position_look(const float *z, int64_t classes, int64_t step, int64_t target, fa_position *p)
{
    if (classes == 1) {
        look_at_one(*z, target, p);
        return;
    }
    int64_t y = target;
    if (y < 0) {
        y = 0;
        for (int64_t k = 1; k < classes; k++)
            if (z[k * step] > z[y * step]) y = k;
    }
    double top = -INFINITY, others = 0, square = 0;
    for (int64_t k = 0; k < classes; k++)
        if (k != y && (double)z[k * step] > top) top = (double)z[k * step];
    for (int64_t k = 0; k < classes; k++) {
        if (k == y) continue;
        const double e = exp((double)z[k * step] - top);
        others += e;
        square += e * e;
    }
    p->y = y;
    p->top = (float)top;
    p->others = others;
    p->square = square;
    p->lead = top + log(others) - (double)z[y * step];
}

double fa_position_loss(const fa_position *p)
{
    return p->lead > 0 ? p->lead + log1p(exp(-p->lead)) : log1p(exp(p->lead));
}

double fa_position_log_rest(const fa_position *p)
{
    return p->lead - fa_position_loss(p);
}

double fa_position_square(const fa_position *p, int64_t classes, bool margin)
{
    if (classes == 1) return 1;
    return 1 + (margin ? 1 / (double)(classes - 1) : p->square / (p->others * p->others));
}

void fa_position_gradient(const fa_position *p, const float *z, int64_t classes, int64_t step, bool margin, double scale, float *gradient)
{
    if (classes == 1) {
        *gradient = (float)(p->y ? -scale : scale);
        return;
    }
    const double even = 1 / (double)(classes - 1);
    for (int64_t k = 0; k < classes; k++)
        gradient[k * step] = (float)(scale * (k == p->y ? -1 : margin ? even : exp((double)z[k * step] - (double)p->top) / p->others));
}
