/* SPDX-License-Identifier: Apache-2.0 */
/* Layers in bfloat16: the reference operators round what they multiply and nothing else, and the fast kernels agree with them. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agree.h"
#include "base/half.h"
#include "kernels/kernels.h"
#include "one_context.h"

/* A convolution, and a product of all of its outputs. */
typedef struct shape {
    int64_t c, h, w, out, k, stride, pad, groups;
    bool rounds; /* the convolution */
} shape;

static const shape shapes[] = {
    {1, 9, 7, 16, 3, 1, 1, 1, true},     {3, 12, 12, 17, 3, 2, 1, 1, true}, {3, 14, 14, 20, 7, 7, 0, 1, true}, {16, 8, 8, 33, 1, 1, 0, 1, true}, {7, 5, 6, 40, 1, 2, 0, 1, true},
    {16, 10, 9, 32, 3, 2, 1, 1, true},   {5, 9, 9, 6, 4, 3, 2, 1, true},    {130, 4, 4, 70, 1, 1, 0, 1, true}, {20, 6, 6, 3, 3, 1, 1, 1, true},  {300, 3, 3, 260, 3, 1, 1, 1, true},
    {16, 8, 8, 16, 3, 1, 1, 1, false} /* filtered */, {12, 7, 7, 12, 3, 1, 1, 12, false}, {8, 7, 7, 12, 3, 2, 1, 2, false},
};
#define N_SHAPE (sizeof shapes / sizeof *shapes)

static void round_all(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = fa_bfloat16_nearest(x[i]);
}

/* `rounded`: with weights that bfloat16 holds. `gemm` [positions * out, CLASSES] is what the product multiplies by. */
static fa_graph *network(const fa_graph *base, const shape *s, uint64_t seed, bool rounded, int32_t *logits, const float **gemm)
{
    builder b = {.seed = seed + 1000};
    ck_assert_int_eq(fa_edit_begin(base, &b.e), FA_OK);
    const int64_t oh = (s->h + 2 * s->pad - s->k) / s->stride + 1, ow = (s->w + 2 * s->pad - s->k) / s->stride + 1, flat = oh * ow * s->out;
    const int64_t kernel[] = {s->out, s->c / s->groups, s->k, s->k}, matrix[] = {flat, CLASSES}, classes = CLASSES;
    const int32_t w = constant(&b, 4, kernel, 0, 0.5f), bias = constant(&b, 1, &s->out, 0, 0.3f), m = constant(&b, 2, matrix, 0, 0.2f), c = constant(&b, 1, &classes, 0, 0.2f);
    int32_t x, y, z;
    ck_assert_int_eq(fa_edit_value(&b.e, "x", FA_FLOAT32, &x), FA_OK);
    fa_node *n = node(&b, "Conv", 3, (int32_t[]){x, w, bias}, 3, &y);
    set_int(n, 0, "group", s->groups);
    set_ints(&b, n, 1, "strides", 2, (int64_t[]){s->stride, s->stride});
    set_ints(&b, n, 2, "pads", 4, (int64_t[]){s->pad, s->pad, s->pad, s->pad});
    node(&b, "Flatten", 1, &y, 0, &z);
    node(&b, "Gemm", 3, (int32_t[]){z, m, c}, 0, logits);
    *gemm = b.e.graph->value[m].view.data;
    if (rounded) round_all(b.e.graph->value[w].view.count, b.e.graph->value[w].view.data);
    fa_graph *g = b.e.graph;
    g->input = fa_arena_array(&g->arena, 1, sizeof *g->input);
    g->output = fa_arena_array(&g->arena, 1, sizeof *g->output);
    g->input[0] = x, g->output[0] = *logits;
    g->n_input = g->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&b.e, &g), FA_OK);
    return g;
}

/* What arrives at the convolution: the rounded gradient at the classes by the rounded matrix. `a` of the product is [n, out, oh, ow]. */
static void check_gradient(const record *r, const float *gemm, int64_t n, uint64_t seed)
{
    const layer_record *from = &r->layer[1], *to = &r->layer[0];
    const int64_t flat = to->n_d / n;
    float *want = malloc((size_t)to->n_d * sizeof *want);
    ck_assert_int_eq(from->n_d, n * CLASSES);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < flat; j++) {
            double sum = 0;
            for (int64_t o = 0; o < CLASSES; o++) sum += (double)fa_bfloat16_nearest(from->d[i * CLASSES + o]) * (double)fa_bfloat16_nearest(gemm[j * CLASSES + o]);
            want[i * flat + j] = (float)sum;
        }
    compare(to->d, want, to->n_d, 1e-5, "gradient by definition", seed, 0);
    free(want);
}

static double distance(const layer_record *a, const layer_record *b)
{
    double most = 0;
    ck_assert_int_eq(a->n_a, b->n_a);
    for (int64_t i = 0; i < a->n_a; i++) most = fmax(most, fabs((double)a->a[i] - (double)b->a[i]));
    return most;
}

START_TEST(factors_are_rounded)
{
    for (size_t k = 0; k < N_SHAPE; k++) {
        const shape *s = &shapes[k];
        const int64_t dim[] = {BATCH, s->c, s->h, s->w}, count = BATCH * s->c * s->h * s->w;
        fa_graph *base = empty_graph(context), *given, *rounded;
        const float *gemm;
        int32_t logits;
        given = network(base, s, k, false, &logits, &gemm);
        const float *unused;
        rounded = network(base, s, k, true, &logits, &unused);
        float *x = malloc((size_t)count * sizeof *x), *near = malloc((size_t)count * sizeof *near);
        fa_normal(5, k, 0, count, x);
        memcpy(near, x, (size_t)count * sizeof *x);
        round_all(count, near);
        record *r = malloc(4 * sizeof *r);
        run_in(context, given, logits, FA_KERNELS_REFERENCE, FA_PRECISION_BF16, FA_PACKING_FAST, dim, x, BATCH, &r[0]);
        run(context, rounded, logits, FA_KERNELS_REFERENCE, dim, near, BATCH, &r[1]);
        run(context, given, logits, FA_KERNELS_REFERENCE, dim, x, BATCH, &r[2]);
        ck_assert_int_eq(r[0].layers, 2);
        /* The product's input is what the convolution made. */
        if (s->rounds) {
            compare(r[0].layer[1].a, r[1].layer[1].a, r[0].layer[1].n_a, 1e-7, "output by definition", k, 0);
            ck_assert_msg(distance(&r[0].layer[1], &r[2].layer[1]) > 1e-4, "shape %zu: nothing was rounded", k);
        } else {
            ck_assert_msg(distance(&r[0].layer[1], &r[2].layer[1]) == 0, "shape %zu: rounded", k);
        }
        check_gradient(&r[0], gemm, BATCH, k);
        if (fa_kernels_available()) {
            run_in(context, given, logits, FA_KERNELS_FAST, FA_PRECISION_BF16, FA_PACKING_FAST, dim, x, BATCH, &r[3]);
            compare(r[3].layer[1].a, r[0].layer[1].a, r[0].layer[1].n_a, 1e-5, "input", k, 1);
            for (int32_t l = 0; l < 2; l++) {
                compare(r[3].layer[l].d, r[0].layer[l].d, r[0].layer[l].n_d, 1e-5, "gradient", k, l);
                compare(r[3].layer[l].blocks, r[0].layer[l].blocks, r[0].layer[l].n_blocks, 2e-4, "block", k, l);
            }
            release(&r[3]);
        }
        for (int i = 0; i < 3; i++) release(&r[i]);
        free(r), free(x), free(near);
        fa_graph_destroy(given);
        fa_graph_destroy(rounded);
        fa_graph_destroy(base);
    }
}
END_TEST

/* A number between two of bfloat16 may be rounded either way where kernels sum in another order: such networks agree within a few of its steps. */
START_TEST(random_networks_agree)
{
    if (!fa_kernels_available()) return;
    for (uint64_t seed = 0; seed < WIDER_FROM + 12; seed++) {
        fa_graph *base = empty_graph(context);
        int64_t dim[4];
        int32_t logits;
        fa_graph *g = random_network(base, seed, dim, &logits);
        const int64_t count = dim[0] * dim[1] * dim[2] * dim[3];
        float *x = malloc((size_t)count * sizeof *x);
        fa_normal(5, seed, 0, count, x);
        record *want = malloc(sizeof *want), *got = malloc(sizeof *got);
        run_in(context, g, logits, FA_KERNELS_REFERENCE, FA_PRECISION_BF16, FA_PACKING_FAST, dim, x, BATCH, want);
        run_in(context, g, logits, FA_KERNELS_FAST, FA_PRECISION_BF16, FA_PACKING_FAST, dim, x, BATCH, got);
        for (int64_t i = 0; i < BATCH; i++) ck_assert_msg(fabsf(got->loss[i] - want->loss[i]) <= 2e-2f * (1 + want->loss[i]), "network %d: loss", (int)seed);
        for (int32_t l = 0; l < want->layers; l++) compare(got->layer[l].a, want->layer[l].a, want->layer[l].n_a, 2e-2, "input", seed, l);
        release(want), release(got);
        free(want), free(got), free(x);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("precision");
    TCase *t = tcase_create("precision");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, factors_are_rounded);
    tcase_add_test(t, random_networks_agree);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
