/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/weights.h"

#include "kernels/cpu.h"
#include "kernels/depthwise.h"
#include "kernels/nhwc.h"
#include "kernels/outer.h"
#include "kernels/winograd.h"

#include <string.h>

#if FA_HAVE_AVX2
#include <immintrin.h>
#endif

/*
 * Under an output position lie runs of channels that follow each other in the image: a row of the kernel where it has no dilation, else one pixel. The
 * gradient is one sum of outer products per run, [run, out], in the order (kernel row, kernel column, channel), which is turned around at the end.
 */

/* Runs shorter than this, of images of one or two channels, are taken together: alone they are too few sums to keep the multiply-add units busy. */
#define SHORT 7

/* Output positions that are summed before the sums are written back: enough to make that cheap, few enough to stay in the second-level cache. */
#define POSITIONS 512

static int64_t reach(int64_t out, int64_t stride, int64_t k, int64_t dilation, int64_t pad, int64_t in)
{
    const int64_t read = (out - 1) * stride + (k - 1) * dilation + 1, own = in + pad;
    return read > own ? read : own;
}

/* A padded image. */
typedef struct frame {
    int64_t h, w, floats;
    bool copies;
} frame;

static frame frame_of(const fa_conv_geometry *g)
{
    frame f = {.h = reach(g->oh, g->stride_h, g->kh, g->dilation_h, g->pad_top, g->h), .w = reach(g->ow, g->stride_w, g->kw, g->dilation_w, g->pad_left, g->w)};
    f.copies = f.h != g->h || f.w != g->w;
    f.floats = f.h * f.w * g->c;
    return f;
}

static bool is_depthwise(const fa_conv_geometry *g)
{
    return g->groups > 1 && g->groups == g->c && g->groups == g->out;
}

/* Weights that are one matrix are summed where they lie. */
static bool in_place(const fa_conv_geometry *g)
{
    return g->kh * g->kw == 1 && g->groups == 1;
}

static int64_t images_at_once(const fa_conv_geometry *g, int64_t n)
{
    const int64_t positions = g->oh * g->ow, m = (POSITIONS + positions - 1) / positions;
    return m < n ? m : n;
}

static size_t align(size_t bytes)
{
    return (bytes + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static int64_t ld_of(const fa_conv_geometry *g)
{
    return (g->out / g->groups + 15) / 16 * 16;
}

static size_t sum_bytes(const fa_conv_geometry *g)
{
    const int64_t kernel = g->kh * g->kw;
    if (in_place(g)) return 0;
    return align((size_t)(is_depthwise(g) ? kernel * g->c : kernel * (g->c / g->groups) * ld_of(g)) * sizeof(float));
}

size_t fa_weights_scratch(const fa_conv_geometry *g, int64_t n)
{
    if (g->winograd) return fa_winograd_weights_scratch(g->c, g->out);
    const frame f = frame_of(g);
    return sum_bytes(g) + (f.copies ? align((size_t)(images_at_once(g, n) * f.floats) * sizeof(float)) : 0);
}

/* One pixel of the kernel for all images: channel by channel. `in` is padded where it has to be. */
static void depthwise(const fa_conv_geometry *g, const frame *f, int64_t n, const float *in, const float *d, float *sum)
{
    const int64_t channels = g->c;
    for (int64_t i = 0; i < n; i++)
        for (int64_t y = 0; y < g->oh; y++)
            for (int64_t x = 0; x < g->ow; x++, d += channels)
                for (int64_t ky = 0; ky < g->kh; ky++)
                    for (int64_t kx = 0; kx < g->kw; kx++) {
                        const float *a = in + i * f->floats + ((y * g->stride_h + ky * g->dilation_h) * f->w + x * g->stride_w + kx * g->dilation_w) * channels;
                        float *to = sum + (ky * g->kw + kx) * channels;
                        for (int64_t c = 0; c < channels; c++) to[c] += a[c] * d[c];
                    }
}

/* The sums of group `group`, [kernel row, kernel column, channel, ld]. */
static void group_sums(fa_isa isa, const fa_conv_geometry *g, const frame *f, int64_t group, int64_t n, const float *in, const float *d, float *sum)
{
    const int64_t c = g->c / g->groups, out = g->out / g->groups, ld = ld_of(g);
    const bool joins = g->groups == 1 && g->dilation_w == 1, few = joins && g->kw * c < SHORT;
    const int64_t runs = joins ? 1 : g->kw, run = joins ? g->kw * c : c;
    for (int64_t ky = 0; ky < (few ? 1 : g->kh); ky++)
        for (int64_t kx = 0; kx < runs; kx++)
            fa_outer_grid_run(isa, &(fa_outer_grid){
                                       .images = n, .rows = g->oh, .cols = g->ow, .ni = few ? g->kh * run : run, .nj = out,
                                       .run = few ? run : 0, .x_run = g->dilation_h * f->w * g->c,
                                       .x = in + (ky * g->dilation_h * f->w + kx * g->dilation_w) * g->c + group * c, .y = d + group * out,
                                       .x_image = f->floats, .x_row = g->stride_h * f->w * g->c, .x_col = g->stride_w * g->c,
                                       .y_image = g->oh * g->ow * g->out, .y_row = g->ow * g->out, .y_col = g->out,
                                       .c = sum + (ky * g->kw + kx) * c * ld, .ldc = ld,
                                   });
}

/* Sixteen outputs at a time: what lies together in the sums, against that many streams in the gradient. */
static void add_sums(const fa_conv_geometry *g, const fa_weights_data *d, int64_t group, const float *sum)
{
    const int64_t c = g->c / g->groups, out = g->out / g->groups, ld = ld_of(g), kernel = g->kh * g->kw;
    for (int64_t o0 = 0; o0 < out; o0 += 16)
        for (int64_t i = 0; i < c; i++)
            for (int64_t t = 0; t < kernel; t++) {
                const float *from = sum + (t * c + i) * ld;
                float *to = d->gradient + group * out * d->stride_out + i * d->stride_in + t * d->stride_position;
                for (int64_t o = o0; o < out && o < o0 + 16; o++) to[o * d->stride_out] += from[o];
            }
}

/* [kernel row, kernel column, channel] of all groups, to where they belong. */
static void add_depthwise(const fa_conv_geometry *g, const fa_weights_data *data, const float *sum)
{
    for (int64_t t = 0; t < g->kh * g->kw; t++)
        for (int64_t c = 0; c < g->c; c++) data->gradient[c * data->stride_out + t * data->stride_position] += sum[t * g->c + c];
}

#if FA_HAVE_AVX2
/* Vectors over channels, straight from the images. */
static void depthwise_vectors(fa_isa isa, const fa_conv_geometry *g, const fa_weights_data *data)
{
    const fa_depthwise p = {.channels = g->c, .y = {g->h, g->oh, -g->pad_top, g->stride_h, g->kh, g->dilation_h}, .x = {g->w, g->ow, -g->pad_left, g->stride_w, g->kw, g->dilation_w}};
    const bool there = data->stride_out == 1 && data->stride_position == g->c;
    float *sum = there ? data->gradient : data->scratch;
    if (!there) memset(sum, 0, sum_bytes(g));
    for (int64_t i = 0; i < data->n; i++) fa_depthwise_weights(isa, &p, &(fa_depthwise_sums){data->in + i * g->h * g->w * g->c, data->d + i * g->oh * g->ow * g->c, sum, data->bias});
    if (!there) add_depthwise(g, data, sum);
}
#endif

static void run_in_place(fa_isa isa, const fa_conv_geometry *g, const frame *f, const fa_weights_data *data, int64_t n, const float *in, const float *d)
{
    fa_outer_grid o = {.images = n, .rows = g->oh, .cols = g->ow, .c = data->gradient};
    const int64_t in_row = g->stride_h * f->w * g->c, in_col = g->stride_w * g->c, d_image = g->oh * g->ow * g->out, d_row = g->ow * g->out;
    if (data->stride_in == 1) {
        o.x = d, o.ni = g->out, o.x_image = d_image, o.x_row = d_row, o.x_col = g->out;
        o.y = in, o.nj = g->c, o.y_image = f->floats, o.y_row = in_row, o.y_col = in_col;
        o.ldc = data->stride_out;
    } else {
        o.x = in, o.ni = g->c, o.x_image = f->floats, o.x_row = in_row, o.x_col = in_col;
        o.y = d, o.nj = g->out, o.y_image = d_image, o.y_row = d_row, o.y_col = g->out;
        o.ldc = data->stride_in;
    }
    fa_outer_grid_run(isa, &o);
}

void fa_weights_run(fa_isa isa, const fa_conv_geometry *g, const fa_weights_data *data)
{
#if FA_HAVE_AVX2
    if (isa != FA_ISA_NONE && is_depthwise(g)) {
        depthwise_vectors(isa, g, data);
        return;
    }
#endif
    if (data->bias) fa_weights_bias(data->n * g->oh * g->ow, g->out, data->d, data->bias);
    if (g->winograd) {
        const fa_winograd w = {g->c, g->out, g->h, g->w, g->oh, g->ow, g->pad_top, g->pad_left, isa};
        fa_winograd_weights(&w, data->n, data->in, data->d, data->stride_out, data->stride_in, data->stride_position, data->gradient, data->scratch);
        return;
    }
    const frame f = frame_of(g);
    const int64_t step = images_at_once(g, data->n), image = g->h * g->w * g->c, d_image = g->oh * g->ow * g->out, groups = is_depthwise(g) ? 1 : g->groups;
    const fa_padding padding = {g->h, g->w * g->c, g->pad_top, g->pad_left * g->c, f.h, f.w * g->c};
    float *sum = data->scratch, *padded = (float *)(void *)((char *)data->scratch + sum_bytes(g));
    for (int64_t group = 0; group < groups; group++) {
        if (!in_place(g)) memset(sum, 0, sum_bytes(g));
        for (int64_t i = 0, n; i < data->n; i += n) {
            n = data->n - i < step ? data->n - i : step;
            const float *in = data->in + i * image, *d = data->d + i * d_image;
            for (int64_t k = 0; f.copies && k < n; k++) fa_pad_image(&padding, in + k * image, padded + k * f.floats);
            if (f.copies) in = padded;
            if (in_place(g)) run_in_place(isa, g, &f, data, n, in, d);
            else if (is_depthwise(g)) depthwise(g, &f, n, in, d, sum);
            else group_sums(isa, g, &f, group, n, in, d, sum);
        }
        if (is_depthwise(g)) add_depthwise(g, data, sum);
        else if (!in_place(g)) add_sums(g, data, group, sum);
    }
}

/* Sums over a block of positions of up to SPAN channels, which stay in registers: four positions beside each other, so that no addition waits for the one before. */
#define SPAN 16

#if FA_HAVE_AVX2
FA_INLINE FA_AVX2 void block_sums(int64_t n, int64_t step, const float *d, const bool whole, __m256i low, __m256i high, float sum[SPAN])
{
    __m256 acc[4][2];
    FA_UNROLL
    for (int i = 0; i < 4; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    int64_t p = 0;
#define ADD(i, at)                                                                                                                                       \
    acc[i][0] = _mm256_add_ps(acc[i][0], whole ? _mm256_loadu_ps(at) : _mm256_maskload_ps(at, low));                                                     \
    acc[i][1] = _mm256_add_ps(acc[i][1], whole ? _mm256_loadu_ps((at) + 8) : _mm256_maskload_ps((at) + 8, high));
    for (; p + 4 <= n; p += 4, d += 4 * step) {
        ADD(0, d)
        ADD(1, d + step)
        ADD(2, d + 2 * step)
        ADD(3, d + 3 * step)
    }
    for (; p < n; p++, d += step) {
        ADD(0, d)
    }
#undef ADD
    for (int k = 0; k < 2; k++) _mm256_storeu_ps(sum + 8 * k, _mm256_add_ps(_mm256_add_ps(acc[0][k], acc[1][k]), _mm256_add_ps(acc[2][k], acc[3][k])));
}

static FA_AVX2 void sum_block(int64_t n, int64_t step, const float *d, int64_t width, float sum[SPAN])
{
    static const int32_t lanes[3 * 8] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    const __m256i none = _mm256_setzero_si256();
    const int64_t first = width < 8 ? width : 8;
    if (width == SPAN) block_sums(n, step, d, true, none, none, sum);
    else block_sums(n, step, d, false, _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 16 - first)), _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 16 - width + first)), sum);
}
#else
static void sum_block(int64_t n, int64_t step, const float *d, int64_t width, float sum[SPAN])
{
    memset(sum, 0, SPAN * sizeof *sum);
    for (int64_t p = 0; p < n; p++)
        for (int64_t c = 0; c < width; c++) sum[c] += d[p * step + c];
}
#endif

/* Blocks of positions, so that the sums of many keep their accuracy, and which stay in the first-level cache while their channels are gone through: memory is read in its order, once. */
void fa_weights_bias(int64_t n, int64_t channels, const float *d, float *gradient)
{
    enum { BLOCK = 512, FLOATS = 4096, CHANNELS = 1024 };
    for (int64_t first = 0; first < channels; first += CHANNELS) {
        const int64_t count = channels - first < CHANNELS ? channels - first : CHANNELS, most = FLOATS / count < 8 ? 8 : FLOATS / count < BLOCK ? FLOATS / count : BLOCK;
        double whole[CHANNELS] = {0};
        for (int64_t p = 0; p < n; p += most)
            for (int64_t c0 = 0; c0 < count; c0 += SPAN) {
                const int64_t width = count - c0 < SPAN ? count - c0 : SPAN;
                float part[SPAN];
                sum_block(n - p < most ? n - p : most, channels, d + p * channels + first + c0, width, part);
                for (int64_t c = 0; c < width; c++) whole[c0 + c] += (double)part[c];
            }
        for (int64_t c = 0; c < count; c++) gradient[first + c] += (float)whole[c];
    }
}
