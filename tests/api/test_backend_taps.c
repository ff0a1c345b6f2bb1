/* SPDX-License-Identifier: Apache-2.0 */
/* A grouped convolution with a mean over positions, by hand: its taps in every layout, and its whole weight gradients, are the same signatures. */
#include "support.h"

#include <fattr/backend.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* conv: [n, 4, 6, 5], two groups, kernel 3 x 2, stride 2 x 1, dilation 1 x 2, pad 1 x 1, bias -> [n, C, 3, 5]; tanh; logits = mean over positions. */
enum { CH = 4, H = 6, W = 5, C = 6, OH = 3, OW = 5, GROUPS = 2, KH = 3, KW = 2, IN = CH / GROUPS * KH * KW, BATCH = 8, N_REF = 12, N = 5 };

typedef struct conv {
    int32_t layout;
    float weight[C * IN], bias[C];
} conv;

typedef struct conv_pass {
    int64_t n;
    const float *x;
    float y[BATCH * C * OH * OW], a[3 * BATCH * CH * H * W], d[3 * BATCH * C * OH * OW], whole[BATCH * C * (IN + 1)];
} conv_pass;

static float input_at(const float *x, int c, int row, int column)
{
    return row < 0 || row >= H || column < 0 || column >= W ? 0 : x[(c * H + row) * W + column];
}

static float patch(const float *x, int group, int k, int oy, int ox)
{
    const int c = k / (KH * KW), r = k / KW % KH, s = k % KW;
    return input_at(x, group * CH / GROUPS + c, oy * 2 - 1 + r, ox - 1 + 2 * s);
}

static fa_status create_pass(void *user, const fa_backend_request *request, fa_backend_geometry *g, void **pass)
{
    const conv *net = user;
    if (request->batch > BATCH) return fa_error_set(FA_ERR_LIMIT, "a smaller batch, please");
    *g = (fa_backend_geometry){.h = H, .w = W, .oh = OH, .ow = OW, .stride_h = 2, .stride_w = 1, .dilation_h = 1, .dilation_w = 2, .pad_top = 1, .pad_left = 1, .layout = net->layout};
    if (net->layout == FA_LAYOUT_STRIDES) { /* columns outermost, every third float */
        g->a_n = 3 * CH * H, g->a_c = 3 * H, g->a_h = 3, g->a_w = (int64_t)3 * BATCH * CH * H;
        g->d_n = 3 * C * OH, g->d_c = 3 * OH, g->d_h = 3, g->d_w = (int64_t)3 * BATCH * C * OH;
    }
    *pass = calloc(1, sizeof(conv_pass));
    return *pass ? FA_OK : fa_error_set(FA_ERR_MEMORY, "no room");
}

static void destroy_pass(void *user, void *pass)
{
    (void)user;
    free(pass);
}

static fa_status forward(void *user, void *pass, const void *const *inputs, int64_t n, float *logits)
{
    const conv *net = user;
    conv_pass *p = pass;
    p->n = n;
    p->x = inputs[0];
    for (int i = 0; i < n; i++)
        for (int o = 0; o < C; o++) {
            float mean = 0;
            for (int at = 0; at < OH * OW; at++) {
                float sum = net->bias[o];
                for (int k = 0; k < IN; k++) sum += net->weight[o * IN + k] * patch(p->x + i * CH * H * W, o / (C / GROUPS), k, at / OW, at % OW);
                mean += p->y[(i * C + o) * OH * OW + at] = tanhf(sum);
            }
            logits[i * C + o] = mean / (OH * OW) * 4;
        }
    return FA_OK;
}

static float gradient_at(const conv_pass *p, const float *at_logits, int i, int o, int at)
{
    const float y = p->y[(i * C + o) * OH * OW + at];
    return at_logits[i * C + o] * 4 / (OH * OW) * (1 - y * y);
}

static float *place(float *to, int32_t layout, int channels, int rows, int columns, int i, int c, int y, int x)
{
    if (layout == FA_LAYOUT_CHANNELS_FIRST) return to + ((i * channels + c) * rows + y) * columns + x;
    if (layout == FA_LAYOUT_CHANNELS_LAST) return to + ((i * rows + y) * columns + x) * channels + c;
    return to + 3 * (((x * BATCH + i) * channels + c) * rows + y);
}

static fa_status taps(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *tap)
{
    const conv *net = user;
    conv_pass *p = pass;
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < CH; c++)
            for (int at = 0; at < H * W; at++) *place(p->a, net->layout, CH, H, W, i, c, at / W, at % W) = p->x[(i * CH + c) * H * W + at];
        for (int o = 0; o < C; o++)
            for (int at = 0; at < OH * OW; at++) *place(p->d, net->layout, C, OH, OW, i, o, at / OW, at % OW) = gradient_at(p, at_logits, i, o, at);
    }
    *tap = (fa_backend_tap){p->a, p->d};
    return FA_OK;
}

static fa_status gradients(void *user, void *pass, const float *at_logits, int64_t n, const float **whole)
{
    conv_pass *p = pass;
    (void)user;
    for (int i = 0; i < n; i++)
        for (int o = 0; o < C; o++)
            for (int k = 0; k <= IN; k++) {
                float sum = 0;
                for (int at = 0; at < OH * OW; at++)
                    sum += gradient_at(p, at_logits, i, o, at) * (k < IN ? patch(p->x + i * CH * H * W, o / (C / GROUPS), k, at / OW, at % OW) : 1);
                p->whole[(i * C + o) * (IN + 1) + k] = sum;
            }
    *whole = p->whole;
    return FA_OK;
}

static const fa_value_info input = {.name = "picture", .dtype = FA_FLOAT32, .ndim = 4, .shape = {-1, CH, H, W}};
static const fa_backend_layer layer = {.name = "conv", .in = IN, .out = C, .groups = GROUPS, .kernel_h = KH, .kernel_w = KW, .has_bias = 1};

static fa_backend table(conv *net, int32_t layout)
{
    net->layout = layout;
    for (int i = 0; i < C * IN; i++) net->weight[i] = sinf((float)(i * i) * 0.7f) * 0.6f;
    for (int i = 0; i < C; i++) net->bias[i] = cosf((float)i) * 0.1f;
    return (fa_backend){.struct_size = sizeof(fa_backend), .abi = FA_BACKEND_ABI, .input_count = 1, .layer_count = 1, .classes = C, .user = net, .inputs = &input, .layers = &layer,
                        .digest = {1}, .create_pass = create_pass, .destroy_pass = destroy_pass, .forward = forward, .taps = taps};
}

static fa_array pictures(int64_t n, int64_t first, int64_t shape[4])
{
    static float x[(N_REF + N) * CH * H * W];
    for (int i = 0; i < (N_REF + N) * CH * H * W; i++) x[i] = sinf((float)i * 1.3f) + cosf((float)(i / 30) * 0.7f);
    memcpy(shape, (int64_t[]){n, CH, H, W}, 4 * sizeof *shape);
    return (fa_array){x + first * CH * H * W, shape, 4, FA_FLOAT32, NULL};
}

/* Couplings [N, N_REF]: without cutting anything off and with beta 0 they are those of the whole gradients. */
static fa_status couplings(fa_context *context, const fa_backend *b, float *out)
{
    int64_t shape[4];
    fa_model *model;
    fa_refset *references;
    fa_sketch *sketch;
    fa_scorer *scorer;
    fa_result r[N];
    fa_sketch_options o;
    fa_scorer_options so;
    fa_sketch_options_init(&o, sizeof o);
    fa_scorer_options_init(&so, sizeof so);
    so.signatures = FA_SIGNATURES_F32; /* 16-bit integers are wrong by up to 3e-5 in a coupling */
    o.batch = 7;
    o.k_in = o.k_out = 256;
    o.beta = 0;
    so.max_batch = N;
    OK(fa_model_from_backend(context, b, &model));
    fa_array x = pictures(N_REF, 0, shape);
    OK(fa_refset_create(context, &x, 1, NULL, &references));
    fa_status s = fa_sketch_build(model, references, NULL, &o, &sketch);
    if (s == FA_OK) {
        x = pictures(N, N_REF, shape);
        OK(fa_scorer_create(sketch, model, &so, &scorer));
        OK(fa_score_batch(scorer, &x, 1, r, N));
        for (int i = 0; i < N; i++) memcpy(out + i * N_REF, r[i].couplings, N_REF * sizeof *out);
        fa_scorer_destroy(scorer);
        fa_sketch_release(sketch);
    }
    fa_refset_release(references);
    fa_model_release(model);
    return s;
}

START_TEST(layouts_and_whole_gradients_agree)
{
    for (int32_t kernels = FA_KERNELS_AUTO; kernels <= FA_KERNELS_REFERENCE; kernels++) {
        fa_context *context;
        fa_context_options o;
        conv net;
        float want[N * N_REF], got[N * N_REF];
        fa_context_options_init(&o, sizeof o);
        o.kernels = kernels;
        OK(fa_context_create(&o, &context));
        for (int32_t layout = FA_LAYOUT_CHANNELS_LAST; layout <= FA_LAYOUT_STRIDES; layout++) {
            fa_backend b = table(&net, layout);
            OK(couplings(context, &b, layout ? got : want));
            if (layout) ck_assert_mem_eq(got, want, sizeof want);
        }
        /* By hand: cosines of whole gradients. */
        fa_backend b = table(&net, FA_LAYOUT_CHANNELS_LAST);
        b.taps = NULL;
        b.gradients = gradients;
        OK(couplings(context, &b, got));
        double spread = 0;
        for (int i = 0; i < N * N_REF; i++) {
            ck_assert_msg(fabsf(got[i] - want[i]) < 1e-5f, "%d: %g, %g", i, (double)got[i], (double)want[i]);
            spread = fmax(spread, fabs((double)(want[i] - want[0])));
        }
        ck_assert(spread > 0.1);
        fa_context_release(context);
    }
}
END_TEST

/* Changes one thing that create_pass says. */
static void (*wrong)(fa_backend_geometry *);

static void no_rows(fa_backend_geometry *g)
{
    g->h = 0;
}

static void endless(fa_backend_geometry *g)
{
    g->ow = INT64_MAX;
}

static void no_stride(fa_backend_geometry *g)
{
    g->stride_h = 0;
}

static void negative_pad(fa_backend_geometry *g)
{
    g->pad_left = -1;
}

static void unknown_layout(fa_backend_geometry *g)
{
    g->layout = 9;
}

static void backwards(fa_backend_geometry *g)
{
    g->layout = FA_LAYOUT_STRIDES;
    g->a_h = -5;
}

static void far_apart(fa_backend_geometry *g)
{
    g->layout = FA_LAYOUT_STRIDES;
    g->d_n = INT64_MAX / 2;
}

static void large(fa_backend_geometry *g)
{
    g->h = g->w = g->oh = g->ow = 1 << 20;
}

static fa_status create_wrong(void *user, const fa_backend_request *request, fa_backend_geometry *g, void **pass)
{
    fa_status s = create_pass(user, request, g, pass);
    if (s == FA_OK) wrong(g);
    return s;
}

static fa_status leave_out(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *tap)
{
    fa_status s = taps(user, pass, at_logits, n, tap);
    tap->d = NULL;
    return s;
}

static fa_status leave_out_whole(void *user, void *pass, const float *at_logits, int64_t n, const float **whole)
{
    (void)user, (void)pass, (void)at_logits, (void)n, (void)whole;
    return FA_OK;
}

START_TEST(wrong_geometry)
{
    static void (*const ways[])(fa_backend_geometry *) = {no_rows, endless, no_stride, negative_pad, unknown_layout, backwards, far_apart, large};
    fa_context *context;
    conv net;
    float out[N * N_REF];
    OK(fa_context_create(NULL, &context));
    fa_backend b = table(&net, FA_LAYOUT_CHANNELS_FIRST);
    b.create_pass = create_wrong;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        wrong = ways[i];
        FAILS(couplings(context, &b, out), FA_ERR_ARGUMENT, "backend: create_pass(): the geometry of layer 'conv' has a number out of range");
    }
    b = table(&net, FA_LAYOUT_CHANNELS_FIRST);
    b.taps = leave_out;
    FAILS(couplings(context, &b, out), FA_ERR_ARGUMENT, "backend: taps(): layer 'conv' was left out");
    b.taps = NULL;
    b.gradients = leave_out_whole;
    FAILS(couplings(context, &b, out), FA_ERR_ARGUMENT, "backend: gradients(): layer 'conv' was left out");
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, layouts_and_whole_gradients_agree);
    tcase_add_test(t, wrong_geometry);
}

int main(void)
{
    return run_suite("backend-taps", add, NULL, NULL);
}
