/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/winograd.h"

#include "kernels/cpu.h"
#include "kernels/winograd_block.h"

static int64_t blocks_of(int64_t channels)
{
    return (channels + FA_TILE - 1) / FA_TILE;
}

size_t fa_winograd_packed_floats(int64_t in_c, int64_t out_c)
{
    return (size_t)FA_WINOGRAD_POSITIONS * (size_t)in_c * (size_t)(blocks_of(out_c) * FA_TILE);
}

static size_t in_floats(int64_t in_c)
{
    return (size_t)(FA_WINOGRAD_POSITIONS * blocks_of(in_c) * FA_WINOGRAD_TILES * FA_TILE);
}

size_t fa_winograd_scratch(int64_t in_c)
{
    return (in_floats(in_c) + (size_t)(FA_WINOGRAD_POSITIONS * FA_WINOGRAD_TILES * FA_TILE)) * sizeof(float);
}

static void run_block(const fa_winograd_block *b, const fa_conv_data *d)
{
#if FA_HAVE_AVX2
    if (b->w->isa == FA_ISA_XSMM && fa_cpu_avx512()) {
        fa_winograd_block_avx512(b, d);
        return;
    }
    if (b->w->isa != FA_ISA_NONE) {
        fa_winograd_block_avx2(b, d);
        return;
    }
#endif
    fa_winograd_block_plain(b, d);
}

/* Blocks of tiles, as equal as can be, regardless of rows and images: what a tile's sums are does not depend on its neighbours. */
void fa_winograd_run(const fa_winograd *w, const fa_conv_data *d)
{
    const int64_t m = FA_WINOGRAD_OUT, tiles_y = (w->out_h + m - 1) / m, tiles_x = (w->out_w + m - 1) / m, total = d->n * tiles_y * tiles_x;
    const int64_t blocks = (total + FA_WINOGRAD_TILES - 1) / FA_WINOGRAD_TILES;
    fa_winograd_block b = {.w = w, .in = d->scratch, .product = (float *)d->scratch + in_floats(w->in_c)};
    int64_t image = 0, ty = 0, tx = 0;
    for (int64_t k = 0, done = 0; k < blocks; k++, done += b.n) {
        b.n = (total - done + blocks - k - 1) / (blocks - k);
        for (int64_t i = 0; i < b.n; i++) {
            const int64_t oy = ty * m, ox = tx * m;
            b.tile[i] = (fa_winograd_tile){.image = d->in + image * w->in_h * w->in_w * w->in_c, .y = oy - w->pad_top, .x = ox - w->pad_left,
                                           .out = ((image * w->out_h + oy) * w->out_w + ox) * w->out_c,
                                           .rows = w->out_h - oy < m ? w->out_h - oy : m, .cols = w->out_w - ox < m ? w->out_w - ox : m};
            if (++tx < tiles_x) continue;
            tx = 0;
            if (++ty < tiles_y) continue;
            ty = 0;
            image++;
        }
        run_block(&b, d);
    }
}
