/* SPDX-License-Identifier: Apache-2.0 */
/* Body of depthwise_weights.c, included once per instruction set with NAME, TARGET, FLOATS, FMA_F, SPLAT_F and, for vectors of which the first n floats exist, MASK, MASK_OF(n),
 * MASK_LOAD(p, mask) (zeros beyond) and MASK_STORE(p, mask, v) defined; undefines them. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define LOAD(p) (whole ? *(const vf *)(p) : MASK_LOAD(p, held))
#define STORE(p, v)                                                                                                                                      \
    do {                                                                                                                                                 \
        if (whole) *(vf *)(p) = (v);                                                                                                                     \
        else MASK_STORE(p, held, v);                                                                                                                     \
    } while (0)

/* What the next row of outputs meets first is on its way from afar meanwhile: `n` pixels of each of its rows of the image. */
FA_INLINE TARGET void NAME(ahead)(const fa_depthwise *p, const float *image, const fa_depthwise_rows *k, int64_t x, int64_t m, const int n)
{
    for (int64_t y = k->at + p->y.taps * p->y.gap, end = y + p->y.step; y < end && y < p->y.in; y++) {
        const float *next = image + (y * p->x.in + x) * p->channels + m;
        FA_UNROLL_32
        for (int r = 0; r < n; r++) _mm_prefetch((const char *)(next + r * p->channels), _MM_HINT_T0);
    }
}

/* `outputs` neighbours of a row, zeros beyond its end. */
FA_INLINE TARGET void NAME(neighbours)(const fa_depthwise *p, const float *d, int64_t row, int64_t col, int64_t m, const int outputs, const bool whole, vf g[FA_DEPTHWISE_OUTPUTS])
{
    const MASK held = MASK_OF(whole ? FLOATS : p->channels - m);
    const float *at = d + (row * p->x.out + col) * p->channels + m;
    FA_UNROLL_32
    for (int r = 0; r < outputs; r++) {
        g[r] = SPLAT_F(0.0f);
        if (col + r < p->x.out) g[r] = LOAD(at + r * p->channels);
    }
}

/* Adds to the sums of one kernel row what these outputs meet there; inputs are loaded once for all that they meet. */
FA_INLINE TARGET void NAME(meet)(const fa_depthwise *p, const float *in, int64_t x0, int64_t m, const vf g[FA_DEPTHWISE_OUTPUTS], const int outputs, const int taps, const int step, const bool whole, const bool inside,
                                 vf acc[FA_DEPTHWISE_TAPS])
{
    const MASK held = MASK_OF(whole ? FLOATS : p->channels - m);
    FA_UNROLL_32
    for (int j = 0; j < (outputs - 1) * step + taps; j++, in += p->channels) {
        if (!inside && (uint64_t)(x0 + j) >= (uint64_t)p->x.in) continue;
        vf x = LOAD(in);
        FA_IN_REGISTER(x);
        FA_UNROLL_32
        for (int t = 0; t < taps; t++)
            if (j >= t && (j - t) % step == 0 && (j - t) / step < outputs) acc[t] = FMA_F(x, g[(j - t) / step], acc[t]);
    }
}

FA_INLINE TARGET vf NAME(total)(const vf g[FA_DEPTHWISE_OUTPUTS], const int outputs)
{
    vf sum = g[0];
    FA_UNROLL_32
    for (int r = 1; r < outputs; r++) sum += g[r];
    return sum;
}

/* A row of outputs, kernel row by kernel row. `taps` and `step` are constants; `taps` 0: whatever the axis has. */
FA_INLINE TARGET void NAME(row_sums)(const fa_depthwise *p, const fa_depthwise_sums *s, int64_t row, int64_t m, const int taps, const int step, const bool whole)
{
    enum { N = FA_DEPTHWISE_OUTPUTS };
    const MASK held = MASK_OF(whole ? FLOATS : p->channels - m);
    const fa_depthwise_rows k = fa_depthwise_rows_of(&p->y, row);
    const int64_t c = p->channels;
    for (int64_t col = 0; col < p->x.out; col += N) {
        const int64_t x0 = p->x.first + col * p->x.step;
        const bool inside = fa_depthwise_inside(&p->x, col, N);
        vf g[N];
        NAME(neighbours)(p, s->d, row, col, m, N, whole, g);
        NAME(ahead)(p, s->in, &k, x0, m, N * step);
        if (s->bias) STORE(s->bias + m, LOAD(s->bias + m) + NAME(total)(g, N));
        for (int64_t ky = k.begin; ky < k.end; ky++) {
            const float *in = s->in + ((k.at + ky * p->y.gap) * p->x.in + x0) * c + m;
            float *to = s->sum + ky * p->x.taps * c + m;
            if (taps) {
                vf acc[FA_DEPTHWISE_TAPS];
                FA_UNROLL_32
                for (int t = 0; t < taps; t++) acc[t] = LOAD(to + t * c);
                if (inside) NAME(meet)(p, in, x0, m, g, N, taps, step, whole, true, acc);
                else NAME(meet)(p, in, x0, m, g, N, taps, step, whole, false, acc);
                FA_UNROLL_32
                for (int t = 0; t < taps; t++) STORE(to + t * c, acc[t]);
                continue;
            }
            for (int64_t t = 0; t < p->x.taps; t++) {
                vf acc = LOAD(to + t * c);
                FA_UNROLL_32
                for (int r = 0; r < N; r++) {
                    const int64_t at = r * p->x.step + t * p->x.gap;
                    if ((uint64_t)(x0 + at) < (uint64_t)p->x.in) acc = FMA_F(LOAD(in + at * c), g[r], acc);
                }
                STORE(to + t * c, acc);
            }
        }
    }
}

/* All rows, with the sums of a kernel of `taps` by `taps` in registers from the first to the last, and as many outputs beside each other as there are registers left for. 5 x 5 kernels
 * gain where the stride is 2 alone: with four outputs they load more inputs. */
FA_INLINE TARGET void NAME(square_sums)(const fa_depthwise *p, const fa_depthwise_sums *s, int64_t m, const int taps, const int step, const int outputs, const bool whole)
{
    const MASK held = MASK_OF(whole ? FLOATS : p->channels - m);
    const int64_t c = p->channels;
    vf acc[SQUARE][FA_DEPTHWISE_TAPS];
    FA_UNROLL_32
    for (int y = 0; y < taps; y++) {
        FA_UNROLL_32
        for (int t = 0; t < taps; t++) acc[y][t] = LOAD(s->sum + (y * taps + t) * c + m);
    }
    for (int64_t row = 0; row < p->y.out; row++) {
        const fa_depthwise_rows k = fa_depthwise_rows_of(&p->y, row);
        for (int64_t col = 0; col < p->x.out; col += outputs) {
            const int64_t x0 = p->x.first + col * p->x.step;
            const bool inside = fa_depthwise_inside(&p->x, col, outputs);
            vf g[FA_DEPTHWISE_OUTPUTS];
            NAME(neighbours)(p, s->d, row, col, m, outputs, whole, g);
            NAME(ahead)(p, s->in, &k, x0, m, outputs * step);
            if (s->bias) STORE(s->bias + m, LOAD(s->bias + m) + NAME(total)(g, outputs));
            FA_UNROLL_32
            for (int ky = 0; ky < taps; ky++) {
                if (ky < k.begin || ky >= k.end) continue;
                const float *in = s->in + ((k.at + ky * p->y.gap) * p->x.in + x0) * c + m;
                NAME(meet)(p, in, x0, m, g, outputs, taps, step, whole, inside, acc[ky]);
            }
        }
    }
    FA_UNROLL_32
    for (int y = 0; y < taps; y++) {
        FA_UNROLL_32
        for (int t = 0; t < taps; t++) STORE(s->sum + (y * taps + t) * c + m, acc[y][t]);
    }
}

#define ROWS(taps, step)                                                                                                                                 \
    TARGET static void NAME(rows_##taps##_##step)(const fa_depthwise *p, const fa_depthwise_sums *s)                                                     \
    {                                                                                                                                                    \
        for (int64_t row = 0; row < p->y.out; row++)                                                                                                     \
            for (int64_t m = 0; m < p->channels; m += FLOATS) {                                                                                          \
                if (m + FLOATS <= p->channels) NAME(row_sums)(p, s, row, m, taps, step, true);                                                           \
                else NAME(row_sums)(p, s, row, m, taps, step, false);                                                                                    \
            }                                                                                                                                            \
    }
#define SQUARE_OF(taps, step, outputs)                                                                                                                   \
    TARGET static void NAME(square_##taps##_##step)(const fa_depthwise *p, const fa_depthwise_sums *s)                                                   \
    {                                                                                                                                                    \
        for (int64_t m = 0; m < p->channels; m += FLOATS) {                                                                                              \
            if (m + FLOATS <= p->channels) NAME(square_sums)(p, s, m, taps, step, outputs, true);                                                        \
            else NAME(square_sums)(p, s, m, taps, step, outputs, false);                                                                                 \
        }                                                                                                                                                \
    }
ROWS(0, 1)
ROWS(3, 1)
ROWS(5, 1)
ROWS(7, 1)
ROWS(3, 2)
ROWS(5, 2)
#if FLOATS == 16
SQUARE_OF(3, 1, 7)
SQUARE_OF(3, 2, 7)
SQUARE_OF(5, 2, 4)
#else
SQUARE_OF(3, 1, 4)
SQUARE_OF(3, 2, 4)
#endif

static const sums NAME(sums)[] = {{3, 1, NAME(rows_3_1), NAME(square_3_1)}, {3, 2, NAME(rows_3_2), NAME(square_3_2)},
#if FLOATS == 16
                                  {5, 2, NAME(rows_5_2), NAME(square_5_2)},
#else
                                  {5, 2, NAME(rows_5_2), NULL}, /* 25 sums and what they meet are more than there are registers */
#endif
                                  {5, 1, NAME(rows_5_1), NULL}, {7, 1, NAME(rows_7_1), NULL}, {0, 1, NAME(rows_0_1), NULL}};

#undef vf
#undef LOAD
#undef STORE
#undef ROWS
#undef SQUARE_OF
#include "kernels/vectors_end.h"
