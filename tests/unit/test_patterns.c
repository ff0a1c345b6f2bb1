/* SPDX-License-Identifier: Apache-2.0 */
/* Transformers whose normalisations, activations and attention are written out as exporters do, in every form that is known: each becomes one node unless something
 * else reads what is inside, and outputs and taps stay those of the reference, which runs the parts. */
#include "agree.h"
#include "backend/rewrite.h"
#include "backend/varied.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "one_context.h"
#include "ops/table.h"

#include <check.h>

enum { NORM, GELU, ATTENTION, KINDS };
static const char *const kind_names[] = {"LayerNormalization", "Gelu", "Attention"};

/* A builder of transformers: [batch, t, width] unless the sequence comes first. */
typedef struct net {
    builder b;
    int64_t t, width, heads;
    int expected[KINDS];
    int32_t also; /* a value inside a pattern that something else reads, or -1 */
} net;

static int32_t op2(net *n, const char *op, int32_t a, int32_t c)
{
    int32_t y;
    const bool swap = (strcmp(op, "Add") == 0 || strcmp(op, "Mul") == 0) && pick(&n->b, 0, 1);
    node(&n->b, op, 2, swap ? (int32_t[]){c, a} : (int32_t[]){a, c}, 0, &y);
    return y;
}

static int32_t op1(net *n, const char *op, int32_t a)
{
    int32_t y;
    node(&n->b, op, 1, &a, 0, &y);
    return y;
}

static int32_t scalar(net *n, float x)
{
    return constant(&n->b, 0, NULL, x, 0);
}

static int32_t ints(net *n, int32_t count, const int64_t *from)
{
    int32_t value;
    void *data;
    const int64_t dim = count;
    ck_assert_int_eq(fa_edit_initialiser(&n->b.e, "shape", FA_INT64, 1, &dim, &value, &data), FA_OK);
    memcpy(data, from, (size_t)count * sizeof *from);
    return value;
}

static int32_t reshape(net *n, int32_t x, int32_t count, const int64_t *dim)
{
    return op2(n, "Reshape", x, ints(n, count, dim));
}

static int32_t transpose(net *n, int32_t x, int32_t count, const int64_t *perm)
{
    int32_t y;
    fa_node *made = node(&n->b, "Transpose", 1, &x, 1, &y);
    set_ints(&n->b, made, 0, "perm", count, perm);
    return y;
}

static int32_t mean(net *n, int32_t x)
{
    int32_t y;
    fa_node *made = node(&n->b, "ReduceMean", 1, &x, 1, &y);
    set_ints(&n->b, made, 0, "axes", 1, (int64_t[]){-1});
    return y;
}

static int32_t vector(net *n, int64_t width, float about, float spread)
{
    return constant(&n->b, 1, &width, about, spread);
}

/* Once in a while something else reads a value, which is then no longer inside. */
static bool spoil(net *n, int32_t value)
{
    if (n->also >= 0 || pick(&n->b, 0, 9)) return false;
    n->also = value;
    return true;
}

static int32_t norm(net *n, int32_t x)
{
    const int32_t d = op2(n, "Sub", x, mean(n, x)), again = pick(&n->b, 0, 1) ? d : op2(n, "Sub", x, mean(n, x));
    const int32_t square = pick(&n->b, 0, 1) ? op2(n, "Pow", d, scalar(n, 2)) : op2(n, "Mul", d, d);
    const int32_t z = op2(n, "Div", again, op1(n, "Sqrt", op2(n, "Add", mean(n, square), scalar(n, 1e-5f))));
    n->expected[NORM] += !spoil(n, z);
    return op2(n, "Add", op2(n, "Mul", z, vector(n, n->width, 1, 0.3f)), vector(n, n->width, 0, 0.3f));
}

static int32_t linear(net *n, int32_t x, int64_t in, int64_t out)
{
    const int32_t w = constant(&n->b, 2, (int64_t[]){in, out}, 0, 1 / sqrtf((float)in));
    return op2(n, "Add", op2(n, "MatMul", x, w), vector(n, out, 0, 0.3f));
}

static int32_t gelu(net *n, int32_t x)
{
    int32_t inside;
    if (pick(&n->b, 0, 1)) {
        inside = op1(n, "Erf", pick(&n->b, 0, 1) ? op2(n, "Div", x, scalar(n, 1.41421356f)) : op2(n, "Mul", x, scalar(n, 0.70710678f)));
    } else {
        const int32_t cube = pick(&n->b, 0, 1) ? op2(n, "Pow", x, scalar(n, 3)) : op2(n, "Mul", op2(n, "Mul", x, x), x);
        inside = op1(n, "Tanh", op2(n, "Mul", op2(n, "Add", x, op2(n, "Mul", cube, scalar(n, 0.044715f))), scalar(n, 0.79788456f)));
    }
    const int32_t one = op2(n, "Add", inside, scalar(n, 1));
    n->expected[GELU] += !spoil(n, one);
    return pick(&n->b, 0, 1) ? op2(n, "Mul", op2(n, "Mul", x, one), scalar(n, 0.5f)) : op2(n, "Mul", op2(n, "Mul", x, scalar(n, 0.5f)), one);
}

/* The root of the width of a head, computed from the shape of its queries as exporters do where they are traced. */
static int32_t root_of_width(net *n, int32_t queries)
{
    int32_t size, at, width, real;
    void *data;
    ck_assert_int_eq(fa_edit_initialiser(&n->b.e, "at", FA_INT64, 0, NULL, &at, &data), FA_OK);
    *(int64_t *)data = -1;
    node(&n->b, "Shape", 1, &queries, 0, &size);
    node(&n->b, "Gather", 2, (int32_t[]){size, at}, 0, &width);
    fa_node *cast = node(&n->b, "Cast", 1, &width, 1, &real);
    set_int(cast, 0, "to", FA_FLOAT32);
    return pick(&n->b, 0, 1) ? op1(n, "Sqrt", real) : op2(n, "Pow", real, scalar(n, 0.5f));
}

/* Scores of every head, with whatever may be done to them, to weights. */
static int32_t weights(net *n, int32_t scores, int32_t queries, bool scaled)
{
    const int64_t t = n->t, kind = pick(&n->b, 0, 9);
    int32_t y;
    if (!scaled && pick(&n->b, 0, 1)) scores = op2(n, "Div", scores, root_of_width(n, queries));
    else if (!scaled) scores = pick(&n->b, 0, 1) ? op2(n, "Div", scores, scalar(n, 2)) : op2(n, "Mul", scores, scalar(n, 0.4f));
    if (kind == 1) scores = op2(n, "Add", scores, constant(&n->b, 2, (int64_t[]){t, t}, 0, 2));
    if (kind == 2) scores = op2(n, "Add", scores, constant(&n->b, 1, &t, 0, 2));
    if (kind == 5) { /* as GPT-2 had it at first */
        const int32_t product = op2(n, "Mul", scores, constant(&n->b, 2, (int64_t[]){t, t}, 1, 0.5f));
        scores = op2(n, "Sub", product, constant(&n->b, 2, (int64_t[]){t, t}, 0, 2));
    }
    if (kind == 6) { /* which the shape of the scores decides */
        node(&n->b, "Shape", 1, &scores, 0, &y);
        scores = op2(n, "Add", scores, op2(n, "Expand", constant(&n->b, 1, &t, 0, 2), y));
    }
    if (kind == 7) scores = op2(n, "Add", op2(n, "Add", scores, constant(&n->b, 2, (int64_t[]){t, t}, 0, 1)), constant(&n->b, 1, &t, 0, 2));
    if (kind == 8) scores = op2(n, "Add", scores, constant(&n->b, 1, &t, 0, 2)); /* what is kept of the sum */
    if (kind == 3 || kind == 4 || kind > 7) {
        void *data;
        int32_t keep;
        ck_assert_int_eq(fa_edit_initialiser(&n->b.e, "causal", FA_BOOL, 2, (int64_t[]){t, t}, &keep, &data), FA_OK);
        for (int64_t i = 0; i < t * t; i++) ((int64_t *)data)[i] = (i % t <= i / t) == (kind != 4);
        const int32_t fill = scalar(n, pick(&n->b, 0, 1) ? -1e4f : -0.5f);
        node(&n->b, "Where", 3, kind != 4 ? (int32_t[]){keep, scores, fill} : (int32_t[]){keep, fill, scores}, 0, &y);
        scores = kind == 9 ? op2(n, "Add", y, constant(&n->b, 1, &t, 0, 2)) : y;
    }
    const bool spoilt = spoil(n, scores);
    fa_node *made = node(&n->b, "Softmax", 1, &scores, 1, &y);
    set_int(made, 0, "axis", -1);
    n->expected[ATTENTION] += !spoilt && !spoil(n, y);
    return y;
}

static int32_t einsum(net *n, const char *equation, int32_t a, int32_t c)
{
    int32_t y;
    fa_node *made = node(&n->b, "Einsum", 2, (int32_t[]){a, c}, 1, &y);
    made->attr[0] = (fa_attr){.name = "equation", .kind = FA_ATTR_STRING, .count = (int64_t)strlen(equation), .s = equation};
    return y;
}

/* Heads stay where they lie, [batch, t, heads, d]. */
static int32_t by_einsum(net *n, int32_t x)
{
    const int64_t d = n->width / n->heads, apart[] = {0, 0, n->heads, d};
    int32_t part[3];
    for (int i = 0; i < 3; i++) part[i] = reshape(n, linear(n, x, n->width, n->width), 4, apart);
    const bool scaled = pick(&n->b, 0, 1);
    for (int i = 0; i < 2 && scaled; i++) part[i] = op2(n, "Mul", part[i], scalar(n, 0.7f));
    const int32_t scores = pick(&n->b, 0, 1) ? einsum(n, "bihd,bjhd->bhij", part[0], part[1]) : einsum(n, " bjhd , bihd -> bhij", part[1], part[0]);
    const int32_t y = einsum(n, "bhij,bjhd->bihd", weights(n, scores, part[0], scaled), part[2]);
    return linear(n, reshape(n, y, 3, (int64_t[]){0, 0, n->width}), n->width, n->width);
}

/* Heads taken apart behind the batch: [batch, heads, t, d]. */
static int32_t attention(net *n, int32_t x)
{
    const int64_t d = n->width / n->heads, apart[] = {0, 0, n->heads, d};
    int32_t part[3];
    for (int i = 0; i < 3; i++) {
        const bool turned = i == 1 && pick(&n->b, 0, 1);
        part[i] = reshape(n, linear(n, x, n->width, n->width), 4, apart);
        part[i] = transpose(n, part[i], 4, turned ? (int64_t[]){0, 2, 3, 1} : (int64_t[]){0, 2, 1, 3});
        if (i == 1 && !turned) part[i] = transpose(n, part[i], 4, (int64_t[]){0, 1, 3, 2});
    }
    const bool scaled = pick(&n->b, 0, 1);
    if (scaled) part[0] = op2(n, "Mul", part[0], scalar(n, 0.5f));
    const int32_t y = op2(n, "MatMul", weights(n, op2(n, "MatMul", part[0], part[1]), part[0], scaled), part[2]);
    return linear(n, reshape(n, transpose(n, y, 4, (int64_t[]){0, 2, 1, 3}), 3, (int64_t[]){0, 0, n->width}), n->width, n->width);
}

/* The sequence before the batch, heads joined with it: [batch * heads, t, d]. */
static int32_t sequence_first(net *n, int32_t x)
{
    const int64_t d = n->width / n->heads, joined[] = {n->t, -1, d};
    int32_t part[3];
    x = transpose(n, x, 3, (int64_t[]){1, 0, 2});
    for (int i = 0; i < 3; i++)
        part[i] = transpose(n, reshape(n, linear(n, x, n->width, n->width), 3, joined), 3, i == 1 ? (int64_t[]){1, 2, 0} : (int64_t[]){1, 0, 2});
    part[0] = op2(n, "Div", part[0], scalar(n, 2));
    int32_t y = op2(n, "MatMul", weights(n, op2(n, "MatMul", part[0], part[1]), part[0], true), part[2]);
    y = reshape(n, transpose(n, y, 3, (int64_t[]){1, 0, 2}), 3, (int64_t[]){n->t, -1, n->width});
    return transpose(n, linear(n, y, n->width, n->width), 3, (int64_t[]){1, 0, 2});
}

static fa_graph *transformer(const fa_graph *base, uint64_t seed, int64_t shape[4], int32_t *logits, int expected[KINDS])
{
    net n = {.b = {.seed = seed}, .also = -1};
    builder *b = &n.b;
    int32_t x, pooled;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(base, &b->e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&b->e, "x", FA_FLOAT32, &x), FA_OK);
    const int64_t kh = pick(b, 1, 3), kw = pick(b, 2, 4), rows = pick(b, 1, 4), columns = pick(b, 1, 5), c = pick(b, 1, 3);
    n.heads = pick(b, 1, 3);
    n.width = n.heads * pick(b, 2, 9);
    n.t = rows * columns;
    memcpy(shape, (int64_t[]){BATCH, c, rows * kh + pick(b, 0, kh - 1), columns * kw + pick(b, 0, kw - 1)}, 4 * sizeof *shape);
    const int32_t cut = constant(b, 4, (int64_t[]){n.width, c, kh, kw}, 0, 0.5f);
    int32_t y;
    fa_node *conv = node(b, "Conv", 3, (int32_t[]){x, cut, vector(&n, n.width, 0, 0.3f)}, 1, &y);
    set_ints(b, conv, 0, "strides", 2, (int64_t[]){kh, kw});
    y = transpose(&n, reshape(&n, y, 3, (int64_t[]){0, 0, -1}), 3, (int64_t[]){0, 2, 1});
    y = op2(&n, "Add", y, constant(b, 2, (int64_t[]){n.t, n.width}, 0, 0.5f));
    for (int64_t block = pick(b, 1, 2); block > 0; block--) {
        const int32_t z = norm(&n, y);
        const int64_t form = pick(b, 0, 2);
        y = op2(&n, "Add", y, form == 0 ? attention(&n, z) : form == 1 ? sequence_first(&n, z) : by_einsum(&n, z));
        y = op2(&n, "Add", y, linear(&n, gelu(&n, linear(&n, norm(&n, y), n.width, 2 * n.width + 1)), 2 * n.width + 1, n.width));
    }
    fa_node *made = node(b, "ReduceMean", 1, &y, 2, &pooled);
    set_ints(b, made, 0, "axes", 1, (int64_t[]){1});
    set_int(made, 1, "keepdims", 0);
    *logits = linear(&n, pooled, n.width, CLASSES);
    b->e.graph->input = fa_arena_array(&b->e.graph->arena, 1, sizeof(int32_t));
    b->e.graph->output = fa_arena_array(&b->e.graph->arena, 2, sizeof(int32_t));
    b->e.graph->input[0] = x;
    b->e.graph->output[0] = *logits;
    b->e.graph->output[1] = n.also; /* an output is read from outside */
    b->e.graph->n_input = 1;
    b->e.graph->n_output = n.also >= 0 ? 2 : 1;
    ck_assert_int_eq(fa_edit_finish(&b->e, &g), FA_OK);
    memcpy(expected, n.expected, sizeof n.expected);
    return g;
}

static void count_kinds(const fa_graph *g, int32_t logits, int count[KINDS])
{
    fa_graph *joined, *fused;
    ck_assert_msg(fa_rewrite_einsums(g, &joined) == FA_OK, "%s", fa_error_message());
    ck_assert_msg(fa_rewrite_patterns(joined, &logits, 1, &fused) == FA_OK, "%s", fa_error_message());
    for (int k = 0; k < KINDS; k++) {
        count[k] = 0;
        for (int32_t n = 0; n < fused->n_node; n++) count[k] += strcmp(fused->node[n].op, kind_names[k]) == 0;
    }
    fa_graph_destroy(fused);
    fa_graph_destroy(joined);
}

/* Which Einsums are a batch of matrix products. */
START_TEST(products_by_einsum)
{
    static const struct {
        const char *equation;
        int products, turns;
        int64_t a[3], b[3];
    } cases[] = {{"bij,bjk->bik", 1, 0, {2, 3, 4}, {2, 4, 5}}, {"bij,bkj->bik", 1, 1, {2, 3, 4}, {2, 5, 4}}, {"ibj , jbk -> kib", 1, 3, {3, 2, 4}, {4, 2, 5}},
                 {"bij,bjk->bki", 1, 2, {2, 3, 4}, {2, 4, 5}}, {"bij,bij->bij", 0, 0, {2, 3, 4}, {2, 3, 4}}, {"bij,bjk->ik", 0, 0, {2, 3, 4}, {2, 4, 5}},
                 {"bij,bjk->bijk", 0, 0, {2, 3, 4}, {2, 4, 5}}, {"bij,bjk", 0, 0, {2, 3, 4}, {2, 4, 5}}, {"...ij,...jk->...ik", 0, 0, {2, 3, 4}, {2, 4, 5}},
                 {"iij,ijk->ik", 0, 0, {3, 3, 4}, {3, 4, 5}}, {"bij,bjk,->bik", 0, 0, {2, 3, 4}, {2, 4, 5}}, {"->", 0, 0, {2, 3, 4}, {2, 4, 5}}};
    fa_graph *base = empty_graph(context), *g, *joined;
    net n = {.b = {.seed = 1}, .also = -1};
    int32_t x[2], y;
    ck_assert_int_eq(fa_edit_begin(base, &n.b.e), FA_OK);
    for (int i = 0; i < 2; i++) ck_assert_int_eq(fa_edit_value(&n.b.e, "x", FA_FLOAT32, &x[i]), FA_OK);
    y = einsum(&n, cases[_i].equation, x[0], x[1]);
    n.b.e.graph->input = fa_arena_array(&n.b.e.graph->arena, 2, sizeof(int32_t));
    n.b.e.graph->output = fa_arena_array(&n.b.e.graph->arena, 1, sizeof(int32_t));
    memcpy(n.b.e.graph->input, x, sizeof x);
    n.b.e.graph->output[0] = y;
    n.b.e.graph->n_input = 2;
    n.b.e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&n.b.e, &g), FA_OK);
    ck_assert_int_eq(fa_rewrite_einsums(g, &joined), FA_OK);
    int products = 0, turns = 0;
    for (int32_t k = 0; k < joined->n_node; k++) {
        products += strcmp(joined->node[k].op, "MatMul") == 0;
        turns += strcmp(joined->node[k].op, "Transpose") == 0;
    }
    ck_assert_msg(products == cases[_i].products && turns == cases[_i].turns, "%s: %d products, %d transpositions", cases[_i].equation, products, turns);
    ck_assert_int_eq(joined->n_node, products ? products + turns : 1);
    fa_graph *const both[] = {g, joined};
    float made[2][64];
    int64_t count = 0;
    for (int k = 0; k < 2 && products; k++) {
        fa_view view[2] = {{.dtype = FA_FLOAT32}, {.dtype = FA_FLOAT32}};
        fa_plan *plan;
        fa_run *run;
        fa_view_set_shape(&view[0], 3, cases[_i].a);
        fa_view_set_shape(&view[1], 3, cases[_i].b);
        ck_assert_msg(fa_plan_create(&(fa_plan_request){.graph = both[k], .ops = &fa_op_table_f32, .inputs = view, .wanted = &y, .n_wanted = 1, .loss = -1}, &plan) == FA_OK, "%s",
                      fa_error_message());
        ck_assert_int_eq(fa_run_create(plan, context, &run), FA_OK);
        for (int i = 0; i < 2; i++) fa_normal(5, (uint64_t)i, 0, view[i].count, fa_run_input(run, i));
        fa_run_forward(run);
        count = fa_run_value(run, y)->count;
        ck_assert_int_le(count, 64);
        memcpy(made[k], fa_run_value(run, y)->data, (size_t)count * sizeof(float));
        fa_run_destroy(run);
        fa_plan_destroy(plan);
    }
    for (int64_t i = 0; i < count; i++) ck_assert_float_eq_tol(made[0][i], made[1][i], 1e-5f);
    fa_graph_destroy(joined);
    fa_graph_destroy(g);
    fa_graph_destroy(base);
}
END_TEST

START_TEST(fused_equals_its_parts)
{
    if (!fa_kernels_available()) return; /* nothing is fused */
    int found[KINDS] = {0}, seen = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        fa_graph *base = empty_graph(context);
        int64_t shape[4];
        int32_t logits;
        int expected[KINDS], have[KINDS];
        fa_graph *g = transformer(base, 1000 + seed, shape, &logits, expected);
        count_kinds(g, logits, have);
        for (int k = 0; k < KINDS; k++) {
            ck_assert_msg(have[k] == expected[k], "network %d: %d of %d %s", (int)seed, have[k], expected[k], kind_names[k]);
            found[k] += have[k];
        }
        const int64_t count = shape[0] * shape[1] * shape[2] * shape[3], n = seed % 4 ? BATCH : 1;
        float *data = malloc((size_t)count * sizeof *data);
        fa_normal(5, seed, 0, count, data);
        record *want = malloc(sizeof *want), *got = malloc(sizeof *got);
        run(context, g, logits, FA_KERNELS_REFERENCE, shape, data, n, want);
        run(context, g, logits, FA_KERNELS_FAST, shape, data, n, got);
        ck_assert_int_eq(want->layers, got->layers);
        for (int64_t i = 0; i < n; i++) ck_assert_msg(fabsf(got->loss[i] - want->loss[i]) <= 1e-4f * (1 + want->loss[i]), "network %d: loss", (int)seed);
        for (int32_t l = 0; l < want->layers; l++) {
            const layer_record *a = &got->layer[l], *b = &want->layer[l];
            ck_assert_int_eq(a->seen, b->seen);
            compare(a->A, b->A, b->n_A, 1e-4, "A", seed, l);
            compare(a->G, b->G, b->n_G, 4e-4, "G", seed, l);
            compare(a->blocks, b->blocks, b->n_blocks, 4e-4, "block", seed, l);
            seen++;
        }
        release(want), release(got);
        free(want), free(got), free(data);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    for (int k = 0; k < KINDS; k++) ck_assert_int_gt(found[k], 60);
    ck_assert_int_gt(seen, 400);
}
END_TEST

/* The gradient of the mean loss in all weights. */
static float *weight_gradient(const fa_graph *g, int32_t logits, int32_t kernels, const int64_t shape[4], const float *data, int64_t *count)
{
    fa_program *program;
    fa_pass *pass;
    const int64_t target[BATCH] = {0, 2, 1};
    ck_assert_msg(fa_program_create_varied(g, logits, kernels, &(fa_varied_options){.select = NULL}, &program) == FA_OK, "%s", fa_error_message());
    const fa_array input = {.data = data, .shape = shape, .ndim = 4, .dtype = FA_FLOAT32};
    const fa_pass_request q = {.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .gradient = true};
    ck_assert_msg(fa_pass_create(&q, &pass) == FA_OK, "%s", fa_error_message());
    *count = fa_program_weight_count(program);
    float *gradient = calloc((size_t)*count, sizeof *gradient);
    ck_assert_msg(fa_pass_mean_gradient(pass, &input, NULL, BATCH, &(fa_asked){.own_target = target}, 1.0 / BATCH, gradient, NULL, NULL) == FA_OK, "%s", fa_error_message());
    fa_pass_destroy(pass);
    fa_program_destroy(program);
    return gradient;
}

START_TEST(fused_with_weights_that_move)
{
    if (!fa_kernels_available()) return;
    for (uint64_t seed = 0; seed < 20; seed++) {
        fa_graph *base = empty_graph(context);
        int64_t shape[4], n_want, n_got;
        int32_t logits;
        int expected[KINDS];
        fa_graph *g = transformer(base, 1000 + seed, shape, &logits, expected);
        const int64_t count = shape[0] * shape[1] * shape[2] * shape[3];
        float *data = malloc((size_t)count * sizeof *data);
        fa_normal(5, seed, 0, count, data);
        float *want = weight_gradient(g, logits, FA_KERNELS_REFERENCE, shape, data, &n_want), *got = weight_gradient(g, logits, FA_KERNELS_FAST, shape, data, &n_got);
        ck_assert_int_eq(n_want, n_got);
        ck_assert_int_gt(n_want, 20);
        compare(got, want, n_want, 1e-4, "gradient of the weights", seed, -1);
        free(data), free(want), free(got);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("patterns");
    TCase *t = tcase_create("patterns");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_loop_test(t, products_by_einsum, 0, 12);
    tcase_add_test(t, fused_equals_its_parts);
    tcase_add_test(t, fused_with_weights_that_move);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
