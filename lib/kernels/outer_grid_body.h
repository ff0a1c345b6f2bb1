/* SPDX-License-Identifier: Apache-2.0 */
/* Body of outer_grid.c, included once per instruction set with NAME, TARGET, FLOATS (per vector), ROWS (of a tile), FMA_F, SPLAT_F, and, for vectors of
 * which the first n floats exist, MASK, MASK_OF(n), MASK_LOAD(p, mask) and MASK_STORE(p, mask, v) defined; undefines them. */

#define vf NAME(vf)
typedef float vf __attribute__((vector_size(4 * FLOATS), aligned(4), may_alias));
#define LOAD_F(p) (*(const vf *)(p))

/* Rows beside a single vector of columns. */
#define ROWS_ONE (ROWS + ROWS / 3)

/* `r` rows by `v` vectors of columns, the last one cut off by `mask` where `cut`, x in short runs where `runs`; constants after inlining but for the mask. */
FA_INLINE TARGET void NAME(tile_body)(const fa_outer_grid *g, int64_t i0, int64_t j0, const int r, const int v, const bool cut, const bool runs, const MASK mask)
{
    vf acc[ROWS_ONE][2];
    int64_t at[ROWS_ONE];
    FA_UNROLL
    for (int i = 0; i < r; i++) at[i] = runs ? fa_outer_x(g, i0 + i) : i;
    FA_UNROLL
    for (int i = 0; i < r; i++) acc[i][0] = acc[i][1] = (vf){0};
    for (int64_t image = 0; image < g->images; image++)
        for (int64_t row = 0; row < g->rows; row++) {
            const float *x = g->x + image * g->x_image + row * g->x_row + (runs ? 0 : i0), *y = g->y + image * g->y_image + row * g->y_row + j0;
            for (int64_t col = 0; col < g->cols; col++, x += g->x_col, y += g->y_col) {
                const float *last = v > 1 ? y + FLOATS : y;
                const vf y1 = cut ? MASK_LOAD(last, mask) : LOAD_F(last), y0 = v > 1 ? LOAD_F(y) : y1;
                FA_UNROLL
                for (int i = 0; i < r; i++) {
                    const vf b = SPLAT_F(x[at[i]]);
                    acc[i][0] = FMA_F(b, y0, acc[i][0]);
                    if (v > 1) acc[i][1] = FMA_F(b, y1, acc[i][1]);
                }
            }
        }
    FA_UNROLL
    for (int i = 0; i < r; i++) {
        float *c = g->c + (i0 + i) * g->ldc + j0, *last = v > 1 ? c + FLOATS : c;
        if (v > 1) *(vf *)c = LOAD_F(c) + acc[i][0];
        if (cut) MASK_STORE(last, mask, MASK_LOAD(last, mask) + acc[i][v - 1]);
        else *(vf *)last = LOAD_F(last) + acc[i][v - 1];
    }
}

#define TILE(r, v, cut)                                                                                                                                  \
    static TARGET void NAME(tile_##r##_##v##_##cut)(const fa_outer_grid *g, int64_t i0, int64_t j0, int64_t left)                                        \
    {                                                                                                                                                    \
        NAME(tile_body)(g, i0, j0, r, v, cut, false, MASK_OF(left));                                                                                            \
    }
#define TILE_RUNS(r, v)                                                                                                                                  \
    static TARGET void NAME(tile_runs_##r##_##v)(const fa_outer_grid *g, int64_t i0, int64_t j0, int64_t left)                                           \
    {                                                                                                                                                    \
        NAME(tile_body)(g, i0, j0, r, v, true, true, MASK_OF(left));                                                                                     \
    }
#define TILES(r) TILE(r, 1, 0) TILE(r, 1, 1) TILE(r, 2, 0) TILE(r, 2, 1) TILE_RUNS(r, 1) TILE_RUNS(r, 2)
#define ENTRY(r) {NAME(tile_##r##_1_0), NAME(tile_##r##_1_1), NAME(tile_##r##_2_0), NAME(tile_##r##_2_1), NAME(tile_runs_##r##_1), NAME(tile_runs_##r##_2)}
#define TILES_ONE(r) TILE(r, 1, 0) TILE(r, 1, 1) TILE_RUNS(r, 1)
#define ENTRY_ONE(r) {NAME(tile_##r##_1_0), NAME(tile_##r##_1_1), NULL, NULL, NAME(tile_runs_##r##_1), NULL}
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if ROWS > 6
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES_ONE(13) TILES_ONE(14) TILES_ONE(15) TILES_ONE(16)
#else
TILES_ONE(7) TILES_ONE(8)
#endif
static const tile_fn NAME(tiles)[ROWS_ONE + 1][6] = {{NULL}, ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if ROWS > 6
                                                     ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY_ONE(13), ENTRY_ONE(14), ENTRY_ONE(15), ENTRY_ONE(16)
#else
                                                     ENTRY_ONE(7), ENTRY_ONE(8)
#endif
};

/* Bands of rows as equal as can be: few accumulators leave the multiply-add units waiting. */
static void NAME(run)(const fa_outer_grid *g)
{
    const int64_t most = g->nj > FLOATS ? ROWS : ROWS_ONE, bands = (g->ni + most - 1) / most;
    for (int64_t band = 0, i = 0, r; band < bands; band++, i += r) {
        r = (g->ni - i + bands - band - 1) / (bands - band);
        for (int64_t j = 0; j < g->nj; j += 2 * FLOATS) {
            const int64_t left = g->nj - j, last = left > FLOATS ? left - FLOATS : left;
            NAME(tiles)[r][g->run ? 4 + (left > FLOATS) : (left > FLOATS ? 2 : 0) + (last < FLOATS)](g, i, j, last < FLOATS ? last : FLOATS);
        }
    }
}

#undef vf
#undef LOAD_F
#undef TILE
#undef TILE_RUNS
#undef TILES
#undef TILES_ONE
#undef ENTRY
#undef ENTRY_ONE
#undef ROWS
#undef ROWS_ONE
#include "kernels/vectors_end.h"
