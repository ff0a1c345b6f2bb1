/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"
#include "kernels/cpu.h"
#include "kernels/outer.h"

#include <stddef.h>

#if FA_HAVE_AVX2
#include <immintrin.h>

typedef void (*tile_fn)(const fa_outer_grid *g, int64_t i0, int64_t j0, int64_t left);

#include "kernels/vectors_avx2.h"
#define ROWS 6
#include "kernels/outer_grid_body.h"

#include "kernels/vectors_avx512.h"
#define ROWS 12
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
                        sum += (double)g->x[image * g->x_image + row * g->x_row + col * g->x_col + fa_outer_x(g, i)] * (double)g->y[image * g->y_image + row * g->y_row + col * g->y_col + j];
            g->c[i * g->ldc + j] += (float)sum;
        }
}

static void run(fa_isa isa, const fa_outer_grid *g)
{
#if FA_HAVE_AVX2
    if (isa == FA_ISA_AVX512) {
        run_avx512(g);
        return;
    }
    if (isa != FA_ISA_NONE) {
        run_avx2(g);
        return;
    }
#endif
    (void)isa;
    plain(g);
}

/* Rows and columns of a piece: enough sums for the registers, whole vectors. */
#define PIECE_ROWS 8
#define PIECE_COLUMNS 32

typedef struct shared {
    const fa_outer_grid *grid;
    fa_isa isa;
} shared;

static int64_t up_to(int64_t i, int64_t step, int64_t most)
{
    return i * step < most ? i * step : most;
}

static void some_rows(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_outer_grid g = *s->grid;
    const int64_t i = first * PIECE_ROWS;
    (void)thread;
    g.ni = up_to(end, PIECE_ROWS, g.ni) - i;
    g.x += i;
    g.c += i * g.ldc;
    run(s->isa, &g);
}

static void some_columns(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_outer_grid g = *s->grid;
    const int64_t j = first * PIECE_COLUMNS;
    (void)thread;
    g.nj = up_to(end, PIECE_COLUMNS, g.nj) - j;
    g.y += j;
    g.c += j;
    run(s->isa, &g);
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
    const double cost = 2.0 * (double)(g.images * g.rows * g.cols) * (double)g.ni * (double)g.nj;
    const int64_t rows = (g.ni + PIECE_ROWS - 1) / PIECE_ROWS, columns = (g.nj + PIECE_COLUMNS - 1) / PIECE_COLUMNS;
    if (columns >= fa_pool_threads(g.pool) || g.run || columns >= rows) fa_pool_share(g.pool, columns, cost, some_columns, &(shared){&g, isa});
    else fa_pool_share(g.pool, rows, cost, some_rows, &(shared){&g, isa});
}
