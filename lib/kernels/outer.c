/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/outer.h"

#include "kernels/blis.h"
#include "kernels/cpu.h"

static fa_outer_grid grid_of(const fa_outer *o)
{
    return (fa_outer_grid){.images = 1, .rows = 1, .cols = o->n, .ni = o->ni, .nj = o->nj, .x = o->x, .y = o->y, .x_col = o->ldx, .y_col = o->ldy, .c = o->c, .ldc = o->ldc, .pool = o->pool};
}

void fa_outer_run(fa_isa isa, const fa_outer *o)
{
    const fa_outer_grid grid = grid_of(o);
    fa_outer_grid_run(isa, &grid);
}

/* Columns of a triangle that are summed together: a whole tile of the widest kernel. */
#define COLUMNS 32

void fa_outer_grid_triangle(fa_isa isa, const fa_outer_grid *grid)
{
    for (int64_t j = 0; j < grid->nj; j += COLUMNS) {
        fa_outer_grid part = *grid;
        part.x += j, part.y += j, part.c += j * grid->ldc + j;
        part.ni = grid->ni - j;
        part.nj = grid->nj - j < COLUMNS ? grid->nj - j : COLUMNS;
        fa_outer_grid_run(isa, &part);
    }
}

/* From here on BLIS, which packs what it multiplies, is the faster one. */
#define PACKED_FROM 192

/* Rows of x taken together: their part of two panels stays in the first-level cache. */
#define SPAN 256

void fa_outer_symmetric(fa_isa isa, int64_t n, int64_t k, const float *x, int64_t ldx, float *c, int64_t ldc)
{
#if FA_HAVE_BLIS
    if (isa != FA_ISA_NONE && k >= PACKED_FROM) {
        fa_blis_symmetric(n, k, x, ldx, c, ldc);
        return;
    }
#endif
    for (int64_t p = 0; p < n; p += SPAN) {
        const fa_outer o = {n - p < SPAN ? n - p : SPAN, k, k, x + p * ldx, x + p * ldx, ldx, ldx, c, ldc, NULL};
        const fa_outer_grid grid = grid_of(&o);
        fa_outer_grid_triangle(isa, &grid);
    }
}
