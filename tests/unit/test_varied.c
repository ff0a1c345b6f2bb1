/* SPDX-License-Identifier: Apache-2.0 */
/* Programs whose weights move: losses as a plain program's, gradients by finite differences and between kernels, running statistics, errors, memory. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/program.h"
#include "backend/varied.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "ops/table.h"
#include "random_network.h"

/* Random networks, and behind them seeds of the one that has every kind of parameter. */
#define NETWORKS 40
#define KINDS 3

/* The context's allocator counts, and fails call number `fail_at`. */
static struct {
    long calls, fail_at;
} memory;

static void *count_alloc(void *user, size_t size, size_t align)
{
    (void)user;
    void *p = NULL;
    return memory.calls++ != memory.fail_at && posix_memalign(&p, align, size) == 0 ? p : NULL;
}

static void count_free(void *user, void *block, size_t size, size_t align)
{
    (void)user, (void)size, (void)align;
    free(block);
}

static fa_context *context;

static void setup(void)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.alloc = count_alloc;
    o.free = count_free;
    memory.calls = 0;
    memory.fail_at = -1;
    ck_assert_int_eq(fa_context_create(&o, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* A random network, its inputs and targets. */
typedef struct net {
    fa_graph *base, *graph;
    int32_t logits;
    int64_t shape[4], target[BATCH];
    float *data;
    fa_array input;
} net;

static int32_t one_input(builder *b, const char *op, int32_t x)
{
    int32_t y;
    node(b, op, 1, &x, 0, &y);
    return y;
}

static int32_t two_inputs(builder *b, const char *op, int32_t x, int32_t w)
{
    int32_t y;
    node(b, op, 2, (int32_t[]){x, w}, 0, &y);
    return y;
}

static int32_t ints(builder *b, int64_t n, const int64_t *from)
{
    int32_t value;
    void *data;
    ck_assert_int_eq(fa_edit_initialiser(&b->e, "ints", FA_INT64, 1, &n, &value, &data), FA_OK);
    memcpy(data, from, (size_t)n * sizeof *from);
    return value;
}

/* Images of 4 channels behind convolutions of every sort, with normalisations, a slope and sums per channel between. */
static int32_t convolutions_of_all_sorts(builder *b, int32_t x)
{
    int32_t y;
    fa_node *n = node(b, "Conv", 3, (int32_t[]){x, one_input(b, "Identity", constant(b, 4, (int64_t[]){4, 2, 3, 3}, 0, 0.3f)), constant(b, 1, (int64_t[]){4}, 0, 0.3f)}, 1, &y);
    set_ints(b, n, 0, "pads", 4, (int64_t[]){1, 1, 1, 1});
    node(b, "InstanceNormalization", 3, (int32_t[]){y, constant(b, 1, (int64_t[]){4}, 1, 0.3f), constant(b, 1, (int64_t[]){4}, 0, 0.3f)}, 0, &y);
    y = two_inputs(b, "PRelu", y, constant(b, 3, (int64_t[]){4, 1, 1}, 0.3f, 0.1f));
    n = node(b, "ConvTranspose", 3, (int32_t[]){y, constant(b, 4, (int64_t[]){4, 6, 2, 2}, 0, 0.3f), constant(b, 1, (int64_t[]){6}, 0, 0.3f)}, 1, &y);
    set_ints(b, n, 0, "strides", 2, (int64_t[]){2, 1});
    n = node(b, "GroupNormalization", 3, (int32_t[]){y, constant(b, 1, (int64_t[]){3}, 1, 0.3f), constant(b, 1, (int64_t[]){3}, 0, 0.3f)}, 1, &y);
    set_int(n, 0, "num_groups", 3);
    n->opset = 18;
    n = node(b, "Conv", 2, (int32_t[]){y, constant(b, 4, (int64_t[]){4, 6, 3, 2}, 0, 0.3f)}, 2, &y); /* padding that hangs on the size of the image */
    n->attr[0] = (fa_attr){.name = "auto_pad", .kind = FA_ATTR_STRING, .s = "SAME_UPPER", .count = 10};
    set_ints(b, n, 1, "strides", 2, (int64_t[]){2, 2});
    add_norm(b, (image){y, 4, 0, 0});
    y = one_input(b, "Relu", b->images[b->count - 1].value);
    y = two_inputs(b, "Mul", y, constant(b, 4, (int64_t[]){1, 4, 1, 1}, 1, 0.3f));
    add_norm(b, (image){y, 4, 0, 0}); /* behind no layer */
    y = two_inputs(b, "Sub", b->images[b->count - 1].value, two_inputs(b, "Reshape", constant(b, 2, (int64_t[]){2, 2}, 0, 0.3f), ints(b, 3, (int64_t[]){4, 1, 1})));
    n = node(b, "Conv", 2, (int32_t[]){y, constant(b, 4, (int64_t[]){4, 1, 3, 3}, 0, 0.3f)}, 2, &y); /* depthwise */
    set_int(n, 0, "group", 4);
    set_ints(b, n, 1, "pads", 4, (int64_t[]){1, 1, 1, 1});
    return y;
}

static fa_graph *every_kind(const fa_graph *base, uint64_t seed, int64_t shape[4], int32_t *logits)
{
    builder b = {.seed = seed};
    fa_graph *g;
    int32_t x, y;
    ck_assert_int_eq(fa_edit_begin(base, &b.e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&b.e, "x", FA_FLOAT32, &x), FA_OK);
    memcpy(shape, (int64_t[]){BATCH, 2, 6, 5}, 4 * sizeof *shape);
    y = one_input(&b, "Flatten", convolutions_of_all_sorts(&b, x));
    const int64_t wide = 4 * 6 * 3;
    node(&b, "Gemm", 2, (int32_t[]){y, one_input(&b, "Transpose", constant(&b, 2, (int64_t[]){8, wide}, 0, 0.2f))}, 0, &y);
    add_norm(&b, (image){y, 8, 1, 1}); /* not an image */
    const int32_t shared = constant(&b, 2, (int64_t[]){8, 8}, 0, 0.4f);
    y = two_inputs(&b, "Add", two_inputs(&b, "MatMul", b.images[b.count - 1].value, shared), constant(&b, 1, (int64_t[]){8}, 0, 0.3f));
    y = two_inputs(&b, "MatMul", one_input(&b, "Tanh", y), shared);
    node(&b, "LayerNormalization", 3, (int32_t[]){y, constant(&b, 1, (int64_t[]){8}, 1, 0.3f), constant(&b, 1, (int64_t[]){8}, 0, 0.3f)}, 0, &y);
    b.e.graph->node[b.e.graph->n_node - 1].opset = 17;
    y = two_inputs(&b, "Add", y, two_inputs(&b, "Gather", constant(&b, 2, (int64_t[]){3, 8}, 0, 0.3f), ints(&b, 1, (int64_t[]){2})));
    y = two_inputs(&b, "Div", y, constant(&b, 1, (int64_t[]){8}, 2, 0.1f));
    *logits = two_inputs(&b, "MatMul", y, constant(&b, 2, (int64_t[]){8, CLASSES}, 0, 0.5f));
    b.e.graph->input = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->output = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->input[0] = x;
    b.e.graph->output[0] = *logits;
    b.e.graph->n_input = b.e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&b.e, &g), FA_OK);
    return g;
}

static void net_begin(net *t, uint64_t seed)
{
    t->base = empty_graph(context);
    t->graph = (seed < NETWORKS ? random_network : every_kind)(t->base, seed, t->shape, &t->logits);
    const int64_t count = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    t->data = malloc((size_t)count * sizeof *t->data);
    fa_normal(5, seed, 0, count, t->data);
    for (int i = 0; i < BATCH; i++) t->target[i] = (int64_t)((seed + 2 * (uint64_t)i) % CLASSES);
    t->input = (fa_array){.data = t->data, .shape = t->shape, .ndim = 4, .dtype = FA_FLOAT32};
}

static void net_end(net *t)
{
    fa_graph_destroy(t->graph);
    fa_graph_destroy(t->base);
    free(t->data);
}

/* True when the logits depend on a BatchNormalization. */
static bool has_norm(const net *t)
{
    fa_program *p;
    if (fa_program_create_varied(t->graph, t->logits, FA_KERNELS_REFERENCE, &(fa_varied_options){.reestimate = true}, &p) != FA_OK) return false;
    fa_program_destroy(p);
    return true;
}

static fa_program *varied(const net *t, int32_t kernels, bool reestimate)
{
    fa_program *p;
    ck_assert_msg(fa_program_create_varied(t->graph, t->logits, kernels, &(fa_varied_options){.reestimate = reestimate}, &p) == FA_OK, "%s", fa_error_message());
    return p;
}

static fa_pass *new_pass(const net *t, const fa_program *program, int64_t batch, bool gradient)
{
    fa_pass *pass;
    const fa_pass_request q = {.program = program, .context = context, .inputs = &t->input, .n_inputs = 1, .batch = batch, .gradient = gradient};
    ck_assert_msg(fa_pass_create(&q, &pass) == FA_OK, "%s", fa_error_message());
    return pass;
}

static void losses(const net *t, fa_pass *pass, float loss[BATCH])
{
    for (int64_t i = 0; i < BATCH; i += fa_pass_batch(pass))
        ck_assert_msg(fa_pass_forward(pass, &t->input, i, fa_pass_batch(pass), &(fa_asked){.own_target = t->target}, &(fa_pass_outputs){.loss = loss + i}) == FA_OK, "%s", fa_error_message());
}

/* Weights (and statistics behind them) near the trained ones. */
static float *moved(const fa_program *p, uint64_t seed, float by)
{
    const int64_t n = fa_program_weight_count(p), s = fa_program_statistics_count(p);
    float *w = malloc((size_t)(n + s) * sizeof *w), *noise = malloc((size_t)(n + s) * sizeof *w);
    fa_program_trained(p, w, w + n);
    fa_normal(9, seed, 0, n + s, noise);
    for (int64_t i = 0; i < n + s; i++) w[i] += by * noise[i] * (i < n ? 1 : 0.1f * fabsf(w[i]));
    free(noise);
    return w;
}

static double largest_of(const float *x, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)x[i]));
    return largest;
}

/* `n` numbers, part of something whose largest is `scale`. */
static void close_to(const float *got, const float *want, int64_t n, double tolerance, double scale, const char *what, uint64_t seed)
{
    const double largest = largest_of(want, n);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= tolerance * (largest + 0.01 * scale), "network %d, %s[%lld]: %.8g, not %.8g (largest %.3g)", (int)seed, what,
                      (long long)i, (double)got[i], (double)want[i], largest);
}

/* The graph with the weights in its initialisers. */
static fa_graph *with_weights(const net *t, const fa_program *p, const float *w)
{
    fa_edit e;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(t->graph, &e), FA_OK);
    const fa_parameters *q = &p->parameters;
    for (int32_t i = 0; i < q->count + q->n_statistic; i++) {
        const int32_t v = i < q->count ? q->value[i] : q->statistic[i - q->count];
        fa_view view = e.graph->value[v].view;
        view.data = (void *)(uintptr_t)(w + (i < q->count ? q->parameter[i].offset : q->weights + q->statistic_at[i - q->count]));
        fa_edit_make_initialiser(&e, v, &view);
    }
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    return g;
}

/* At any weights, a varied program says what a plain one of a file with those weights says; a row of a batch is what the input alone gives. */
START_TEST(losses_are_a_plain_programs)
{
    for (uint64_t seed = 0; seed < NETWORKS + KINDS; seed++)
        for (int32_t kernels = FA_KERNELS_REFERENCE; kernels <= (fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE); kernels++) {
            net t;
            net_begin(&t, seed);
            fa_program *p = varied(&t, kernels, seed % 2 && has_norm(&t)), *plain;
            for (int move = 0; move < 2; move++) {
                float *w = moved(p, seed, move ? 0.1f : 0), got[BATCH], again[BATCH], want[BATCH], alone[BATCH];
                fa_graph *g = with_weights(&t, p, w);
                ck_assert_msg(fa_program_create(g, t.logits, kernels, &plain) == FA_OK, "%s", fa_error_message());
                fa_pass *a = new_pass(&t, p, BATCH, false), *b = new_pass(&t, plain, BATCH, false), *one = new_pass(&t, p, 1, false);
                losses(&t, b, want);
                if (!move) {
                    losses(&t, a, got); /* nothing has been set */
                    ck_assert_mem_eq(got, want, sizeof got);
                }
                fa_pass_set_weights(a, w, w + fa_program_weight_count(p));
                fa_pass_set_weights(one, w, w + fa_program_weight_count(p));
                const long before = memory.calls;
                losses(&t, a, got);
                losses(&t, a, again);
                losses(&t, one, alone);
                fa_pass_set_weights(a, w, w + fa_program_weight_count(p));
                ck_assert_int_eq(memory.calls, before);
                ck_assert_mem_eq(got, again, sizeof got);
                close_to(got, want, BATCH, 1e-5, 1, "loss", seed);
                close_to(alone, want, BATCH, 1e-5, 1, "loss alone", seed);
                fa_pass_destroy(a), fa_pass_destroy(b), fa_pass_destroy(one);
                fa_program_destroy(plain);
                fa_graph_destroy(g);
                free(w);
            }
            fa_program_destroy(p);
            net_end(&t);
        }
}
END_TEST

/* A program's graph in double: the mean loss at weights w, and its gradient. */
typedef struct exact {
    const fa_program *program;
    const fa_program_graph *of;
    const net *t;
    fa_plan *plan;
    fa_run *run;
} exact;

static void exact_begin(exact *e, const net *t, const fa_program *p, bool training)
{
    *e = (exact){.program = p, .of = training ? &p->training : &p->evaluation, .t = t};
    fa_view in = {.dtype = FA_FLOAT32};
    fa_view_set_shape(&in, 4, t->shape);
    const fa_plan_request q = {.graph = e->of->graph, .context = context, .ops = &fa_op_table_f64, .inputs = &in, .wanted = &p->logits, .n_wanted = 1, .loss = p->logits,
                               .wrt = p->parameters.value, .n_wrt = p->parameters.count};
    ck_assert_msg(fa_plan_create(&q, &e->plan) == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(fa_run_create(e->plan, context, &e->run), FA_OK);
}

static void exact_end(exact *e)
{
    fa_run_destroy(e->run);
    fa_plan_destroy(e->plan);
}

static double exact_loss(exact *e, const double *w, double *gradient)
{
    const fa_parameters *q = &e->program->parameters;
    double *x = fa_run_input(e->run, 0), sum = 0;
    for (int32_t i = 0; i < q->count; i++) fa_run_set(e->run, q->value[i], w + q->parameter[i].offset);
    for (int32_t i = 0; i < q->n_statistic; i++) fa_run_set(e->run, q->statistic[i], w + q->weights + q->statistic_at[i]);
    fa_run_prepare(e->run);
    for (int64_t i = 0; i < e->t->shape[0] * e->t->shape[1] * e->t->shape[2] * e->t->shape[3]; i++) x[i] = (double)e->t->data[i];
    fa_run_forward(e->run);
    const double *logits = fa_run_value(e->run, e->program->logits)->data;
    double *at = fa_run_loss_gradient(e->run);
    for (int i = 0; i < BATCH; i++) {
        const double *z = logits + i * CLASSES;
        double total = 0;
        for (int k = 0; k < CLASSES; k++) total += exp(z[k] - z[e->t->target[i]]);
        sum += log(total) / BATCH;
        for (int k = 0; k < CLASSES; k++) at[i * CLASSES + k] = (exp(z[k] - z[e->t->target[i]]) / total - (k == e->t->target[i])) / BATCH;
    }
    if (!gradient) return sum;
    memset(gradient, 0, (size_t)q->weights * sizeof *gradient);
    fa_run_backward(e->run, NULL, NULL);
    for (int32_t i = 0; i < q->count; i++)
        if (fa_run_gradient(e->run, i)) memcpy(gradient + q->parameter[i].offset, fa_run_gradient(e->run, i), (size_t)q->parameter[i].count * sizeof *gradient);
    return sum;
}

/* In double, along a random direction in each parameter: what the gradient says against central differences. */
static int check_directions(exact *e, const double *w, const double *gradient, uint64_t seed)
{
    const fa_parameters *q = &e->program->parameters;
    const int64_t n = q->weights + q->statistics;
    double *v = malloc((size_t)n * sizeof *v);
    float *u = malloc((size_t)q->weights * sizeof *u);
    fa_normal(11, seed, 0, q->weights, u);
    int moving = 0;
    for (int32_t i = 0; i < q->count; i++) {
        const fa_parameter *p = &q->parameter[i];
        double slope = 0, length = 0, step = 1e-6, side[2];
        for (int64_t k = p->offset; k < p->offset + p->count; k++) {
            slope += gradient[k] * (double)u[k];
            length += fabs(gradient[k] * (double)u[k]);
        }
        for (int s = 0; s < 2; s++) {
            memcpy(v, w, (size_t)n * sizeof *v);
            for (int64_t k = p->offset; k < p->offset + p->count; k++) v[k] += (s ? step : -step) * (double)u[k];
            side[s] = exact_loss(e, v, NULL);
        }
        ck_assert_msg(fabs((side[1] - side[0]) / (2 * step) - slope) <= 1e-5 * length + 1e-8, "network %d, %s: %.10g by differences, %.10g by the gradient", (int)seed, p->name,
                      (side[1] - side[0]) / (2 * step), slope);
        moving += length > 1e-6;
    }
    free(v), free(u);
    return moving;
}

static int gradients_of(uint64_t seed, bool reestimate)
{
    net t;
    net_begin(&t, seed);
    int moving = 0;
    fa_program *reference = varied(&t, FA_KERNELS_REFERENCE, reestimate);
    const int64_t n = fa_program_weight_count(reference), s = fa_program_statistics_count(reference);
    float *w = moved(reference, seed, 0.05f), *got = malloc((size_t)n * sizeof *got), *want = malloc((size_t)n * sizeof *want), *first = NULL;
    double *wide = malloc((size_t)(n + s) * sizeof *wide), *exactly = malloc((size_t)n * sizeof *exactly);
    for (int64_t i = 0; i < n + s; i++) wide[i] = (double)w[i];
    exact e;
    exact_begin(&e, &t, reference, reestimate);
    const double loss = exact_loss(&e, wide, exactly);
    moving += check_directions(&e, wide, exactly, seed);
    for (int64_t i = 0; i < n; i++) want[i] = (float)exactly[i];
    for (int32_t kernels = FA_KERNELS_REFERENCE; kernels <= (fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE); kernels++) {
        fa_program *p = kernels == FA_KERNELS_REFERENCE ? reference : varied(&t, kernels, reestimate);
        fa_pass *pass = new_pass(&t, p, BATCH, true);
        float *running = malloc((size_t)s * sizeof *running + 1);
        ck_assert_int_eq(fa_program_weight_count(p), n);
        fa_pass_set_weights(pass, w, w + n);
        const long before = memory.calls;
        for (int repeat = 0; repeat < 2; repeat++) { /* the second time, the arena is dirty, and the sum begins at 1 */
            double got_loss = repeat;
            for (int64_t i = 0; i < n; i++) got[i] = (float)repeat;
            if (s) memcpy(running, w + n, (size_t)s * sizeof *running);
            ck_assert_msg(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1.0 / BATCH, got, &got_loss, running) == FA_OK, "%s", fa_error_message());
            for (int64_t i = 0; i < n; i++) got[i] -= (float)repeat;
            for (int32_t i = 0; i < fa_program_parameter_count(p); i++) {
                const fa_parameter *q = fa_program_parameter(p, i);
                close_to(got + q->offset, want + q->offset, q->count, 1e-4, largest_of(want, n) + repeat, q->name, seed);
            }
            ck_assert_double_le(fabs(got_loss - repeat - loss), 1e-5 * (1 + loss));
        }
        ck_assert_int_eq(memory.calls, before);
        if (s && first) close_to(running, first, s, 1e-5, 1, "running statistics", seed);
        if (!first) first = running;
        else free(running);
        fa_pass_destroy(pass);
        if (p != reference) fa_program_destroy(p);
    }
    free(first);
    exact_end(&e);
    fa_program_destroy(reference);
    free(w), free(got), free(want), free(wide), free(exactly);
    net_end(&t);
    return moving;
}

START_TEST(gradients_are_true)
{
    int moving = 0;
    for (uint64_t seed = 0; seed < NETWORKS + KINDS; seed++) moving += gradients_of(seed, false);
    ck_assert_int_gt(moving, 200);
}
END_TEST

START_TEST(gradients_through_batch_statistics_are_true)
{
    int moving = 0;
    for (uint64_t seed = 0; seed < NETWORKS + KINDS; seed++) {
        net t;
        net_begin(&t, seed);
        const bool norm = has_norm(&t);
        net_end(&t);
        if (norm) moving += gradients_of(seed, true);
    }
    ck_assert_int_gt(moving, 150);
}
END_TEST

/* x -> BatchNormalization -> Flatten -> Gemm: the running statistics by hand. */
START_TEST(running_statistics_move_as_documented)
{
    for (int32_t kernels = FA_KERNELS_REFERENCE; kernels <= (fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE); kernels++) {
        net t = {.base = empty_graph(context), .shape = {BATCH, 2, 2, 1}, .target = {0, 1, 2}};
        builder b = {.seed = 3};
        int32_t x, y, flat;
        ck_assert_int_eq(fa_edit_begin(t.base, &b.e), FA_OK);
        ck_assert_int_eq(fa_edit_value(&b.e, "x", FA_FLOAT32, &x), FA_OK);
        add_norm(&b, (image){x, 2, 2, 1});
        fa_node *n = &b.e.graph->node[b.e.graph->n_node - 1];
        n->attr = fa_arena_array(&b.e.graph->arena, 1, sizeof *n->attr);
        n->attr[0] = (fa_attr){.name = "momentum", .kind = FA_ATTR_FLOAT, .f = 0.75f};
        n->n_attr = 1;
        node(&b, "Flatten", 1, &b.images[0].value, 0, &flat);
        node(&b, "Gemm", 2, (int32_t[]){flat, constant(&b, 2, (int64_t[]){4, CLASSES}, 0, 1)}, 0, &y);
        b.e.graph->input = &x, b.e.graph->output = &y, b.e.graph->n_input = b.e.graph->n_output = 1;
        ck_assert_int_eq(fa_edit_finish(&b.e, &t.graph), FA_OK);
        t.logits = y;
        t.data = malloc(12 * sizeof *t.data);
        fa_normal(5, 1, 0, 12, t.data);
        t.input = (fa_array){.data = t.data, .shape = t.shape, .ndim = 4, .dtype = FA_FLOAT32};
        fa_program *p = varied(&t, kernels, true);
        ck_assert_int_eq(fa_program_statistics_count(p), 4);
        fa_pass *pass = new_pass(&t, p, BATCH, true);
        float gradient[64] = {0}, old[4], s[4];
        fa_program_trained(p, NULL, old);
        memcpy(s, old, sizeof s);
        ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, gradient, NULL, s), FA_OK);
        for (int c = 0; c < 2; c++) {
            double mean = 0, squares = 0;
            for (int i = 0; i < 6; i++) mean += (double)t.data[i / 2 * 4 + c * 2 + i % 2] / 6;
            for (int i = 0; i < 6; i++) squares += pow((double)t.data[i / 2 * 4 + c * 2 + i % 2] - mean, 2);
            ck_assert_double_eq_tol((double)s[c], 0.75 * (double)old[c] + 0.25 * mean, 1e-6);
            ck_assert_double_eq_tol((double)s[2 + c], 0.75 * (double)old[2 + c] + 0.25 * squares / 5, 1e-6);
        }
        /* Evaluation takes the statistics that it is given. */
        float w[64], a[BATCH], before[BATCH];
        fa_program_trained(p, w, NULL);
        fa_pass *evaluate = new_pass(&t, p, BATCH, false);
        losses(&t, evaluate, before);
        fa_pass_set_weights(evaluate, w, s);
        losses(&t, evaluate, a);
        ck_assert(memcmp(a, before, sizeof a) != 0);
        fa_pass_destroy(pass), fa_pass_destroy(evaluate);
        fa_program_destroy(p);
        net_end(&t);
    }
}
END_TEST

static bool only_biggest(void *user, const char *name)
{
    return strcmp(name, user) == 0;
}

/* One parameter alone moves: its gradient is its part of the whole; and a sum over inputs is the sum of single ones, in any order. */
START_TEST(parts_make_the_whole)
{
    for (uint64_t seed = 0; seed < NETWORKS + KINDS; seed++) {
        net t;
        net_begin(&t, seed);
        const int32_t kernels = seed % 2 || !fa_kernels_available() ? FA_KERNELS_REFERENCE : FA_KERNELS_FAST;
        fa_program *all = varied(&t, kernels, false), *one;
        const int64_t n = fa_program_weight_count(all);
        fa_pass *pass = new_pass(&t, all, BATCH, true);
        float *whole = calloc((size_t)n, sizeof *whole), *sum = calloc((size_t)n, sizeof *sum);
        ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, whole, NULL, NULL), FA_OK);
        for (int64_t i = BATCH - 1; i >= 0; i--) ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, &i, 1, &(fa_asked){.own_target = t.target}, 1, sum, NULL, NULL), FA_OK);
        for (int32_t i = 0; i < fa_program_parameter_count(all); i++) {
            const fa_parameter *q = fa_program_parameter(all, i);
            close_to(sum + q->offset, whole + q->offset, q->count, 1e-4, largest_of(whole, n), q->name, seed);
            fa_varied_options o = {.select = only_biggest, .user = (void *)(uintptr_t)q->name};
            ck_assert_int_eq(fa_program_create_varied(t.graph, t.logits, kernels, &o, &one), FA_OK);
            ck_assert_int_eq(fa_program_parameter_count(one), 1);
            ck_assert_int_eq(fa_program_weight_count(one), q->count);
            fa_pass *single = new_pass(&t, one, BATCH, true);
            float *part = calloc((size_t)q->count, sizeof *part);
            ck_assert_int_eq(fa_pass_mean_gradient(single, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, part, NULL, NULL), FA_OK);
            close_to(part, whole + q->offset, q->count, 1e-4, largest_of(whole, n), q->name, seed);
            free(part);
            fa_pass_destroy(single);
            fa_program_destroy(one);
        }
        free(whole), free(sum);
        fa_pass_destroy(pass);
        fa_program_destroy(all);
        net_end(&t);
    }
}
END_TEST

/* What counts as a parameter: 27 of the network with every kind, in the order of its nodes; never a running mean or variance. */
START_TEST(every_kind_is_found)
{
    net t;
    net_begin(&t, NETWORKS);
    fa_program *p = varied(&t, FA_KERNELS_REFERENCE, true);
    ck_assert_int_eq(fa_program_parameter_count(p), 27);
    ck_assert_int_eq(fa_program_statistics_count(p), 2 * (4 + 4 + 8));
    int64_t at = 0;
    for (int32_t i = 0; i < 27; i++) {
        const fa_parameter *q = fa_program_parameter(p, i);
        ck_assert_int_eq(q->offset, at);
        ck_assert_int_eq(q->count % q->rows, 0);
        at += q->count;
    }
    ck_assert_int_eq(fa_program_weight_count(p), at);
    ck_assert_int_eq(fa_program_parameter(p, 0)->count, 4 * 2 * 3 * 3);
    ck_assert_int_eq(fa_program_parameter(p, 0)->rows, 4);
    fa_program_destroy(p);
    net_end(&t);
}
END_TEST

/* The graph with every real initialiser as a Constant node. */
static fa_graph *with_literals(const fa_graph *from)
{
    fa_edit e;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(from, &e), FA_OK);
    for (int32_t v = 0; v < from->n_value; v++) {
        if (!from->value[v].is_initialiser || !fa_dtype_is_real(from->value[v].view.dtype)) continue;
        int32_t n;
        ck_assert_int_eq(fa_edit_node(&e, "literal", "Constant", "", 13, 0, 1, 1, &n), FA_OK);
        e.graph->node[n].out[0] = v;
        e.graph->node[n].attr[0] = (fa_attr){.name = "value", .kind = FA_ATTR_TENSOR, .tensor = from->value[v].view};
        e.graph->value[v].is_initialiser = false;
    }
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    return g;
}

/* Weights in Constant nodes are parameters like those in initialisers: the same in number, and the same gradients. */
START_TEST(constant_nodes_hold_parameters)
{
    net t;
    net_begin(&t, NETWORKS);
    fa_program *p = varied(&t, FA_KERNELS_REFERENCE, true), *q;
    fa_graph *g = with_literals(t.graph);
    ck_assert_msg(fa_program_create_varied(g, t.logits, FA_KERNELS_REFERENCE, &(fa_varied_options){.reestimate = true}, &q) == FA_OK, "%s", fa_error_message());
    const int64_t n = fa_program_weight_count(p);
    ck_assert_int_eq(fa_program_parameter_count(q), fa_program_parameter_count(p));
    ck_assert_int_eq(fa_program_weight_count(q), n);
    ck_assert_int_eq(fa_program_statistics_count(q), fa_program_statistics_count(p));
    fa_pass *a = new_pass(&t, p, BATCH, true), *b = new_pass(&t, q, BATCH, true);
    float *want = calloc((size_t)n, sizeof *want), *got = calloc((size_t)n, sizeof *got);
    ck_assert_int_eq(fa_pass_mean_gradient(a, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, want, NULL, NULL), FA_OK);
    ck_assert_int_eq(fa_pass_mean_gradient(b, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, got, NULL, NULL), FA_OK);
    ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
    free(want), free(got);
    fa_pass_destroy(a), fa_pass_destroy(b);
    fa_program_destroy(p), fa_program_destroy(q);
    fa_graph_destroy(g);
    net_end(&t);
}
END_TEST

#define STEP 0.03125f /* between integers of a weight; a power of two, so that the weight is exact */

/* The graph with its real initialisers in fewer bits by turns: a Cast from another real type (the values do not change), integers behind DequantizeLinear. */
static fa_graph *with_packed(const fa_graph *from)
{
    fa_edit e;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(from, &e), FA_OK);
    for (int32_t v = 0, turn = 0; v < from->n_value; v++) {
        if (!from->value[v].is_initialiser || !fa_dtype_is_real(from->value[v].view.dtype)) continue;
        const fa_view *w = &from->value[v].view;
        const bool integers = turn++ % 2;
        int32_t n, packed, scale;
        void *data;
        ck_assert_int_eq(fa_edit_initialiser(&e, "packed", integers ? FA_INT8 : FA_FLOAT16, w->ndim, w->dim, &packed, &data), FA_OK);
        for (int64_t i = 0; i < w->count; i++) {
            const float q = rintf(((const float *)w->data)[i] / STEP);
            if (integers) ((int64_t *)data)[i] = (int64_t)q;
            else ((float *)data)[i] = q * STEP;
        }
        if (integers) {
            ck_assert_int_eq(fa_edit_initialiser(&e, "step", FA_FLOAT32, 0, NULL, &scale, &data), FA_OK);
            *(float *)data = STEP;
            ck_assert_int_eq(fa_edit_node(&e, "unpack", "DequantizeLinear", "", 13, 2, 1, 0, &n), FA_OK);
            e.graph->node[n].in[1] = scale;
        } else {
            ck_assert_int_eq(fa_edit_node(&e, "unpack", "Cast", "", 13, 1, 1, 1, &n), FA_OK);
            e.graph->node[n].attr[0] = (fa_attr){.name = "to", .kind = FA_ATTR_INT, .i = 1};
        }
        e.graph->node[n].in[0] = packed;
        e.graph->node[n].out[0] = v;
        e.graph->value[v].is_initialiser = false;
    }
    ck_assert_int_eq(fa_edit_finish(&e, &g), FA_OK);
    return g;
}

/* Weights in half precision or in integers are parameters, as many and with the same gradients as if the file held floats. */
START_TEST(packed_weights_are_parameters)
{
    for (uint64_t seed = NETWORKS; seed < NETWORKS + KINDS; seed++) {
        net t;
        net_begin(&t, seed);
        fa_graph *g = with_packed(t.graph);
        fa_program *p = varied(&t, FA_KERNELS_REFERENCE, true), *q;
        ck_assert_msg(fa_program_create_varied(g, t.logits, FA_KERNELS_REFERENCE, &(fa_varied_options){.reestimate = true}, &q) == FA_OK, "%s", fa_error_message());
        const int64_t n = fa_program_weight_count(p);
        ck_assert_int_eq(fa_program_parameter_count(q), fa_program_parameter_count(p));
        ck_assert_int_eq(fa_program_weight_count(q), n);
        for (int32_t i = 0; i < fa_program_parameter_count(p); i++) ck_assert_str_eq(fa_program_parameter(q, i)->name, fa_program_parameter(p, i)->name);
        float *w = calloc((size_t)n, sizeof *w), *running = calloc((size_t)fa_program_statistics_count(p), sizeof *w), *got = calloc((size_t)n, sizeof *got), *want = calloc((size_t)n, sizeof *want);
        fa_program_trained(p, want, running);
        fa_program_trained(q, w, NULL);
        for (int64_t i = 0; i < n; i++) ck_assert_float_eq(w[i], rintf(want[i] / STEP) * STEP);
        fa_pass *a = new_pass(&t, p, BATCH, true), *b = new_pass(&t, q, BATCH, true);
        for (int64_t i = 0; i < n; i++) w[i] += 0.01f * (float)(i % 7 - 3), want[i] = 0;
        ck_assert_int_eq(fa_pass_set_weights(a, w, running), FA_OK);
        ck_assert_int_eq(fa_pass_set_weights(b, w, running), FA_OK);
        ck_assert_int_eq(fa_pass_mean_gradient(a, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, want, NULL, NULL), FA_OK);
        ck_assert_int_eq(fa_pass_mean_gradient(b, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, got, NULL, NULL), FA_OK);
        ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
        free(w), free(running), free(got), free(want);
        fa_pass_destroy(a), fa_pass_destroy(b);
        fa_program_destroy(p), fa_program_destroy(q);
        fa_graph_destroy(g);
        net_end(&t);
    }
}
END_TEST

static bool nothing(void *user, const char *name)
{
    (void)user, (void)name;
    return false;
}

START_TEST(errors_change_nothing)
{
    net t;
    uint64_t seed = 0;
    for (net_begin(&t, seed); !has_norm(&t); net_begin(&t, ++seed)) net_end(&t);
    fa_program *p, *plain;
    fa_pass *pass;
    ck_assert_int_eq(fa_program_create_varied(t.graph, t.logits, FA_KERNELS_REFERENCE, &(fa_varied_options){.select = nothing}, &p), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_program_create(t.graph, t.logits, FA_KERNELS_REFERENCE, &plain), FA_OK);
    fa_pass_request q = {.program = plain, .context = context, .inputs = &t.input, .n_inputs = 1, .batch = BATCH, .gradient = true};
    ck_assert_int_eq(fa_pass_create(&q, &pass), FA_ERR_ARGUMENT);
    p = varied(&t, FA_KERNELS_REFERENCE, true);
    pass = new_pass(&t, p, BATCH, true);
    const int64_t n = fa_program_weight_count(p), s = fa_program_statistics_count(p), far = BATCH, bad[BATCH] = {0, CLASSES, 1}, wrong[BATCH] = {0, far, 1};
    float *g = calloc((size_t)n, sizeof *g), *w = malloc((size_t)(n + s) * sizeof *w), *running = malloc((size_t)s * sizeof *running);
    double loss = 2;
    fa_program_trained(p, w, w + n);
    memcpy(running, w + n, (size_t)s * sizeof *running);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH - 1, &(fa_asked){.own_target = t.target}, 1, g, &loss, running), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH + 1, &(fa_asked){.own_target = t.target}, 1, g, &loss, running), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = bad}, 1, g, &loss, running), FA_ERR_ARGUMENT);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, wrong, BATCH, &(fa_asked){.own_target = t.target}, 1, g, &loss, running), FA_ERR_ARGUMENT);
    const float kept = t.data[4];
    t.data[4] = NAN;
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, g, &loss, running), FA_ERR_NOT_FINITE);
    t.data[4] = kept;
    for (int64_t i = 0; i < n; i++) w[i] = INFINITY;
    fa_pass_set_weights(pass, w, w + n);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, g, &loss, running), FA_ERR_NOT_FINITE);
    for (int64_t i = 0; i < n; i++) ck_assert(g[i] == 0);
    ck_assert(loss == 2);
    ck_assert_mem_eq(running, w + n, (size_t)s * sizeof *running);
    free(g), free(w), free(running);
    fa_pass_destroy(pass);
    pass = new_pass(&t, p, BATCH, false);
    ck_assert_int_eq(fa_pass_mean_gradient(pass, &t.input, NULL, BATCH, &(fa_asked){.own_target = t.target}, 1, NULL, NULL, NULL), FA_ERR_ARGUMENT);
    fa_pass_destroy(pass);
    fa_program_destroy(p);
    fa_program_destroy(plain);
    net_end(&t);
    for (net_begin(&t, seed); has_norm(&t); net_begin(&t, ++seed)) net_end(&t);
    ck_assert_int_eq(fa_program_create_varied(t.graph, t.logits, FA_KERNELS_REFERENCE, &(fa_varied_options){.reestimate = true}, &p), FA_ERR_ARGUMENT);
    net_end(&t);
}
END_TEST

/* Every allocation of making a program and a pass may fail. */
START_TEST(failing_memory_is_survived)
{
    for (uint64_t seed = 0; seed <= NETWORKS; seed += NETWORKS / 2)
        for (int32_t kernels = FA_KERNELS_REFERENCE; kernels <= (fa_kernels_available() ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE); kernels++) {
            net t;
            net_begin(&t, seed);
            const fa_varied_options o = {.reestimate = has_norm(&t)};
            const uint64_t held = fa_context_memory_used(context);
            fa_status status = FA_ERR_MEMORY;
            for (long k = 0; status != FA_OK; k++) {
                fa_program *p = NULL;
                fa_pass *pass = NULL;
                memory.calls = 0;
                memory.fail_at = k;
                status = fa_program_create_varied(t.graph, t.logits, kernels, &o, &p);
                if (status == FA_OK) {
                    const fa_pass_request q = {.program = p, .context = context, .inputs = &t.input, .n_inputs = 1, .batch = BATCH, .gradient = true};
                    status = fa_pass_create(&q, &pass);
                    if (status == FA_OK) fa_pass_destroy(pass);
                    fa_program_destroy(p);
                }
                ck_assert_msg(status == FA_OK || status == FA_ERR_MEMORY, "allocation %ld: %s", k, fa_error_message());
                ck_assert_uint_eq(fa_context_memory_used(context), held);
            }
            memory.fail_at = -1;
            net_end(&t);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("varied programs");
    TCase *t = tcase_create("varied");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 200);
    tcase_add_test(t, losses_are_a_plain_programs);
    tcase_add_test(t, gradients_are_true);
    tcase_add_test(t, gradients_through_batch_statistics_are_true);
    tcase_add_test(t, running_statistics_move_as_documented);
    tcase_add_test(t, every_kind_is_found);
    tcase_add_test(t, constant_nodes_hold_parameters);
    tcase_add_test(t, packed_weights_are_parameters);
    tcase_add_test(t, parts_make_the_whole);
    tcase_add_test(t, errors_change_nothing);
    tcase_add_test(t, failing_memory_is_survived);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
