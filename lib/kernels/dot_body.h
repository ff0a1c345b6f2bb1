/* SPDX-License-Identifier: Apache-2.0 */
/* Body of dot.c, included once per instruction set with NAME, LABEL, TARGET, FLOATS and DOUBLES (per vector), FMA_F, FMA_D, SPLAT_F, SPLAT_D,
 * MAX_F, MAX_I, MASK, MASK_OF, MASK_LOAD, ROWS (that `weighted` takes) and SUM4 (of four vectors, a plain_f of their sums) defined; undefines them. */

#define vf NAME(vf)
#define vd NAME(vd)
#define vi NAME(vi)
#define vh NAME(vh)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef float vh __attribute__((vector_size(4 * DOUBLES), aligned(4), may_alias)); /* as many floats as doubles */
typedef int32_t vi __attribute__((vector_size(4 * FLOATS)));
typedef double vd __attribute__((vector_size(8 * DOUBLES), aligned(8), may_alias));

#define LOAD_F(p) (*(const vf *)(p))
#define LOAD_D(p) (*(const vd *)(p))
#define PANEL (16 / DOUBLES) /* vectors across a panel */

/* `n` rows with four: a constant after inlining. */
TARGET FA_INLINE void NAME(pairs)(const int n, const float *const *one, const float *const four[4], const float *const ahead[2], const int64_t *offset, int32_t n_layer,
                                  const float *weight, float *out, int64_t out_ld)
{
    const float *f0 = four[0], *f1 = four[1], *f2 = four[2], *f3 = four[3];
    const float *x[ROWS];
    FA_UNROLL
    for (int k = 0; k < n; k++) x[k] = one[k];
#define STEP(load)                                                                                                                                \
    do {                                                                                                                                                 \
        const vf r0 = load(f0 + i), r1 = load(f1 + i), r2 = load(f2 + i), r3 = load(f3 + i);                                                             \
        FA_UNROLL                                                                                                                                        \
        for (int k = 0; k < n; k++) {                                                                                                                    \
            const vf v = load(x[k] + i);                                                                                                                 \
            s[k][0] = FMA_F(v, r0, s[k][0]);                                                                                                             \
            s[k][1] = FMA_F(v, r1, s[k][1]);                                                                                                             \
            s[k][2] = FMA_F(v, r2, s[k][2]);                                                                                                             \
            s[k][3] = FMA_F(v, r3, s[k][3]);                                                                                                             \
        }                                                                                                                                                \
    } while (0)
#define LOAD_SOME(p) MASK_LOAD(p, MASK_OF(end - i))
    for (int32_t l = 0; l < n_layer; l++, weight += 4 * n) {
        int64_t i = offset[l];
        const int64_t end = offset[l + 1];
        vf s[ROWS][4];
        FA_UNROLL
        for (int k = 0; k < n; k++) s[k][0] = s[k][1] = s[k][2] = s[k][3] = (vf){0};
        for (; i + FLOATS <= end; i += FLOATS) {
            if (n > 1) { /* a single row goes through all others in order, which the CPU foresees */
                __builtin_prefetch(ahead[0] + i);
                __builtin_prefetch(ahead[1] + i);
            }
            STEP(LOAD_F);
        }
        if (i < end) STEP(LOAD_SOME);
        FA_UNROLL
        for (int k = 0; k < n; k++) {
            plain_f *to = (plain_f *)(out + k * out_ld);
            *to += *(const plain_f *)(weight + 4 * k) * SUM4(s[k][0], s[k][1], s[k][2], s[k][3]);
        }
    }
#undef LOAD_SOME
#undef STEP
}

TARGET static void NAME(weighted)(int n, const float *const *one, const float *const four[4], const float *const ahead[2], const int64_t *offset, int32_t n_layer, const float *weight,
                                  float *out, int64_t out_ld)
{
    switch (n) {
    case 1: NAME(pairs)(1, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 2: NAME(pairs)(2, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#if ROWS > 2
    case 3: NAME(pairs)(3, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#endif
#if ROWS > 3
    case 4: NAME(pairs)(4, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 5: NAME(pairs)(5, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 6: NAME(pairs)(6, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#endif
    }
}

/* Sixteen sums whatever the vectors. Squares of floats are exact in double, so it does not matter who fuses them. */
TARGET static double NAME(squares)(int64_t n, const float *x)
{
    double sum[16];
    vd s[PANEL] = {{0}};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        FA_UNROLL
        for (int k = 0; k < PANEL; k++) {
            const vd v = __builtin_convertvector(*(const vh *)(x + i + k * DOUBLES), vd);
            s[k] += v * v;
        }
    }
    memcpy(sum, s, sizeof sum);
    for (; i < n; i++) sum[i % 16] += (double)x[i] * x[i];
    for (int h = 8; h > 0; h /= 2)
        for (int e = 0; e < h; e++) sum[e] += sum[e + h];
    return sum[0];
}

TARGET static void NAME(scale)(int64_t n, double a, float *x)
{
    int64_t i = 0;
    for (; i + DOUBLES <= n; i += DOUBLES) *(vh *)(x + i) = __builtin_convertvector(__builtin_convertvector(*(const vh *)(x + i), vd) * SPLAT_D(a), vh);
    for (; i < n; i++) x[i] = (float)(x[i] * a);
}

/* `v` vectors of the sum, even and odd rows apart, so that enough additions overlap. */
TARGET FA_INLINE void NAME(columns)(const int v, int64_t m, const float *a, int64_t ld, const float *x, float *y)
{
    vf s[4] = {{0}}, t[4] = {{0}};
    int64_t j = 0;
    for (; j + 2 <= m; j += 2, a += 2 * ld) {
        const vf p = SPLAT_F(x[j]), q = SPLAT_F(x[j + 1]);
        FA_UNROLL
        for (int e = 0; e < v; e++) {
            s[e] = FMA_F(p, LOAD_F(a + e * FLOATS), s[e]);
            t[e] = FMA_F(q, LOAD_F(a + ld + e * FLOATS), t[e]);
        }
    }
    if (j < m)
        for (int e = 0; e < v; e++) s[e] = FMA_F(SPLAT_F(x[j]), LOAD_F(a + e * FLOATS), s[e]);
    FA_UNROLL
    for (int e = 0; e < v; e++) *(vf *)(y + e * FLOATS) = s[e] + t[e];
}

TARGET static void NAME(combine)(int64_t n, int64_t m, const float *a, int64_t ld, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + 4 * FLOATS <= n; i += 4 * FLOATS) NAME(columns)(4, m, a + i, ld, x, y + i);
    for (; i + 2 * FLOATS <= n; i += 2 * FLOATS) NAME(columns)(2, m, a + i, ld, x, y + i);
    for (; i < n; i += FLOATS) NAME(columns)(1, m, a + i, ld, x, y + i);
}

/* `v` vectors of all rows' sum, even and odd rows apart. */
TARGET FA_INLINE void NAME(subtract_some)(const int v, int64_t m, const float *a, int64_t ld, const int64_t *row, const float *x, float *y)
{
    vf s[4] = {{0}}, t[4] = {{0}};
    int64_t j = 0;
    for (; j + 2 <= m; j += 2) {
        const float *a0 = a + row[j] * ld, *a1 = a + row[j + 1] * ld;
        const vf p = SPLAT_F(x[j]), q = SPLAT_F(x[j + 1]);
        FA_UNROLL
        for (int e = 0; e < v; e++) {
            s[e] = FMA_F(p, LOAD_F(a0 + e * FLOATS), s[e]);
            t[e] = FMA_F(q, LOAD_F(a1 + e * FLOATS), t[e]);
        }
    }
    if (j < m)
        for (int e = 0; e < v; e++) s[e] = FMA_F(SPLAT_F(x[j]), LOAD_F(a + row[j] * ld + e * FLOATS), s[e]);
    FA_UNROLL
    for (int e = 0; e < v; e++) *(vf *)(y + e * FLOATS) = LOAD_F(y + e * FLOATS) - (s[e] + t[e]);
}

TARGET static void NAME(subtract)(int64_t n, int64_t m, const float *a, int64_t ld, const int64_t *row, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + 4 * FLOATS <= n; i += 4 * FLOATS) NAME(subtract_some)(4, m, a + i, ld, row, x, y + i);
    for (; i + FLOATS <= n; i += FLOATS) NAME(subtract_some)(1, m, a + i, ld, row, x, y + i);
    for (; i < n; i++) {
        float s = 0;
        for (int64_t j = 0; j < m; j++) s += x[j] * a[row[j] * ld + i];
        y[i] -= s;
    }
}

TARGET static float NAME(conjugate)(int64_t n, float a, const float *held, const float *direction, const float *product, float *weight, float *residual)
{
    const vf step = SPLAT_F(a), back = SPLAT_F(-a);
    vf s = {0};
    for (int64_t i = 0; i < n; i += FLOATS) {
        const vf r = FMA_F(back * LOAD_F(held + i), LOAD_F(product + i), LOAD_F(residual + i));
        *(vf *)(weight + i) = FMA_F(step, LOAD_F(direction + i), LOAD_F(weight + i));
        *(vf *)(residual + i) = r;
        s = FMA_F(r, r, s);
    }
    const plain_f sum = SUM4(s, s, s, s);
    return sum[0];
}

TARGET static void NAME(add4)(int64_t n, const float a[4], const float *const x[4], float *y)
{
    const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
    vf a0 = SPLAT_F(a[0]), a1 = SPLAT_F(a[1]), a2 = SPLAT_F(a[2]), a3 = SPLAT_F(a[3]);
    int64_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        vf s = FMA_F(a0, LOAD_F(x0 + i), LOAD_F(y + i)), t = a1 * LOAD_F(x1 + i);
        s = FMA_F(a2, LOAD_F(x2 + i), s);
        t = FMA_F(a3, LOAD_F(x3 + i), t);
        *(vf *)(y + i) = s + t;
    }
    for (; i < n; i++) y[i] += (a[0] * x0[i] + a[2] * x2[i]) + (a[1] * x1[i] + a[3] * x3[i]);
}

/* Sizes of steps are not negative, so their bits compare as integers; the low bits make room for where the step is, counted down so that the
 * first of equals wins. */
TARGET static void NAME(descend4)(int64_t n, const float a[4], const float *const row[4], float *g, const float *w, float scale, int64_t at[4])
{
    int64_t last = (n - 1) / 4;
    int32_t low = 0xfff;
    while (last > low) low = low * 2 + 1;
    const float *r0 = row[0], *r1 = row[1], *r2 = row[2], *r3 = row[3];
    vf z = {0}, a0 = SPLAT_F(a[0]), a1 = SPLAT_F(a[1]), a2 = SPLAT_F(a[2]), a3 = SPLAT_F(a[3]), vs = SPLAT_F(scale);
    vi most = {0}, here = {0}, high = most + (0x7fffffff & ~low);
    for (int e = 0; e < FLOATS; e++) here[e] = (int32_t)last - e / 4;
    int64_t i = 0;
    for (; i + FLOATS <= n; i += FLOATS) {
        vf s = FMA_F(a0, LOAD_F(r0 + i), LOAD_F(g + i)), t = a1 * LOAD_F(r1 + i), old = LOAD_F(w + i);
        s = FMA_F(a2, LOAD_F(r2 + i), s);
        t = FMA_F(a3, LOAD_F(r3 + i), t);
        s += t;
        *(vf *)(g + i) = s;
        vf d = MAX_F(FMA_F(s, vs, old), z) - old;
        vi key = ((vi)d & high) | here;
        most = MAX_I(key, most);
        here -= FLOATS / 4;
    }
    int32_t best[4] = {0, 0, 0, 0};
    for (int e = 0; e < FLOATS; e++) best[e % 4] = most[e] > best[e % 4] ? most[e] : best[e % 4];
    for (; i < n; i++) {
        g[i] = (g[i] + a[0] * r0[i] + a[2] * r2[i]) + (a[1] * r1[i] + a[3] * r3[i]);
        float d = w[i] + g[i] * scale;
        d = (d > 0 ? d : 0) - w[i];
        int32_t key;
        memcpy(&key, &d, sizeof key);
        key = (key & 0x7fffffff & ~low) | (int32_t)(last - i / 4);
        best[i % 4] = key > best[i % 4] ? key : best[i % 4];
    }
    for (int q = 0; q < 4; q++) at[q] = best[q] > low ? 4 * (last - (best[q] & low)) + q : -1;
}

TARGET static void NAME(columns4)(int64_t n, int64_t depth, const double *rows, const double *pivot, int64_t ld, double *out, int64_t out_ld)
{
    int64_t i = 0;
    for (; i + 2 * DOUBLES <= n; i += 2 * DOUBLES) {
        vd s[8] = {{0}};
        for (int64_t k = 0; k < depth; k++) {
            const double *p = pivot + k * ld;
            vd x = LOAD_D(rows + k * ld + i), y = LOAD_D(rows + k * ld + i + DOUBLES);
            for (int c = 0; c < 4; c++) {
                vd b = SPLAT_D(p[c]);
                s[2 * c] = FMA_D(x, b, s[2 * c]);
                s[2 * c + 1] = FMA_D(y, b, s[2 * c + 1]);
            }
        }
        for (int c = 0; c < 4; c++) {
            double *o = out + c * out_ld + i;
            *(vd *)o = LOAD_D(o) - s[2 * c];
            *(vd *)(o + DOUBLES) = LOAD_D(o + DOUBLES) - s[2 * c + 1];
        }
    }
    for (; i + DOUBLES <= n; i += DOUBLES) {
        vd s[4] = {{0}};
        for (int64_t k = 0; k < depth; k++) {
            vd x = LOAD_D(rows + k * ld + i);
            for (int c = 0; c < 4; c++) s[c] = FMA_D(x, SPLAT_D(pivot[k * ld + c]), s[c]);
        }
        for (int c = 0; c < 4; c++) *(vd *)(out + c * out_ld + i) = LOAD_D(out + c * out_ld + i) - s[c];
    }
    for (; i < n; i++) {
        double s[4] = {0, 0, 0, 0};
        for (int64_t k = 0; k < depth; k++)
            for (int c = 0; c < 4; c++) s[c] += rows[k * ld + i] * pivot[k * ld + c];
        for (int c = 0; c < 4; c++) out[c * out_ld + i] -= s[c];
    }
}

/* Rows of `a` by threes: twelve (AVX2) running sums, and each vector of `x` is read once for three rows. */
TARGET static void NAME(panel16)(int64_t n, int64_t m, const float *a, int64_t ld, const double *x, double *out)
{
    int64_t i = 0;
    for (; i + 3 <= n; i += 3) {
        const float *a0 = a + i * ld, *a1 = a0 + ld, *a2 = a1 + ld;
        vd s[3][PANEL] = {{{0}}};
        for (int64_t j = 0; j < m; j++) {
            vd b0 = SPLAT_D(a0[j]), b1 = SPLAT_D(a1[j]), b2 = SPLAT_D(a2[j]);
            for (int v = 0; v < PANEL; v++) {
                vd t = LOAD_D(x + 16 * j + v * DOUBLES);
                s[0][v] = FMA_D(b0, t, s[0][v]);
                s[1][v] = FMA_D(b1, t, s[1][v]);
                s[2][v] = FMA_D(b2, t, s[2][v]);
            }
        }
        for (int r = 0; r < 3; r++)
            for (int v = 0; v < PANEL; v++) *(vd *)(out + 16 * (i + r) + v * DOUBLES) = s[r][v];
    }
    for (; i < n; i++) {
        vd s[PANEL] = {{0}};
        for (int64_t j = 0; j < m; j++)
            for (int v = 0; v < PANEL; v++) s[v] = FMA_D(SPLAT_D(a[i * ld + j]), LOAD_D(x + 16 * j + v * DOUBLES), s[v]);
        for (int v = 0; v < PANEL; v++) *(vd *)(out + 16 * i + v * DOUBLES) = s[v];
    }
}

TARGET static void NAME(gram16)(int64_t n, const double *a, const double *b, double *out)
{
    for (int p = 0; p < 16; p += 2) {
        vd s[2][PANEL] = {{{0}}};
        for (int64_t i = 0; i < n; i++) {
            vd x = SPLAT_D(a[16 * i + p]), y = SPLAT_D(a[16 * i + p + 1]);
            for (int v = 0; v < PANEL; v++) {
                vd t = LOAD_D(b + 16 * i + v * DOUBLES);
                s[0][v] = FMA_D(x, t, s[0][v]);
                s[1][v] = FMA_D(y, t, s[1][v]);
            }
        }
        for (int r = 0; r < 2; r++)
            for (int v = 0; v < PANEL; v++) *(vd *)(out + 16 * (p + r) + v * DOUBLES) = s[r][v];
    }
}

TARGET static void NAME(mix16)(int64_t n, const double *a, const double *h, double *out)
{
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) {
        vd s[2][PANEL];
        for (int v = 0; v < PANEL; v++) {
            s[0][v] = LOAD_D(out + 16 * i + v * DOUBLES);
            s[1][v] = LOAD_D(out + 16 * (i + 1) + v * DOUBLES);
        }
        for (int p = 0; p < 16; p++) {
            vd x = SPLAT_D(a[16 * i + p]), y = SPLAT_D(a[16 * (i + 1) + p]);
            for (int v = 0; v < PANEL; v++) {
                vd t = LOAD_D(h + 16 * p + v * DOUBLES);
                s[0][v] = FMA_D(x, t, s[0][v]);
                s[1][v] = FMA_D(y, t, s[1][v]);
            }
        }
        for (int r = 0; r < 2; r++)
            for (int v = 0; v < PANEL; v++) *(vd *)(out + 16 * (i + r) + v * DOUBLES) = s[r][v];
    }
    for (; i < n; i++)
        for (int q = 0; q < 16; q++) {
            double s = out[16 * i + q];
            for (int p = 0; p < 16; p++) s += a[16 * i + p] * h[16 * p + q];
            out[16 * i + q] = s;
        }
}

static const fa_dot_kernels NAME(table) = {
    .name = LABEL,
    .rows = ROWS,
    .weighted = NAME(weighted),
    .squares = NAME(squares),
    .scale = NAME(scale),
    .combine = NAME(combine),
    .subtract = NAME(subtract),
    .conjugate = NAME(conjugate),
    .add4 = NAME(add4),
    .descend4 = NAME(descend4),
    .columns4 = NAME(columns4),
    .panel16 = NAME(panel16),
    .gram16 = NAME(gram16),
    .mix16 = NAME(mix16),
};

#undef vf
#undef vd
#undef vi
#undef vh
#undef LOAD_F
#undef LOAD_D
#undef PANEL
#undef ROWS
#undef SUM4
#undef DOUBLES
#undef FMA_D
#undef SPLAT_D
#undef MAX_I
#include "kernels/vectors_end.h"
