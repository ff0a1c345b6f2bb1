/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/winograd.h"

#include "base/pool.h"
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

static int64_t tiles_of(const fa_winograd *w, int64_t n)
{
    const int64_t m = FA_WINOGRAD_OUT;
    return n * ((w->out_h + m - 1) / m) * ((w->out_w + m - 1) / m);
}

/* Tiles first ... end - 1 of all images. */
static walk begin(const fa_winograd *w, int64_t first, int64_t end)
{
    const int64_t m = FA_WINOGRAD_OUT;
    walk a = {.n_y = (w->out_h + m - 1) / m, .n_x = (w->out_w + m - 1) / m, .left = end - first};
    a.blocks = (a.left + FA_WINOGRAD_TILES - 1) / FA_WINOGRAD_TILES;
    a.image = first / (a.n_y * a.n_x);
    a.ty = first / a.n_x % a.n_y;
    a.tx = first % a.n_x;
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

typedef void (*in_fn)(const fa_winograd_block *block, int64_t first, int64_t end);
typedef void (*out_fn)(const fa_winograd_block *block, const fa_conv_data *data, int64_t first, int64_t end);
typedef void (*sums_fn)(const fa_winograd_block *block, const float *d, float *sums);

static int set_of(fa_isa isa)
{
    return isa == FA_ISA_AVX512 ? 2 : isa != FA_ISA_NONE;
}

#if FA_HAVE_AVX2
static const in_fn transform[] = {fa_winograd_in_plain, fa_winograd_in_avx2, fa_winograd_in_avx512};
static const out_fn finish[] = {fa_winograd_out_plain, fa_winograd_out_avx2, fa_winograd_out_avx512};
static const sums_fn add_sums[] = {fa_winograd_sums_plain, fa_winograd_sums_avx2, fa_winograd_sums_avx512};
#else
static const in_fn transform[] = {fa_winograd_in_plain, fa_winograd_in_plain, fa_winograd_in_plain};
static const out_fn finish[] = {fa_winograd_out_plain, fa_winograd_out_plain, fa_winograd_out_plain};
static const sums_fn add_sums[] = {fa_winograd_sums_plain, fa_winograd_sums_plain, fa_winograd_sums_plain};
#endif

/* Tiles that a thread takes at least, where threads share tiles: enough to be worth reading all weights for. */
#define ENOUGH 20

typedef struct shared {
    const fa_winograd *w;
    const fa_conv_data *data;
    int64_t tiles, pieces;
    const fa_winograd_block *block; /* whose channels are shared */
} shared;

static float *in_of(const fa_winograd *w, const fa_conv_data *d, int32_t thread)
{
    return (float *)(void *)((char *)d->scratch + (size_t)thread * fa_winograd_scratch(w->in_c));
}

static void some_tiles(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    const fa_winograd *w = s->w;
    fa_winograd_block b = {.w = w, .in = in_of(w, s->data, thread)};
    b.product = b.in + in_floats(w->in_c);
    const int set = set_of(w->isa);
    for (walk a = begin(w, first * s->tiles / s->pieces, end * s->tiles / s->pieces); next(&a, s->data->in, &b);) {
        transform[set](&b, 0, b.n);
        finish[set](&b, s->data, 0, blocks_of(w->out_c));
    }
}

static void some_inputs(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    (void)thread;
    transform[set_of(s->w->isa)](s->block, first, end);
}

static void some_outputs(void *user, int64_t first, int64_t end, int32_t thread)
{
    const shared *s = user;
    fa_winograd_block b = *s->block;
    b.product = in_of(s->w, s->data, thread) + in_floats(s->w->in_c);
    finish[set_of(s->w->isa)](&b, s->data, first, end);
}

/* Products of so many tiles, and, beside them, transforms of so many channels. */
static double cost_of(int64_t tiles, double products, int64_t channels)
{
    return (double)FA_WINOGRAD_POSITIONS * (double)tiles * (2 * products + 12 * (double)channels);
}

void fa_winograd_run(const fa_winograd *w, const fa_conv_data *d)
{
    shared s = {.w = w, .data = d, .tiles = tiles_of(w, d->n)};
    const double products = (double)w->in_c * (double)w->out_c;
    s.pieces = s.tiles / ENOUGH;
    if (fa_pool_threads(d->pool) < 2 || s.pieces >= fa_pool_threads(d->pool)) {
        if (!s.pieces) s.pieces = 1;
        fa_pool_share(d->pool, s.pieces, cost_of(s.tiles, products, w->in_c + w->out_c), some_tiles, &s);
        return;
    }
    /* Few tiles: every thread reads its part of the weights. */
    fa_winograd_block b = {.w = w, .in = in_of(w, d, 0)};
    s.block = &b;
    for (walk a = begin(w, 0, s.tiles); next(&a, d->in, &b);) {
        fa_pool_share(d->pool, b.n, cost_of(b.n, 0, w->in_c), some_inputs, &s);
        fa_pool_share(d->pool, blocks_of(w->out_c), cost_of(b.n, products, w->out_c), some_outputs, &s);
    }
}

void fa_winograd_weights(const fa_winograd *w, int64_t n, const float *in, const float *d, int64_t stride_out, int64_t stride_in, int64_t stride_position,
                         float *gradient, void *scratch)
{
    float *sums = scratch;
    const size_t floats = fa_winograd_packed_floats(w->in_c, w->out_c);
    fa_winograd_block b = {.w = w, .in = sums + floats, .product = sums + floats + in_floats(w->in_c)};
    const int set = set_of(w->isa);
    memset(sums, 0, floats * sizeof *sums);
    for (walk a = begin(w, 0, tiles_of(w, n)); next(&a, in, &b);) add_sums[set](&b, d, sums);
    fa_winograd_unpack(w->in_c, w->out_c, sums, stride_out, stride_in, stride_position, gradient);
}
