/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/winograd.h"

#include "kernels/cpu.h"
#include "kernels/winograd_block.h"

#include <string.h>

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
    return (size_t)(FA_WINOGRAD_POSITIONS * fa_winograd_step(blocks_of(in_c) * FA_WINOGRAD_TILES));
}

size_t fa_winograd_scratch(int64_t in_c)
{
    return (in_floats(in_c) + (size_t)(FA_WINOGRAD_POSITIONS * fa_winograd_step(FA_WINOGRAD_TILES))) * sizeof(float);
}

size_t fa_winograd_weights_scratch(int64_t in_c, int64_t out_c)
{
    return fa_winograd_packed_floats(in_c, out_c) * sizeof(float) + fa_winograd_scratch(in_c);
}

/* Where in the tiles of `n` images a run is. */
typedef struct walk {
    int64_t n_y, n_x;           /* tiles of an image */
    int64_t left, blocks;       /* tiles, and blocks of them */
    int64_t image, ty, tx;
} walk;

static walk begin(const fa_winograd *w, int64_t n)
{
    const int64_t m = FA_WINOGRAD_OUT;
    walk a = {.n_y = (w->out_h + m - 1) / m, .n_x = (w->out_w + m - 1) / m};
    a.left = n * a.n_y * a.n_x;
    a.blocks = (a.left + FA_WINOGRAD_TILES - 1) / FA_WINOGRAD_TILES;
    return a;
}

/* The next block of tiles of `in`. Blocks are as equal as can be, regardless of rows and images: what a tile's sums are does not depend on its neighbours. */
static bool next(walk *a, const float *in, fa_winograd_block *b)
{
    const fa_winograd *w = b->w;
    const int64_t m = FA_WINOGRAD_OUT;
    if (!a->blocks) return false;
    b->n = (a->left + a->blocks - 1) / a->blocks;
    b->in_step = fa_winograd_step(blocks_of(w->in_c) * b->n);
    b->product_step = fa_winograd_step(b->n);
    a->left -= b->n;
    a->blocks--;
    for (int64_t i = 0; i < b->n; i++) {
        const int64_t oy = a->ty * m, ox = a->tx * m;
        b->tile[i] = (fa_winograd_tile){.image = in + a->image * w->in_h * w->in_w * w->in_c, .y = oy - w->pad_top, .x = ox - w->pad_left,
                                        .out = ((a->image * w->out_h + oy) * w->out_w + ox) * fa_winograd_pixel(w),
                                        .rows = w->out_h - oy < m ? w->out_h - oy : m, .cols = w->out_w - ox < m ? w->out_w - ox : m};
        if (++a->tx < a->n_x) continue;
        a->tx = 0;
        if (++a->ty < a->n_y) continue;
        a->ty = 0;
        a->image++;
    }
    return true;
}

typedef void (*block_fn)(const fa_winograd_block *block, const fa_conv_data *data);
typedef void (*sums_fn)(const fa_winograd_block *block, const float *d, float *sums);

static int set_of(fa_isa isa)
{
    return isa == FA_ISA_XSMM && fa_cpu_avx512() ? 2 : isa != FA_ISA_NONE;
}

#if FA_HAVE_AVX2
static const block_fn run_block[] = {fa_winograd_block_plain, fa_winograd_block_avx2, fa_winograd_block_avx512};
static const sums_fn add_sums[] = {fa_winograd_sums_plain, fa_winograd_sums_avx2, fa_winograd_sums_avx512};
#else
static const block_fn run_block[] = {fa_winograd_block_plain, fa_winograd_block_plain, fa_winograd_block_plain};
static const sums_fn add_sums[] = {fa_winograd_sums_plain, fa_winograd_sums_plain, fa_winograd_sums_plain};
#endif

void fa_winograd_run(const fa_winograd *w, const fa_conv_data *d)
{
    fa_winograd_block b = {.w = w, .in = d->scratch, .product = (float *)d->scratch + in_floats(w->in_c)};
    const int set = set_of(w->isa);
    for (walk a = begin(w, d->n); next(&a, d->in, &b);) run_block[set](&b, d);
}

void fa_winograd_weights(const fa_winograd *w, int64_t n, const float *in, const float *d, int64_t stride_out, int64_t stride_in, int64_t stride_position,
                         float *gradient, void *scratch)
{
    float *sums = scratch;
    const size_t floats = fa_winograd_packed_floats(w->in_c, w->out_c);
    fa_winograd_block b = {.w = w, .in = sums + floats, .product = sums + floats + in_floats(w->in_c)};
    const int set = set_of(w->isa);
    memset(sums, 0, floats * sizeof *sums);
    for (walk a = begin(w, n); next(&a, in, &b);) add_sums[set](&b, d, sums);
    fa_winograd_unpack(w->in_c, w->out_c, sums, stride_out, stride_in, stride_position, gradient);
}
