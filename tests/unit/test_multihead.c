/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of operator set 23 on fast kernels: outputs and gradients are the reference operator's, in every layout, with shared keys and masks of every kind. */
#include "backend/rewrite.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "kernels/normal.h"
#include "one_context.h"
#include "ops/table.h"
#include "random_network.h"

#include <stdlib.h>

enum { NO_MASK, REAL, BOOL, HIDDEN, MASKS }; /* HIDDEN: a row that sees nothing */

typedef struct shape {
    int64_t n, heads, kv, t, s, d, e;
    bool rows, causal; /* rows: heads lie in them */
    int mask, mask_axes;
} shape;

static int64_t below(uint64_t *state, int64_t most)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(*state >> 33) % most;
}

static fa_graph *attention(const shape *c, const fa_graph *base)
{
    fa_edit e;
    fa_graph *g;
    int32_t in[4], y, index;
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    for (int i = 0; i < 4; i++) ck_assert_int_eq(fa_edit_value(&e, "x", i == 3 && c->mask >= BOOL ? FA_BOOL : FA_FLOAT32, &in[i]), FA_OK);
    ck_assert_int_eq(fa_edit_value(&e, "y", FA_FLOAT32, &y), FA_OK);
    ck_assert_int_eq(fa_edit_node(&e, "attention", "Attention", "", 23, 4, 1, 3, &index), FA_OK);
    fa_node *node = &e.graph->node[index];
    memcpy(node->in, in, sizeof in);
    if (c->mask == NO_MASK) node->in[3] = -1;
    node->out[0] = y;
    node->attr[0] = (fa_attr){.name = "is_causal", .kind = FA_ATTR_INT, .i = c->causal};
    node->attr[1] = (fa_attr){.name = "q_num_heads", .kind = FA_ATTR_INT, .i = c->heads};
    node->attr[2] = (fa_attr){.name = "kv_num_heads", .kind = FA_ATTR_INT, .i = c->kv};
    node->n_attr = c->rows ? 3 : 1;
    e.graph->input = fa_arena_array(&e.graph->arena, 4, sizeof(int32_t));
    e.graph->output = fa_arena_array(&e.graph->arena, 1, sizeof(int32_t));
    memcpy(e.graph->input, in, sizeof in);
    e.graph->output[0] = y;
    e.graph->n_input = c->mask == NO_MASK ? 3 : 4;
    e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    return g;
}

static fa_view view_of(bool rows, int64_t n, int64_t heads, int64_t places, int64_t size)
{
    fa_view v = {.dtype = FA_FLOAT32};
    fa_view_set_shape(&v, rows ? 3 : 4, rows ? (int64_t[]){n, places, heads * size, 0} : (int64_t[]){n, heads, places, size});
    return v;
}

/* The output and the gradients at all real inputs, one behind the other. */
static float *run(const shape *c, const fa_graph *g, const fa_op_table *ops, int64_t *count)
{
    fa_view view[4] = {view_of(c->rows, c->n, c->heads, c->t, c->d), view_of(c->rows, c->n, c->kv, c->s, c->d), view_of(c->rows, c->n, c->kv, c->s, c->e),
                       {.dtype = c->mask >= BOOL ? FA_BOOL : FA_FLOAT32}};
    const int64_t whole[] = {c->n, c->heads, c->t, c->s};
    fa_view_set_shape(&view[3], c->mask_axes, whole + 4 - c->mask_axes);
    fa_plan *plan;
    fa_run *run;
    const int32_t n_wrt = c->mask == REAL ? 4 : 3;
    ck_assert_msg(fa_plan_create(&(fa_plan_request){.graph = g, .ops = ops, .inputs = view, .wanted = g->output, .n_wanted = 1, .loss = g->output[0], .wrt = g->input, .n_wrt = n_wrt}, &plan) ==
                      FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_run_create(plan, context, &run), FA_OK);
    for (int i = 0; i < g->n_input; i++) {
        if (i < n_wrt) fa_normal(9, (uint64_t)i, 0, view[i].count, fa_run_input(run, i));
        int64_t *keep = i < n_wrt ? NULL : fa_run_input(run, i);
        for (int64_t k = 0; keep && k < view[i].count; k++) keep[k] = (k * k + k) % 3 != 1 && (c->mask != HIDDEN || k / c->s % 3 != 1);
    }
    fa_run_forward(run);
    int64_t at = fa_run_value(run, g->output[0])->count, sum = at;
    for (int32_t i = 0; i < n_wrt; i++) sum += view[i].count;
    float *all = malloc((size_t)sum * sizeof *all);
    memcpy(all, fa_run_value(run, g->output[0])->data, (size_t)at * sizeof *all);
    fa_normal(9, 7, 0, at, fa_run_loss_gradient(run));
    fa_run_backward(run, NULL, NULL);
    for (int32_t i = 0; i < n_wrt; at += view[i++].count) memcpy(all + at, fa_run_gradient(run, i), (size_t)view[i].count * sizeof *all);
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    *count = sum;
    return all;
}

START_TEST(fast_is_the_reference)
{
    if (!fa_kernels_available()) return;
    uint64_t state = 5;
    int masks[MASKS] = {0};
    for (int round = 0; round < 120; round++) {
        shape c = {.n = 1 + below(&state, 2), .kv = 1 + below(&state, 3), .t = 1 + below(&state, 9), .s = 1 + below(&state, 20), .d = 1 + below(&state, 19), .e = 1 + below(&state, 19),
                   .rows = below(&state, 2), .causal = below(&state, 2), .mask = (int)below(&state, MASKS), .mask_axes = 1 + (int)below(&state, 4)};
        c.heads = c.kv * (1 + below(&state, 3));
        masks[c.mask]++;
        fa_graph *base = empty_graph(context), *g = attention(&c, base);
        int64_t n_want, n_got;
        float *want = run(&c, g, &fa_op_table_f32, &n_want), *got = run(&c, g, &fa_fast_op_table, &n_got);
        ck_assert_int_eq(n_want, n_got);
        for (int64_t i = 0; i < n_want; i++)
            ck_assert_msg(fabsf(got[i] - want[i]) <= 2e-5f * (1 + fabsf(want[i])), "round %d: element %d is %g, of the reference %g", round, (int)i, (double)got[i], (double)want[i]);
        free(want), free(got);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    for (int k = 0; k < MASKS; k++) ck_assert_int_gt(masks[k], 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("multihead");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, fast_is_the_reference);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
