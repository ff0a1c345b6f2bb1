/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu.h"
#include "kernels/outer.h"

#include <stddef.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

typedef void (*tile_fn)(const fa_outer_grid *g, int64_t i0, int64_t j0, int64_t left);

/* Masks of 0 to 8 lanes: lanes [8 - n, 16 - n). */
static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

#define NAME(f) f##_avx2
#define TARGET FA_AVX2
#define FLOATS 8
#define ROWS 6
#define FMA_F(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SPLAT_F(x) ((vf)_mm256_set1_ps(x))
#define MASK __m256i
#define MASK_OF(n) _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 8 - (n)))
#define MASK_LOAD(p, mask) ((vf)_mm256_maskload_ps(p, mask))
#define MASK_STORE(p, mask, v) _mm256_maskstore_ps(p, mask, (__m256)(v))
#include "kernels/outer_grid_body.h"

#define NAME(f) f##_avx512
#define TARGET __attribute__((target("avx512f,fma")))
#define FLOATS 16
#define ROWS 12
#define FMA_F(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SPLAT_F(x) ((vf)_mm512_set1_ps(x))
#define MASK __mmask16
#define MASK_OF(n) (__mmask16)((1u << (n)) - 1)
#define MASK_LOAD(p, mask) ((vf)_mm512_maskz_loadu_ps(mask, p))
#define MASK_STORE(p, mask, v) _mm512_mask_storeu_ps(p, mask, (__m512)(v))
#include "kernels/outer_grid_body.h"
#endif

static void plain(const fa_outer_grid *g)
{
    for (int64_t i = 0; i < g->ni; i++)
        for (int64_t j = 0; j < g->nj; j++) {
            double sum = 0;
            for (int64_t image = 0; image < g->images; image++)
                for (int64_t row = 0; row < g->rows; row++)
                    for (int64_t col = 0; col < g->cols; col++)
                        sum += (double)g->x[image * g->x_image + row * g->x_row + col * g->x_col + i] * (double)g->y[image * g->y_image + row * g->y_row + col * g->y_col + j];
            g->c[i * g->ldc + j] += (float)sum;
        }
}

void fa_outer_grid_run(fa_isa isa, const fa_outer_grid *from)
{
    fa_outer_grid g = *from;
    if (g.x_row == g.cols * g.x_col && g.y_row == g.cols * g.y_col) {
        g.cols *= g.rows;
        g.rows = 1;
    }
    if (g.rows == 1 && g.x_image == g.cols * g.x_col && g.y_image == g.cols * g.y_col) {
        g.cols *= g.images;
        g.images = 1;
    }
#if FA_HAVE_AVX2
    if (isa == FA_ISA_XSMM && fa_cpu_avx512()) {
        run_avx512(&g);
        return;
    }
    if (isa != FA_ISA_NONE) {
        run_avx2(&g);
        return;
    }
#endif
    (void)isa;
    plain(&g);
}
