/* SPDX-License-Identifier: Apache-2.0 */
/* Body of depthwise.c, included once per instruction set with NAME, TARGET, FLOATS, FMA_F, SPLAT_F, MAX_F and, for vectors of which the first n floats exist, MASK, MASK_OF(n),
 * MASK_LOAD(p, mask) (zeros beyond), MASK_STORE(p, mask, v) and SELECT defined; undefines them. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define vi NAME(vi)
typedef int32_t vi __attribute__((vector_size(4 * FLOATS)));
#include "kernels/slope_body.h"
#define LOAD(p) (whole ? *(const vf *)(p) : MASK_LOAD(p, held))

/*
 * FA_DEPTHWISE_OUTPUTS neighbours of a row, FLOATS channels. An input is loaded once for all taps and outputs that it meets, given `taps` and `step` as constants and no gaps; `taps` 0: whatever
 * the axis has. What lies outside the image is passed over, which need not be looked at where all lies `inside`; outputs beyond the row's end are computed from what there is and not written.
 */
FA_INLINE TARGET void NAME(outputs)(const fa_depthwise *p, const fa_depthwise_data *d, const fa_depthwise_rows *k, int64_t row, int64_t col, int64_t m, const int taps, const int step, const bool whole,
                                const bool inside)
{
    const MASK held = MASK_OF(whole ? FLOATS : p->channels - m);
    const int64_t c = p->channels, n = p->x.out - col < FA_DEPTHWISE_OUTPUTS ? p->x.out - col : FA_DEPTHWISE_OUTPUTS, x0 = p->x.first + col * p->x.step;
    const vf bias = d->bias ? LOAD(d->bias + m) : SPLAT_F(0.0f);
    vf acc[FA_DEPTHWISE_OUTPUTS];
    FA_UNROLL_32
    for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++) acc[r] = bias;
    const int64_t out = row * p->out_row + col * p->out_col + m;
    if (d->before) { /* what the next row meets is on its way from afar meanwhile */
        FA_UNROLL_32
        for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++) _mm_prefetch((const char *)(d->before + out + p->out_row + r * p->out_col), _MM_HINT_T0);
    }
    for (int64_t ky = k->begin; ky < k->end; ky++) {
        const float *in = d->in + ((k->at + ky * p->y.gap) * p->x.in + x0) * c + m, *w = d->w + ky * p->x.taps * c + m;
        if (taps) {
            vf weight[FA_DEPTHWISE_TAPS];
            FA_UNROLL_32
            for (int t = 0; t < taps; t++) weight[t] = LOAD(w + t * c);
            FA_UNROLL_32
            for (int j = 0; j < (FA_DEPTHWISE_OUTPUTS - 1) * step + taps; j++, in += c) {
                if (!inside && (uint64_t)(x0 + j) >= (uint64_t)p->x.in) continue;
                vf x = LOAD(in);
                FA_IN_REGISTER(x);
                FA_UNROLL_32
                for (int t = 0; t < taps; t++)
                    if (j >= t && (j - t) % step == 0 && (j - t) / step < FA_DEPTHWISE_OUTPUTS) acc[(j - t) / step] = FMA_F(x, weight[t], acc[(j - t) / step]);
            }
        } else {
            for (int64_t t = 0; t < p->x.taps; t++) {
                const vf weight = LOAD(w + t * c);
                FA_UNROLL_32
                for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++) {
                    const int64_t at = r * p->x.step + t * p->x.gap;
                    if ((uint64_t)(x0 + at) < (uint64_t)p->x.in) acc[r] = FMA_F(LOAD(in + at * c), weight, acc[r]);
                }
            }
        }
    }
    if (d->residual) {
        FA_UNROLL_32
        for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++)
            if (r < n) acc[r] += LOAD(d->residual + out + r * p->out_col);
    }
    if (d->relu) {
        FA_UNROLL_32
        for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++) acc[r] = MAX_F(acc[r], SPLAT_F(0.0f));
    }
    if (d->before && d->function == FA_STEP_RELU) {
        FA_UNROLL_32
        for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++)
            if (r < n) acc[r] = NAME(where)(LOAD(d->before + out + r * p->out_col) > SPLAT_F(0.0f), acc[r]);
    } else if (d->before) {
        FA_UNROLL_32
        for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++)
            if (r < n) acc[r] *= NAME(hard_swish_at)(LOAD(d->before + out + r * p->out_col));
    }
    FA_UNROLL_32
    for (int r = 0; r < FA_DEPTHWISE_OUTPUTS; r++) {
        if (r >= n) break;
        if (whole) *(vf *)(d->out + out + r * p->out_col) = acc[r];
        else MASK_STORE(d->out + out + r * p->out_col, held, acc[r]);
    }
}

/* Channel by channel, so that the rows a kernel passes over stay in the first-level cache. */
#define PASS(taps, step)                                                                                                                                 \
    TARGET static void NAME(run_##taps##_##step)(const fa_depthwise *p, const fa_depthwise_data *d)                                                      \
    {                                                                                                                                                    \
        for (int64_t m = 0; m < p->channels; m += FLOATS)                                                                                                \
            for (int64_t row = 0; row < p->y.out; row++) {                                                                                               \
                const fa_depthwise_rows k = fa_depthwise_rows_of(&p->y, row);                                                                            \
                for (int64_t col = 0; col < p->x.out; col += FA_DEPTHWISE_OUTPUTS) {                                                                     \
                    const bool whole = m + FLOATS <= p->channels, inside = fa_depthwise_inside(&p->x, col, FA_DEPTHWISE_OUTPUTS);                        \
                    if (whole && inside) NAME(outputs)(p, d, &k, row, col, m, taps, step, true, true);                                                   \
                    else if (whole) NAME(outputs)(p, d, &k, row, col, m, taps, step, true, false);                                                       \
                    else if (inside) NAME(outputs)(p, d, &k, row, col, m, taps, step, false, true);                                                      \
                    else NAME(outputs)(p, d, &k, row, col, m, taps, step, false, false);                                                                 \
                }                                                                                                                                        \
            }                                                                                                                                            \
    }
PASS(0, 1)
PASS(1, 1)
PASS(2, 1)
PASS(3, 1)
PASS(4, 1)
PASS(5, 1)
PASS(7, 1)
PASS(3, 2)
PASS(5, 2)

#define PASSES(taps, step) {taps, step, NAME(run_##taps##_##step)}
static const passes NAME(passes)[] = {PASSES(3, 1), PASSES(5, 1), PASSES(3, 2), PASSES(5, 2), PASSES(1, 1), PASSES(2, 1), PASSES(4, 1), PASSES(7, 1), PASSES(0, 1)};

#undef vf
#undef vi
#undef LOAD
#undef PASS
#undef PASSES
#include "kernels/vectors_end.h"
