/* SPDX-License-Identifier: Apache-2.0 */
/* Part of fixed_body.h, included once per kind of element of the four rows with FEW and WHOLE (names of the functions), ELEMENT (its type) and WORDS(p) (twice FLOATS of them as words) defined;
 * undefines them. */

/* `n` rows with four: a constant after inlining. */
TARGET FA_INLINE void FEW(const int n, const int16_t *const *one, const ELEMENT *const four[4], const int64_t *offset, int32_t pieces, const float *weight, float *out, int64_t out_ld)
{
    const ELEMENT *f0 = four[0], *f1 = four[1], *f2 = four[2], *f3 = four[3];
    const int16_t *x[ROWS];
    plain_f sum[ROWS];
    FA_UNROLL
    for (int k = 0; k < n; k++) {
        x[k] = one[k];
        sum[k] = (plain_f){0};
    }
    for (int32_t p = 0; p < pieces; p++, weight += 4 * n) {
        const int64_t end = offset[p + 1];
        vi s[ROWS][4];
        FA_UNROLL
        for (int k = 0; k < n; k++) s[k][0] = s[k][1] = s[k][2] = s[k][3] = (vi){0};
        for (int64_t i = offset[p]; i < end; i += 2 * FLOATS) {
            const vi r0 = WORDS(f0 + i), r1 = WORDS(f1 + i), r2 = WORDS(f2 + i), r3 = WORDS(f3 + i);
            FA_UNROLL
            for (int k = 0; k < n; k++) {
                const vi v = LOAD_I(x[k] + i);
                s[k][0] = DOT(s[k][0], v, r0);
                s[k][1] = DOT(s[k][1], v, r1);
                s[k][2] = DOT(s[k][2], v, r2);
                s[k][3] = DOT(s[k][3], v, r3);
            }
        }
        FA_UNROLL
        for (int k = 0; k < n; k++) sum[k] += *(const plain_f *)(weight + 4 * k) * __builtin_convertvector(SUM4(s[k][0], s[k][1], s[k][2], s[k][3]), plain_f);
    }
    FA_UNROLL
    for (int k = 0; k < n; k++) *(plain_f *)(out + k * out_ld) = sum[k];
}

TARGET static void WHOLE(int n, const int16_t *const *one, const ELEMENT *const four[4], const int64_t *offset, int32_t pieces, const float *weight, float *out, int64_t out_ld)
{
    switch (n) {
    case 1: FEW(1, one, four, offset, pieces, weight, out, out_ld); break;
    case 2: FEW(2, one, four, offset, pieces, weight, out, out_ld); break;
#if ROWS > 2
    case 3: FEW(3, one, four, offset, pieces, weight, out, out_ld); break;
    case 4: FEW(4, one, four, offset, pieces, weight, out, out_ld); break;
#endif
    }
}

#undef FEW
#undef WHOLE
#undef ELEMENT
#undef WORDS
