/* SPDX-License-Identifier: Apache-2.0 */
/* The plan on random graphs: sharing memory between tensors must not change a bit of what is computed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "graph/edit.h"
#include "graph/plan.h"
#include "kernels/normal.h"
#include "one_context.h"
#include "ops/table.h"

static fa_graph *empty_graph(void)
{
    fa_graph *g = fa_new(context, sizeof *g);
    g->arena.context = context;
    g->value = fa_arena_array(&g->arena, 1, sizeof *g->value);
    g->node = fa_arena_array(&g->arena, 1, sizeof *g->node);
    g->producer = "";
    g->opset = 13;
    return g;
}

static int32_t add_node(fa_edit *e, const char *op, int32_t a, int32_t b)
{
    int32_t node, out;
    ck_assert_int_eq(fa_edit_value(e, "v", FA_FLOAT32, &out), FA_OK);
    ck_assert_int_eq(fa_edit_node(e, "n", op, "", 13, b < 0 ? 1 : 2, 1, 0, &node), FA_OK);
    e->graph->node[node].in[0] = a;
    if (b >= 0) e->graph->node[node].in[1] = b;
    e->graph->node[node].out[0] = out;
    return out;
}

static void fill(float *x, int64_t n, uint64_t stream)
{
    fa_normal(7, stream, 0, n, x);
    for (int64_t i = 0; i < n; i++) x[i] *= 0.5f;
}

/* x [3, 4] through `count` random nodes; every value is [3, 4]. `out` is the last one. Matrices are w [4, 4], which may vary, and what follows from it. */
static fa_graph *random_graph(fa_graph *base, uint64_t seed, int count, bool varies, int32_t *x, int32_t *w, int32_t *out)
{
    fa_edit e;
    void *weights;
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&e, "x", FA_FLOAT32, x), FA_OK);
    ck_assert_int_eq(fa_edit_initialiser(&e, "w", FA_FLOAT32, 2, (int64_t[]){4, 4}, w, &weights), FA_OK);
    fill(weights, 16, seed + 1000);
    e.graph->value[*w].varies = varies;
    int32_t matrices[4] = {*w, add_node(&e, "Tanh", *w, -1)};
    matrices[2] = add_node(&e, "Identity", matrices[seed % 2], -1);
    matrices[3] = add_node(&e, "Mul", add_node(&e, "Sigmoid", matrices[2], -1), matrices[1]);
    e.graph->input = fa_arena_array(&e.graph->arena, 1, sizeof(int32_t));
    e.graph->output = fa_arena_array(&e.graph->arena, 1, sizeof(int32_t));
    e.graph->input[0] = *x;
    e.graph->n_input = e.graph->n_output = 1;
    static const char *const unary[] = {"Relu", "Tanh", "Identity"}, *const binary[] = {"Add", "Mul", "Sub"};
    int32_t values[64] = {*x};
    int n = 1;
    for (int k = 0; k < count; k++) {
        uint32_t r[4];
        fa_philox(seed, (uint64_t)k, 0, r);
        int32_t a = values[r[1] % (unsigned)n], b = values[n - 1];
        if (r[0] % 3 == 0) values[n++] = add_node(&e, unary[r[2] % 3], b, -1);
        else if (r[0] % 3 == 1) values[n++] = add_node(&e, binary[r[2] % 3], a, b);
        else values[n++] = add_node(&e, "MatMul", r[2] % 2 ? a : b, matrices[seed & 4 ? 1 + r[3] % 3 : r[3] % 4]);
    }
    *out = e.graph->output[0] = values[n - 1];
    fa_graph *g;
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    return g;
}

typedef struct result {
    float out[12], gx[12], gw[16];
    size_t bytes;
} result;

static void run_by(const fa_op_table *ops, const fa_graph *g, uint64_t seed, int32_t x, int32_t w, int32_t out, bool keep_all, bool backward, result *r)
{
    int32_t wanted[80], wrt[] = {x, w};
    int n = 0;
    wanted[n++] = out;
    for (int32_t v = 0; keep_all && v < g->n_value; v++) wanted[n++] = v;
    fa_view in = {.dtype = FA_FLOAT32};
    fa_view_set_shape(&in, 2, (int64_t[]){3, 4});
    fa_plan_request q = {.graph = g, .ops = ops, .inputs = &in, .wanted = wanted, .n_wanted = n, .loss = backward ? out : -1, .wrt = wrt, .n_wrt = 2};
    fa_plan *plan;
    fa_run *pass;
    ck_assert_msg(fa_plan_create(&q, &plan) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_run_create(plan, context, &pass), FA_OK);
    r->bytes = fa_plan_arena_bytes(plan);
    if (g->value[w].varies) {
        float weights[16];
        fill(weights, 16, seed + 1000);
        fa_run_set(pass, w, weights);
        fa_run_prepare(pass);
        memset(weights, 0xff, sizeof weights); /* nothing is read there any more */
    }
    for (int repeat = 0; repeat < 2; repeat++) { /* the second time, the arena is dirty */
        float *input = fa_run_input(pass, 0);
        if (input) fill(input, 12, 1);
        fa_run_forward(pass);
        memcpy(r->out, fa_run_value(pass, out)->data, sizeof r->out);
        if (fa_run_loss_gradient(pass)) fill(fa_run_loss_gradient(pass), 12, 2);
        if (!backward) continue;
        fa_run_backward(pass, NULL, NULL);
        if (fa_run_gradient(pass, 0)) memcpy(r->gx, fa_run_gradient(pass, 0), sizeof r->gx);
        if (fa_run_gradient(pass, 1)) memcpy(r->gw, fa_run_gradient(pass, 1), sizeof r->gw);
    }
    fa_run_destroy(pass);
    fa_plan_destroy(plan);
}

static void run(const fa_graph *g, uint64_t seed, int32_t x, int32_t w, int32_t out, bool keep_all, bool backward, result *r)
{
    run_by(&fa_op_table_f32, g, seed, x, w, out, keep_all, backward, r);
}

static int slopes, handed;

/* The reference's gradients, and the mask of a Relu that is left to them. */
static void masked_backward(const fa_op_call *call)
{
    fa_op_find(&fa_op_table_f32, call->node)->backward(call);
    for (int32_t i = 0; i < call->n_in; i++) {
        const fa_op_call *relu = fa_op_slope(call, i);
        if (!relu) continue;
        ck_assert_str_eq(relu->node->op, "Relu");
        slopes++;
        for (int64_t k = 0; k < relu->out[0]->count; k++)
            if (!(((const float *)relu->out[0]->data)[k] > 0)) ((float *)call->grad_in[i])[k] = 0;
    }
}

static void add_backward(const fa_op_call *call)
{
    for (int32_t i = 0; i < 2; i++) {
        float *to = call->grad_in[i];
        const float *from = call->grad_out[0], *mask = fa_op_slope(call, i) ? fa_op_slope(call, i)->out[0]->data : NULL;
        if (to == from) {
            ck_assert_ptr_null(mask);
            handed++;
        }
        for (int64_t k = 0; to && to != from && k < call->in[i]->count; k++) to[k] = call->accumulate[i] ? to[k] + from[k] : from[k];
        slopes += mask != NULL;
        for (int64_t k = 0; mask && k < call->in[i]->count; k++)
            if (!(mask[k] > 0)) to[k] = 0;
    }
}

/* Functions whose derivative is left to others, and gradients that are handed on: the same numbers as without. */
START_TEST(slopes_are_left_and_gradients_handed_on)
{
    static const char *const names[] = {"Relu", "Add", "Mul", "Sub", "MatMul", "Tanh"};
    enum { OWN = sizeof names / sizeof *names };
    fa_op own[OWN + 1] = {0};
    for (int i = 0; i < OWN; i++) {
        own[i] = *fa_op_find(&fa_op_table_f32, &(fa_node){.op = names[i], .domain = "", .opset = 13});
        own[i].slopes = 3;
        own[i].backward = masked_backward;
    }
    own[0].flags |= FA_OP_FUNCTION;
    own[0].back_out = 1;
    own[1].flags |= FA_OP_OVERWRITES;
    own[1].hands_on = 3;
    own[1].backward = add_backward;
    const fa_op *families[80] = {own};
    for (int i = 0; i < 78 && fa_op_table_f32.families[i]; i++) families[i + 1] = fa_op_table_f32.families[i];
    const fa_op_table ops = {sizeof(float), families};
    slopes = handed = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        fa_graph *base = empty_graph();
        int32_t x, w, out;
        fa_graph *g = random_graph(base, seed, 3 + (int)(seed % 40), seed % 2, &x, &w, &out);
        result a = {0}, b = {0};
        run(g, seed, x, w, out, false, true, &a);
        run_by(&ops, g, seed, x, w, out, seed % 3 == 0, true, &b);
        ck_assert_mem_eq(a.out, b.out, sizeof a.out);
        for (int i = 0; i < 12; i++) ck_assert(a.gx[i] == b.gx[i]); /* 0 may be -0 */
        for (int i = 0; i < 16; i++) ck_assert(a.gw[i] == b.gw[i]);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_int_gt(slopes, 100);
    ck_assert_int_gt(handed, 100);
}
END_TEST

static const char *const cheap_names[] = {"Relu", "Tanh", "Mul", "Sub"};
enum { CHEAP = sizeof cheap_names / sizeof *cheap_names };
static const fa_op *costly[CHEAP];
static int cheap_runs;

static int cheap_index(const fa_node *node)
{
    int i = 0;
    while (strcmp(cheap_names[i], node->op) != 0) i++;
    return i;
}

static fa_status cheap_prepare(fa_op_setup *s)
{
    s->cheap = true;
    return costly[cheap_index(s->node)]->prepare(s);
}

static void cheap_forward(const fa_op_call *call)
{
    cheap_runs++;
    costly[cheap_index(call->node)]->forward(call);
}

/* Outputs that are made again for backward: the same bits in less memory. */
START_TEST(what_is_cheap_is_made_again)
{
    fa_op own[CHEAP + 1] = {0};
    for (int i = 0; i < CHEAP; i++) {
        costly[i] = fa_op_find(&fa_op_table_f32, &(fa_node){.op = cheap_names[i], .domain = "", .opset = 13});
        own[i] = *costly[i];
        own[i].prepare = cheap_prepare;
        own[i].forward = cheap_forward;
    }
    const fa_op *families[80] = {own};
    for (int i = 0; i < 78 && fa_op_table_f32.families[i]; i++) families[i + 1] = fa_op_table_f32.families[i];
    const fa_op_table ops = {sizeof(float), families};
    size_t again = 0, kept = 0;
    int forward = 0, both = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        fa_graph *base = empty_graph();
        int32_t x, w, out;
        fa_graph *g = random_graph(base, seed, 3 + (int)(seed % 40), seed % 2, &x, &w, &out);
        result a = {0}, b = {0};
        run(g, seed, x, w, out, false, true, &a);
        cheap_runs = 0;
        run_by(&ops, g, seed, x, w, out, false, false, &b);
        forward += cheap_runs;
        b = (result){0};
        cheap_runs = 0;
        run_by(&ops, g, seed, x, w, out, false, true, &b);
        both += cheap_runs;
        ck_assert_mem_eq(a.out, b.out, sizeof a.out);
        ck_assert_mem_eq(a.gx, b.gx, sizeof a.gx);
        ck_assert_mem_eq(a.gw, b.gw, sizeof a.gw);
        again += b.bytes;
        kept += a.bytes;
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_int_gt(both, forward + 100);
    ck_assert_uint_lt(again, kept);
}
END_TEST

START_TEST(memory_is_shared_safely)
{
    size_t shared = 0, kept = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        fa_graph *base = empty_graph();
        int32_t x, w, out;
        fa_graph *g = random_graph(base, seed, 3 + (int)(seed % 40), false, &x, &w, &out);
        result a = {0}, b = {0};
        run(g, seed, x, w, out, false, true, &a);
        run(g, seed, x, w, out, true, true, &b);
        ck_assert_mem_eq(a.out, b.out, sizeof a.out);
        ck_assert_mem_eq(a.gx, b.gx, sizeof a.gx);
        ck_assert_mem_eq(a.gw, b.gw, sizeof a.gw);
        shared += a.bytes;
        kept += b.bytes;
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_uint_lt(shared, kept);
}
END_TEST

/* Contents set when it runs: the same bits as when the plan knows them. */
START_TEST(initialisers_vary)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        fa_graph *base = empty_graph();
        int32_t x, w, out;
        fa_graph *known = random_graph(base, seed, 3 + (int)(seed % 40), false, &x, &w, &out), *g = random_graph(base, seed, 3 + (int)(seed % 40), true, &x, &w, &out);
        for (int backward = 0; backward < 2; backward++) {
            result a = {0}, b = {0};
            run(known, seed, x, w, out, false, backward, &a);
            run(g, seed, x, w, out, seed % 3 == 0, backward, &b);
            ck_assert_mem_eq(a.out, b.out, sizeof a.out);
            ck_assert_mem_eq(a.gx, b.gx, sizeof a.gx);
            ck_assert_mem_eq(a.gw, b.gw, sizeof a.gw);
        }
        fa_graph_destroy(g);
        fa_graph_destroy(known);
        fa_graph_destroy(base);
    }
}
END_TEST

/* y = x stretched to the shape of exp(x w): the product has a shape, and no memory nor work. */
START_TEST(what_gives_its_shape_alone_is_not_run)
{
    fa_graph *base = empty_graph(), *g;
    fa_edit e;
    fa_view view = {.dtype = FA_FLOAT32};
    fa_plan *plan;
    fa_run *run;
    int32_t x, w;
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&e, "x", FA_FLOAT32, &x), FA_OK);
    ck_assert_int_eq(fa_edit_value(&e, "w", FA_FLOAT32, &w), FA_OK);
    const int32_t product = add_node(&e, "MatMul", x, w), power = add_node(&e, "Exp", product, -1), shape = add_node(&e, "Shape", power, -1), y = add_node(&e, "Expand", x, shape);
    e.graph->input = fa_arena_array(&e.graph->arena, 2, sizeof(int32_t));
    e.graph->output = fa_arena_array(&e.graph->arena, 1, sizeof(int32_t));
    memcpy(e.graph->input, (int32_t[]){x, w}, 2 * sizeof(int32_t));
    e.graph->output[0] = y;
    e.graph->n_input = 2;
    e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    fa_view in[2] = {view, view};
    fa_view_set_shape(&in[0], 2, (const int64_t[]){3, 1});
    fa_view_set_shape(&in[1], 2, (const int64_t[]){1, 5});
    ck_assert_int_eq(fa_plan_create(&(fa_plan_request){.graph = g, .ops = &fa_op_table_f32, .inputs = in, .wanted = &y, .n_wanted = 1, .loss = y, .wrt = &x, .n_wrt = 1}, &plan), FA_OK);
    ck_assert_ptr_null(fa_plan_value(plan, product));
    ck_assert_ptr_null(fa_plan_value(plan, power));
    ck_assert(fa_plan_flops_forward(plan) == 0 && fa_plan_value(plan, y)->dim[1] == 5);
    ck_assert_int_eq(fa_run_create(plan, context, &run), FA_OK);
    const float numbers[] = {1, -2, 3};
    float *gradient = fa_run_loss_gradient(run);
    memcpy(fa_run_input(run, 0), numbers, sizeof numbers);
    fa_run_forward(run);
    for (int i = 0; i < 15; i++) ck_assert(((const float *)fa_run_value(run, y)->data)[i] == numbers[i / 5]);
    for (int i = 0; i < 15; i++) gradient[i] = (float)i;
    fa_run_backward(run, NULL, NULL);
    for (int i = 0; i < 3; i++) ck_assert(((const float *)fa_run_gradient(run, 0))[i] == (float)(25 * i + 10));
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    fa_graph_destroy(g);
    fa_graph_destroy(base);
}
END_TEST

START_TEST(unsupported_nodes_are_listed_at_once)
{
    fa_graph *base = empty_graph(), *g;
    fa_edit e;
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    int32_t x, a;
    ck_assert_int_eq(fa_edit_value(&e, "x", FA_FLOAT32, &x), FA_OK);
    a = add_node(&e, "Frobnicate", x, -1);
    a = add_node(&e, "Relu", a, -1);
    a = add_node(&e, "Wobble", a, -1);
    e.graph->input = fa_arena_array(&e.graph->arena, 1, sizeof(int32_t));
    e.graph->input[0] = x;
    e.graph->n_input = 1;
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    ck_assert_int_eq(fa_plan_check_ops(g, &fa_op_table_f32), FA_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "Frobnicate"));
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "Wobble"));
    ck_assert_ptr_null(strstr(fa_error_message(), "Relu"));
    fa_graph_destroy(g);
    fa_graph_destroy(base);
}
END_TEST

START_TEST(cycles_and_orphans_are_refused)
{
    fa_graph *base = empty_graph(), *g;
    fa_edit e;
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    int32_t loose;
    ck_assert_int_eq(fa_edit_value(&e, "loose", FA_FLOAT32, &loose), FA_OK);
    add_node(&e, "Relu", loose, -1);
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "loose"));
    ck_assert_int_eq(fa_edit_begin(base, &e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&e, "a", FA_FLOAT32, &loose), FA_OK);
    int32_t b = add_node(&e, "Relu", loose, -1), c = add_node(&e, "Relu", b, -1);
    e.graph->node[0].in[0] = c;
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "cycle"));
    fa_graph_destroy(base);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, memory_is_shared_safely);
    tcase_add_test(t, slopes_are_left_and_gradients_handed_on);
    tcase_add_test(t, what_is_cheap_is_made_again);
    tcase_add_test(t, initialisers_vary);
    tcase_add_test(t, what_gives_its_shape_alone_is_not_run);
    tcase_add_test(t, unsupported_nodes_are_listed_at_once);
    tcase_add_test(t, cycles_and_orphans_are_refused);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
