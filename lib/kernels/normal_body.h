/* SPDX-License-Identifier: Apache-2.0 */
/* Body of normal.c, included once per instruction set with NAME, TARGET, FLOATS (per vector: 4, 8 or 16), MULTIPLY (the low halves of 64-bit lanes, to 64
 * bits) and SQRT defined; undefines them. */

#define vf NAME(vf)
#define vi NAME(vi)
#define vu NAME(vu)
#define vq NAME(vq)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * FLOATS)));
typedef uint32_t vu __attribute__((vector_size(4 * FLOATS)));
typedef uint64_t vq __attribute__((vector_size(4 * FLOATS)));

#define FLOAT_OF(x) __builtin_convertvector(x, vf)
#define SELECT(mask, a, b) ((vf)(((vi)(a) & (mask)) | ((vi)(b) & ~(mask))))

/* Pairs of normal numbers of words x and y, to out and out + 16. Polynomials for ln, sine and cosine: Cephes (Moshier). */
TARGET static inline __attribute__((always_inline)) void NAME(transform)(vu x, vu y, float *out)
{
    /* u by its distance to the nearer of 0 and 1, so that ln u keeps its digits at both ends. */
    const vi upper = (vi)x >> 31;
    const vf d = (FLOAT_OF((vi)x ^ upper) + 0.5f) * 0x1p-32f, u = SELECT(upper, 1 - d, d);
    /* u = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2) */
    const vi k = ((vi)u - 0x3f3504f3) >> 23;
    const vf f = SELECT(k == 0, -d, (vf)((vu)u - ((vu)k << 23)) - 1), e = FLOAT_OF(k), f2 = f * f;
    vf p = f * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * f2 + e * -2.12194440e-4f - 0.5f * f2; /* ln 2 in two pieces */
    const vf r = SQRT(-2 * ((f + p) + e * 0.693359375f));

    /* The angle is `quarter` right angles and a rest of at most half of one. */
    const vu quarter = (y + 0x20000000u) >> 30;
    const vf a = FLOAT_OF((vi)(y - (quarter << 30))) * 0x1.921fb6p-30f, a2 = a * a;
    const vf sine = ((a2 * -1.9515295891e-4f + 8.3321608736e-3f) * a2 - 1.6666654611e-1f) * a2 * a + a;
    const vf cosine = ((a2 * 2.443315711809948e-5f - 1.388731625493765e-3f) * a2 + 4.166664568298827e-2f) * a2 * a2 - 0.5f * a2 + 1;
    const vi odd = -(vi)(quarter & 1);
    *(vf *)out = r * (vf)((vu)SELECT(odd, sine, cosine) ^ ((quarter + 1) & 2) << 30);
    *(vf *)(out + 16) = r * (vf)((vu)SELECT(odd, cosine, sine) ^ (quarter & 2) << 30);
}

/* Run `run` of a stream. Philox on the low half of 64-bit lanes; what is in the high halves never reaches the low ones. Even and odd blocks apart, so that
 * joining their words puts the blocks in order. */
TARGET static inline __attribute__((always_inline)) void NAME(make)(uint64_t key, uint64_t stream, uint64_t run, float *out)
{
    const vq zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    for (int at = 0; at < 16; at += FLOATS) {
        vq e0 = zero + (run * 16 + (uint64_t)at);
        for (int i = 0; i < FLOATS / 2; i++) e0[i] += 2 * (uint64_t)i;
        vq o0 = e0 + 1, e1 = e0 >> 32, o1 = e1, e2 = zero + stream, o2 = e2, e3 = e2 >> 32, o3 = e3, k0 = zero + key, k1 = k0 >> 32;
        for (int round = 0; round < 10; round++) {
            const vq ea = MULTIPLY(e0, m0), eb = MULTIPLY(e2, m1), oa = MULTIPLY(o0, m0), ob = MULTIPLY(o2, m1);
            e0 = (eb >> 32) ^ e1 ^ k0, o0 = (ob >> 32) ^ o1 ^ k0;
            e2 = (ea >> 32) ^ e3 ^ k1, o2 = (oa >> 32) ^ o3 ^ k1;
            e1 = eb, o1 = ob, e3 = ea, o3 = oa;
            k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
        }
        NAME(transform)((vu)JOIN(e0, o0), (vu)JOIN(e1, o1), out + at);
        NAME(transform)((vu)JOIN(e2, o2), (vu)JOIN(e3, o3), out + at + 32);
    }
}

TARGET static void NAME(normal)(uint64_t key, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    while (n > 0) {
        const int64_t from = (int64_t)(first % RUN), count = n < RUN - from ? n : RUN - from;
        if (count == RUN) {
            NAME(make)(key, stream, first / RUN, out);
        } else {
            float whole[RUN];
            NAME(make)(key, stream, first / RUN, whole);
            memcpy(out, whole + from, (size_t)count * sizeof *out);
        }
        first += (uint64_t)count, out += count, n -= count;
    }
}

#undef vf
#undef vi
#undef vu
#undef vq
#undef FLOAT_OF
#undef SELECT
#undef NAME
#undef TARGET
#undef FLOATS
#undef MULTIPLY
#undef SQRT
