/* SPDX-License-Identifier: Apache-2.0 */
/* The fast kernels against the reference on random networks: what comes out, and what every layer's tap sees. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/pass.h"
#include "base/rng.h"
#include "graph/edit.h"
#include "kernels/kernels.h"
#include "kernels/normal.h"

#define CLASSES 5
#define BATCH 3

static fa_context *context;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* A network under construction: images [n, c, h, w] that later nodes may take. */
typedef struct image {
    int32_t value;
    int64_t c, h, w;
} image;

typedef struct builder {
    fa_edit e;
    uint64_t seed, drawn;
    image images[64];
    int count, nodes;
} builder;

static int64_t pick(builder *b, int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(b->seed, b->drawn++, 1, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

static int32_t constant(builder *b, int32_t ndim, const int64_t *dim, float mean, float spread)
{
    int32_t value;
    void *data;
    ck_assert_int_eq(fa_edit_initialiser(&b->e, "w", FA_FLOAT32, ndim, dim, &value, &data), FA_OK);
    int64_t n = 1;
    for (int32_t i = 0; i < ndim; i++) n *= dim[i];
    fa_normal(b->seed, b->drawn++, 0, n, data);
    for (int64_t i = 0; i < n; i++) ((float *)data)[i] = mean + spread * ((float *)data)[i];
    return value;
}

static fa_node *node(builder *b, const char *op, int32_t n_in, const int32_t *in, int32_t n_attr, int32_t *out)
{
    char name[32];
    int32_t index;
    snprintf(name, sizeof name, "%s%d", op, b->nodes++);
    ck_assert_int_eq(fa_edit_value(&b->e, name, FA_FLOAT32, out), FA_OK);
    ck_assert_int_eq(fa_edit_node(&b->e, name, op, "", 13, n_in, 1, n_attr, &index), FA_OK);
    fa_node *made = &b->e.graph->node[index];
    memcpy(made->in, in, (size_t)n_in * sizeof *in);
    made->out[0] = *out;
    return made;
}

static void set_ints(builder *b, fa_node *n, int32_t i, const char *name, int32_t count, const int64_t *v)
{
    int64_t *own = fa_arena_array(&b->e.graph->arena, (size_t)count, sizeof *own);
    memcpy(own, v, (size_t)count * sizeof *own);
    n->attr[i] = (fa_attr){.name = name, .kind = FA_ATTR_INTS, .count = count, .ints = own};
}

static void set_int(fa_node *n, int32_t i, const char *name, int64_t v)
{
    n->attr[i] = (fa_attr){.name = name, .kind = FA_ATTR_INT, .i = v};
}

static void push(builder *b, int32_t value, int64_t c, int64_t h, int64_t w)
{
    b->images[b->count++] = (image){value, c, h, w};
}

static void add_conv(builder *b, image x, bool same)
{
    int64_t groups = 1, out = pick(b, 1, pick(b, 0, 1) ? 6 : 18);
    if (!same && x.c > 1 && pick(b, 0, 5) == 0) groups = out = x.c;
    else if (!same && x.c % 2 == 0 && pick(b, 0, 5) == 0) groups = 2, out = 2 * pick(b, 1, 5);
    if (same) out = x.c;
    const int64_t k[2] = {same ? 3 : pick(b, 1, 4), same ? 3 : pick(b, 1, 4)}, s[2] = {same ? 1 : pick(b, 1, 2), same ? 1 : pick(b, 1, 2)};
    const int64_t d[2] = {same ? 1 : pick(b, 1, 2), 1};
    int64_t p[4];
    for (int i = 0; i < 4; i++) p[i] = same ? 1 : pick(b, 0, 2);
    const int64_t rows = x.h + p[0] + p[2] - (k[0] - 1) * d[0] - 1, columns = x.w + p[1] + p[3] - (k[1] - 1) * d[1] - 1;
    if (rows < 0 || columns < 0) return;
    const int64_t dim[] = {out, x.c / groups, k[0], k[1]};
    const int32_t w = constant(b, 4, dim, 0, 1.0f / sqrtf((float)(dim[1] * k[0] * k[1]))), bias = pick(b, 0, 1) ? constant(b, 1, &out, 0, 0.3f) : -1;
    int32_t y;
    fa_node *n = node(b, "Conv", 3, (int32_t[]){x.value, w, bias}, 4, &y);
    set_int(n, 0, "group", groups);
    set_ints(b, n, 1, "strides", 2, s);
    set_ints(b, n, 2, "dilations", 2, d);
    set_ints(b, n, 3, "pads", 4, p);
    push(b, y, out, rows / s[0] + 1, columns / s[1] + 1);
}

static void add_norm(builder *b, image x)
{
    const int32_t s = constant(b, 1, &x.c, 1, 0.2f), t = constant(b, 1, &x.c, 0, 0.2f), m = constant(b, 1, &x.c, 0, 0.2f), v = constant(b, 1, &x.c, 2, 0.1f);
    int32_t y;
    node(b, "BatchNormalization", 5, (int32_t[]){x.value, s, t, m, v}, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static void add_unary(builder *b, image x)
{
    static const char *const ops[] = {"Relu", "Relu", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Identity", "HardSigmoid", "Softplus"};
    int32_t y;
    node(b, ops[pick(b, 0, 8)], 1, &x.value, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static void add_pool(builder *b, image x)
{
    const bool max = pick(b, 0, 1), up = pick(b, 0, 2) == 0;
    const int64_t k[2] = {pick(b, 1, 3), pick(b, 1, 3)}, s[2] = {pick(b, 1, 2), pick(b, 1, 2)};
    const int64_t p[4] = {pick(b, 0, k[0] - 1), pick(b, 0, k[1] - 1), pick(b, 0, k[0] - 1), pick(b, 0, k[1] - 1)};
    const int64_t rows = x.h + p[0] + p[2] - k[0], columns = x.w + p[1] + p[3] - k[1];
    int64_t oh = rows / s[0] + 1, ow = columns / s[1] + 1;
    if (rows < 0 || columns < 0) return;
    if (up && rows % s[0] && oh * s[0] < x.h + p[0]) oh++;
    if (up && columns % s[1] && ow * s[1] < x.w + p[1]) ow++;
    int32_t y;
    fa_node *n = node(b, max ? "MaxPool" : "AveragePool", 1, &x.value, max ? 4 : 5, &y);
    set_ints(b, n, 0, "kernel_shape", 2, k);
    set_ints(b, n, 1, "strides", 2, s);
    set_ints(b, n, 2, "pads", 4, p);
    set_int(n, 3, "ceil_mode", up);
    if (!max) set_int(n, 4, "count_include_pad", pick(b, 0, 1));
    push(b, y, x.c, oh, ow);
}

/* Two images of one shape, an image and a constant per channel, or an image and one pixel of it. */
static void add_pair(builder *b, image x)
{
    static const char *const ops[] = {"Add", "Add", "Add", "Mul", "Sub"};
    int32_t other = -1, y;
    for (int i = 0; i < b->count; i++)
        if (b->images[i].c == x.c && b->images[i].h == x.h && b->images[i].w == x.w && b->images[i].value != x.value && pick(b, 0, 1)) other = b->images[i].value;
    if (other < 0) other = pick(b, 0, 2) ? constant(b, 3, (int64_t[]){x.c, 1, 1}, 1, 0.3f) : constant(b, 1, (int64_t[]){1}, 1, 0.3f);
    const bool swap = pick(b, 0, 1);
    node(b, ops[pick(b, 0, 4)], 2, swap ? (int32_t[]){other, x.value} : (int32_t[]){x.value, other}, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static void add_squeeze(builder *b, image x)
{
    int32_t pooled, gate, y;
    node(b, pick(b, 0, 1) ? "GlobalAveragePool" : "GlobalMaxPool", 1, &x.value, 0, &pooled);
    const int32_t w = constant(b, 4, (int64_t[]){x.c, x.c, 1, 1}, 0, 0.3f);
    int32_t mixed;
    node(b, "Conv", 2, (int32_t[]){pooled, w}, 0, &mixed);
    node(b, "Sigmoid", 1, &mixed, 0, &gate);
    node(b, "Mul", 2, (int32_t[]){x.value, gate}, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static void add_concat(builder *b, image x)
{
    for (int i = b->count - 1; i >= 0; i--) {
        const image o = b->images[i];
        if (o.value == x.value || o.h != x.h || o.w != x.w || o.c + x.c > 40) continue;
        int32_t y;
        fa_node *n = node(b, "Concat", 2, (int32_t[]){x.value, o.value}, 1, &y);
        set_int(n, 0, "axis", 1);
        push(b, y, x.c + o.c, x.h, x.w);
        return;
    }
}

/* Conv, norm, Relu, Conv, norm, + input, Relu: what the joins are made for. */
static void add_block(builder *b, image x)
{
    int32_t sum, y;
    add_conv(b, x, true);
    add_norm(b, b->images[b->count - 1]);
    image i = b->images[b->count - 1];
    node(b, "Relu", 1, &i.value, 0, &y);
    i.value = y;
    add_conv(b, i, true);
    add_norm(b, b->images[b->count - 1]);
    node(b, "Add", 2, (int32_t[]){b->images[b->count - 1].value, x.value}, 0, &sum);
    node(b, "Relu", 1, &sum, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static int32_t finish(builder *b, image x)
{
    int32_t flat, y, features = (int32_t)x.c;
    switch (pick(b, 0, 3)) {
    case 0: {
        fa_node *n = node(b, "ReduceMean", 1, &x.value, 2, &flat);
        set_ints(b, n, 0, "axes", 2, (int64_t[]){2, 3});
        set_int(n, 1, "keepdims", 0);
        break;
    }
    case 1: {
        int32_t pooled;
        node(b, "GlobalAveragePool", 1, &x.value, 0, &pooled);
        node(b, "Flatten", 1, &pooled, 0, &flat);
        break;
    }
    default:
        node(b, "Flatten", 1, &x.value, 0, &flat);
        features = (int32_t)(x.c * x.h * x.w);
    }
    const float spread = 1.0f / sqrtf((float)features);
    const int64_t hidden = 23, rows[] = {features, hidden}, last[] = {CLASSES, hidden}, classes = CLASSES;
    int32_t product, biased, active;
    node(b, "MatMul", 2, (int32_t[]){flat, constant(b, 2, rows, 0, spread)}, 0, &product);
    node(b, "Add", 2, (int32_t[]){product, constant(b, 1, &hidden, 0, 0.3f)}, 0, &biased);
    node(b, "Relu", 1, &biased, 0, &active);
    fa_node *n = node(b, "Gemm", 3, (int32_t[]){active, constant(b, 2, last, 0, 0.3f), constant(b, 1, &classes, 0, 0.3f)}, 3, &y);
    set_int(n, 0, "transB", 1);
    n->attr[1] = (fa_attr){.name = "alpha", .kind = FA_ATTR_FLOAT, .f = 0.75f};
    n->attr[2] = (fa_attr){.name = "beta", .kind = FA_ATTR_FLOAT, .f = 1.25f};
    return y;
}

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

static fa_graph *random_network(const fa_graph *base, uint64_t seed, int64_t shape[4], int32_t *logits)
{
    builder b = {.seed = seed};
    int32_t x;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(base, &b.e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&b.e, "x", FA_FLOAT32, &x), FA_OK);
    shape[0] = BATCH;
    shape[1] = pick(&b, 0, 1) ? 1 : 3;
    shape[2] = pick(&b, 6, 14);
    shape[3] = pick(&b, 6, 14);
    push(&b, x, shape[1], shape[2], shape[3]);
    add_conv(&b, b.images[0], false);
    const int64_t steps = pick(&b, 2, 9);
    for (int64_t i = 0; i < steps && b.count < 50; i++) {
        const image from = b.images[pick(&b, 0, 3) ? b.count - 1 : pick(&b, 0, b.count - 1)];
        switch (pick(&b, 0, 9)) {
        case 0: case 1: add_conv(&b, from, false); break;
        case 2: add_norm(&b, from); break;
        case 3: add_unary(&b, from); break;
        case 4: add_pool(&b, from); break;
        case 5: add_pair(&b, from); break;
        case 6: add_squeeze(&b, from); break;
        case 7: add_concat(&b, from); break;
        default: add_block(&b, from);
        }
    }
    *logits = finish(&b, b.images[b.count - 1]);
    b.e.graph->input = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->output = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->input[0] = x;
    b.e.graph->output[0] = *logits;
    b.e.graph->n_input = b.e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&b.e, &g), FA_OK);
    return g;
}

/* What one backend says of a network, in an order that does not depend on its layouts. */
typedef struct layer_record {
    bool seen;
    float *a, *d, *A, *G, *blocks;
    int64_t n_a, n_d, n_A, n_G, n_blocks;
} layer_record;

typedef struct record {
    const fa_program *program;
    int32_t layers, channels_last; /* channels_last: taps of images laid out so */
    layer_record layer[64];
    float loss[BATCH];
    int64_t predicted[BATCH];
} record;

#define K_IN 7
#define K_OUT 5

static float *copy(const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t sn, int64_t sc, int64_t sh, int64_t sw, int64_t *count)
{
    float *to = malloc((size_t)(*count = n * c * h * w) * sizeof *to), *at = to;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t y = 0; y < h; y++)
                for (int64_t x = 0; x < w; x++) *at++ = from[i * sn + j * sc + y * sh + x * sw];
    return to;
}

static void visit(void *user, const fa_tap *t)
{
    record *r = user;
    layer_record *l = &r->layer[t->layer];
    const fa_layer *about = fa_program_layer(r->program, t->layer);
    const fa_tap_ops *ops = fa_program_tap_ops(r->program);
    l->seen = true;
    r->channels_last += t->h * t->w > 1 && t->a_c == 1 && t->c > 1;
    l->a = copy(t->a, t->n, t->c, t->h, t->w, t->a_n, t->a_c, t->a_h, t->a_w, &l->n_a);
    l->d = copy(t->d, t->n, t->out, t->oh, t->ow, t->d_n, t->d_c, t->d_h, t->d_w, &l->n_d);
    l->n_A = about->in * about->in, l->n_G = about->out * about->out, l->n_blocks = t->n * K_IN * K_OUT;
    l->A = calloc((size_t)l->n_A, sizeof(float)), l->G = calloc((size_t)l->n_G, sizeof(float)), l->blocks = calloc((size_t)l->n_blocks, sizeof(float));
    float *p_in = malloc((size_t)(about->in * K_IN) * sizeof *p_in), *p_out = malloc((size_t)(about->out * K_OUT) * sizeof *p_out);
    fa_normal(3, 1, 0, about->in * K_IN, p_in);
    fa_normal(3, 2, 0, about->out * K_OUT, p_out);
    void *scratch = fa_new(context, ops->scratch(t, K_IN, K_OUT)), *packed = fa_new(context, ops->packed_size(t, K_IN, K_OUT));
    ops->moments(t, l->A, l->G, scratch);
    ops->pack(t, p_in, K_IN, p_out, K_OUT, packed);
    ops->blocks(t, packed, K_IN, K_OUT, l->blocks, K_IN * K_OUT, scratch);
    for (int64_t i = 0; i < about->in; i++)
        for (int64_t j = i + 1; j < about->in; j++) l->A[i * about->in + j] = 0;
    for (int64_t i = 0; i < about->out; i++)
        for (int64_t j = i + 1; j < about->out; j++) l->G[i * about->out + j] = 0;
    fa_delete(context, scratch);
    fa_delete(context, packed);
    free(p_in), free(p_out);
}

static void run(const fa_graph *g, int32_t logits, int32_t kernels, const int64_t shape[4], const float *data, int64_t n, record *r)
{
    fa_program *program;
    fa_pass *pass;
    bool tapped[64];
    memset(r, 0, sizeof *r);
    ck_assert_msg(fa_program_create(g, logits, kernels, &program) == FA_OK, "%s", fa_error_message());
    r->program = program;
    r->layers = fa_program_layer_count(program);
    ck_assert_int_le(r->layers, 64);
    memset(tapped, 1, sizeof tapped);
    const fa_array input = {.data = data, .shape = shape, .ndim = 4, .dtype = FA_FLOAT32};
    const fa_pass_request q = {.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .tapped = tapped};
    ck_assert_msg(fa_pass_create(&q, &pass) == FA_OK, "%s", fa_error_message());
    for (int repeat = 0; repeat < 2; repeat++) { /* the second time, the arena is dirty */
        const fa_pass_outputs out = {.predicted = r->predicted, .loss = r->loss};
        ck_assert_msg(fa_pass_forward(pass, &input, 0, n, NULL, &out) == FA_OK, "%s", fa_error_message());
        for (int32_t l = 0; l < r->layers && repeat; l++) free(r->layer[l].a), free(r->layer[l].d), free(r->layer[l].A), free(r->layer[l].G), free(r->layer[l].blocks);
        fa_pass_backward(pass, visit, r);
    }
    fa_pass_destroy(pass);
    fa_program_destroy(program);
}

static void compare(const float *got, const float *want, int64_t n, double tolerance, const char *what, uint64_t seed, int32_t layer)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs((double)want[i]) > largest) largest = fabs((double)want[i]);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - (double)want[i]) <= tolerance * (largest + 1e-6), "network %d, layer %d, %s[%lld]: %.8g where the reference has %.8g (largest %.3g)",
                      (int)seed, layer, what, (long long)i, (double)got[i], (double)want[i], largest);
}

static void release(record *r)
{
    for (int32_t l = 0; l < r->layers; l++) free(r->layer[l].a), free(r->layer[l].d), free(r->layer[l].A), free(r->layer[l].G), free(r->layer[l].blocks);
}

START_TEST(fast_equals_reference)
{
    if (!fa_kernels_available()) return; /* nothing to compare */
    int seen = 0, fast = 0;
    for (uint64_t seed = 0; seed < 45; seed++) {
        fa_graph *base = empty_graph();
        int64_t shape[4];
        int32_t logits;
        fa_graph *g = random_network(base, seed, shape, &logits);
        const int64_t count = shape[0] * shape[1] * shape[2] * shape[3], n = seed % 4 ? BATCH : 1;
        float *data = malloc((size_t)count * sizeof *data);
        fa_normal(5, seed, 0, count, data);
        record *want = malloc(sizeof *want), *got = malloc(sizeof *got);
        run(g, logits, FA_KERNELS_REFERENCE, shape, data, n, want);
        run(g, logits, FA_KERNELS_FAST, shape, data, n, got);
        ck_assert_int_eq(want->layers, got->layers);
        for (int64_t i = 0; i < n; i++) ck_assert_msg(fabsf(got->loss[i] - want->loss[i]) <= 1e-4f * (1 + want->loss[i]), "network %d: loss", (int)seed);
        for (int32_t l = 0; l < want->layers; l++) {
            const layer_record *a = &got->layer[l], *b = &want->layer[l];
            ck_assert_int_eq(a->seen, b->seen);
            if (!b->seen) continue;
            ck_assert_int_eq(a->n_a, b->n_a);
            ck_assert_int_eq(a->n_d, b->n_d);
            compare(a->a, b->a, b->n_a, 1e-4, "input", seed, l);
            compare(a->d, b->d, b->n_d, 1e-4, "gradient", seed, l);
            compare(a->A, b->A, b->n_A, 1e-4, "A", seed, l);
            compare(a->G, b->G, b->n_G, 2e-4, "G", seed, l);
            compare(a->blocks, b->blocks, b->n_blocks, 2e-4, "block", seed, l);
            seen++;
        }
        fast += got->channels_last;
        ck_assert_int_eq(want->channels_last, 0);
        release(want), release(got);
        free(want), free(got), free(data);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_int_gt(seen, 150);
    ck_assert_int_gt(fast, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backend agreement");
    TCase *t = tcase_create("agreement");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_test(t, fast_equals_reference);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
