/* SPDX-License-Identifier: Apache-2.0 */
/* Part of dot_body.h, included once per kind of element of the four rows with PAIRS and WEIGHTED (names of the functions), ELEMENT (type of the four rows' elements), WIDEN(p) (FLOATS of them
 * as a vf) and WIDEN_SOME(p, n) (the first n, zeros beyond) defined; undefines them. */

/* `n` rows with four: a constant after inlining. */
TARGET FA_INLINE void PAIRS(const int n, const float *const *one, const ELEMENT *const four[4], const ELEMENT *const ahead[2], const int64_t *offset, int32_t n_layer,
                                  const float *weight, float *out, int64_t out_ld)
{
    const ELEMENT *f0 = four[0], *f1 = four[1], *f2 = four[2], *f3 = four[3];
    const float *x[ROWS];
    FA_UNROLL
    for (int k = 0; k < n; k++) x[k] = one[k];
#define STEP(load, widen)                                                                                                                                \
    do {                                                                                                                                                 \
        const vf r0 = widen(f0 + i), r1 = widen(f1 + i), r2 = widen(f2 + i), r3 = widen(f3 + i);                                                         \
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
#define WIDEN_REST(p) WIDEN_SOME(p, end - i)
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
            STEP(LOAD_F, WIDEN);
        }
        if (i < end) STEP(LOAD_SOME, WIDEN_REST);
        FA_UNROLL
        for (int k = 0; k < n; k++) {
            plain_f *to = (plain_f *)(out + k * out_ld);
            *to += *(const plain_f *)(weight + 4 * k) * SUM4(s[k][0], s[k][1], s[k][2], s[k][3]);
        }
    }
#undef WIDEN_REST
#undef LOAD_SOME
#undef STEP
}

TARGET static void WEIGHTED(int n, const float *const *one, const ELEMENT *const four[4], const ELEMENT *const ahead[2], const int64_t *offset, int32_t n_layer, const float *weight,
                                  float *out, int64_t out_ld)
{
    switch (n) {
    case 1: PAIRS(1, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 2: PAIRS(2, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#if ROWS > 2
    case 3: PAIRS(3, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#endif
#if ROWS > 3
    case 4: PAIRS(4, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 5: PAIRS(5, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
    case 6: PAIRS(6, one, four, ahead, offset, n_layer, weight, out, out_ld); break;
#endif
    }
}

#undef PAIRS
#undef WEIGHTED
#undef ELEMENT
#undef WIDEN
#undef WIDEN_SOME
