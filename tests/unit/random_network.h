/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_RANDOM_NETWORK_H
#define FA_TESTS_RANDOM_NETWORK_H

/* Seeded networks of convolutions, normalisations, pools, joins and a head, for what has to hold of any network. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/normal.h"
#include "graph/edit.h"

#define CLASSES 5
#define BATCH 3
#define WIDER_FROM 45 /* networks from this number on have images padded by their size, and enlarged ones, too */

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

static inline int64_t pick(builder *b, int64_t low, int64_t high)
{
    uint32_t r[4];
    fa_philox(b->seed, b->drawn++, 1, r);
    return low + (int64_t)(r[0] % (uint32_t)(high - low + 1));
}

static inline int32_t constant(builder *b, int32_t ndim, const int64_t *dim, float mean, float spread)
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

static inline fa_node *node(builder *b, const char *op, int32_t n_in, const int32_t *in, int32_t n_attr, int32_t *out)
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

static inline void set_ints(builder *b, fa_node *n, int32_t i, const char *name, int32_t count, const int64_t *v)
{
    int64_t *own = fa_arena_array(&b->e.graph->arena, (size_t)count, sizeof *own);
    memcpy(own, v, (size_t)count * sizeof *own);
    n->attr[i] = (fa_attr){.name = name, .kind = FA_ATTR_INTS, .count = count, .ints = own};
}

static inline void set_int(fa_node *n, int32_t i, const char *name, int64_t v)
{
    n->attr[i] = (fa_attr){.name = name, .kind = FA_ATTR_INT, .i = v};
}

static inline void push(builder *b, int32_t value, int64_t c, int64_t h, int64_t w)
{
    b->images[b->count++] = (image){value, c, h, w};
}

static inline void add_conv(builder *b, image x, bool same)
{
    int64_t groups = 1, out = pick(b, 1, pick(b, 0, 1) ? 6 : 18);
    if (!same && x.c > 1 && pick(b, 0, 5) == 0) groups = out = x.c;
    else if (!same && x.c % 2 == 0 && pick(b, 0, 5) == 0) groups = 2, out = 2 * pick(b, 1, 5);
    if (same) out = x.c;
    const int64_t k[2] = {same ? 3 : pick(b, 1, 4), same ? 3 : pick(b, 1, 4)}, s[2] = {same ? 1 : pick(b, 1, 2), same ? 1 : pick(b, 1, 2)};
    const int64_t d[2] = {same ? 1 : pick(b, 1, 2), 1};
    int64_t p[4];
    const char *const mode = !same && b->seed >= WIDER_FROM && pick(b, 0, 1) ? pick(b, 0, 1) ? "SAME_UPPER" : "SAME_LOWER" : "NOTSET";
    for (int i = 0; i < 4; i++) p[i] = same ? 1 : pick(b, 0, 2);
    for (int i = 0; i < 2 && mode[0] == 'S'; i++) {
        const int64_t in = i ? x.w : x.h, total = ((in + s[i] - 1) / s[i] - 1) * s[i] + (k[i] - 1) * d[i] + 1 - in;
        p[i] = total > 0 ? total / 2 : 0; /* the file does not say these */
        p[i + 2] = total > 0 ? total - total / 2 : 0;
    }
    const int64_t rows = x.h + p[0] + p[2] - (k[0] - 1) * d[0] - 1, columns = x.w + p[1] + p[3] - (k[1] - 1) * d[1] - 1;
    if (rows < 0 || columns < 0) return;
    const int64_t dim[] = {out, x.c / groups, k[0], k[1]};
    const int32_t w = constant(b, 4, dim, 0, 1.0f / sqrtf((float)(dim[1] * k[0] * k[1]))), bias = pick(b, 0, 1) ? constant(b, 1, &out, 0, 0.3f) : -1;
    int32_t y;
    fa_node *n = node(b, "Conv", 3, (int32_t[]){x.value, w, bias}, 4, &y);
    set_int(n, 0, "group", groups);
    set_ints(b, n, 1, "strides", 2, s);
    set_ints(b, n, 2, "dilations", 2, d);
    if (mode[0] == 'S') n->attr[3] = (fa_attr){.name = "auto_pad", .kind = FA_ATTR_STRING, .s = mode, .count = 10};
    else set_ints(b, n, 3, "pads", 4, p);
    push(b, y, out, rows / s[0] + 1, columns / s[1] + 1);
}

static inline void add_norm(builder *b, image x)
{
    const int32_t s = constant(b, 1, &x.c, 1, 0.2f), t = constant(b, 1, &x.c, 0, 0.2f), m = constant(b, 1, &x.c, 0, 0.2f), v = constant(b, 1, &x.c, 2, 0.1f);
    int32_t y;
    node(b, "BatchNormalization", 5, (int32_t[]){x.value, s, t, m, v}, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static inline void add_unary(builder *b, image x)
{
    static const char *const ops[] = {"Relu", "Relu", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Identity", "HardSigmoid", "Softplus"};
    int32_t y;
    node(b, ops[pick(b, 0, 8)], 1, &x.value, 0, &y);
    push(b, y, x.c, x.h, x.w);
}

static inline void add_pool(builder *b, image x)
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
static inline void add_pair(builder *b, image x)
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

static inline void add_squeeze(builder *b, image x)
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

static inline void add_concat(builder *b, image x)
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

/* By whole numbers, which repeats pixels in the first three ways to say it. */
static inline void add_resize(builder *b, image x)
{
    static const char *const modes[][2] = {{"asymmetric", "floor"}, {"half_pixel", "round_prefer_floor"}, {"tf_half_pixel_for_nn", "floor"}, {"asymmetric", "round_prefer_ceil"}};
    const int64_t four = 4, down = pick(b, 1, 3), right = pick(b, 1, 3), mode = pick(b, 0, 3);
    int32_t scales, y;
    void *data;
    if (x.h * down > 16 || x.w * right > 16) return;
    ck_assert_int_eq(fa_edit_initialiser(&b->e, "scales", FA_FLOAT32, 1, &four, &scales, &data), FA_OK);
    memcpy(data, (float[]){1, 1, (float)down, (float)right}, 4 * sizeof(float));
    fa_node *n = node(b, "Resize", 3, (int32_t[]){x.value, -1, scales}, 3, &y);
    n->attr[0] = (fa_attr){.name = "mode", .kind = FA_ATTR_STRING, .s = "nearest", .count = 7};
    n->attr[1] = (fa_attr){.name = "coordinate_transformation_mode", .kind = FA_ATTR_STRING, .s = modes[mode][0], .count = (int64_t)strlen(modes[mode][0])};
    n->attr[2] = (fa_attr){.name = "nearest_mode", .kind = FA_ATTR_STRING, .s = modes[mode][1], .count = (int64_t)strlen(modes[mode][1])};
    push(b, y, x.c, x.h * down, x.w * right);
}

/* Conv, norm, Relu, Conv, norm, + input, Relu: what the joins are made for. */
static inline void add_block(builder *b, image x)
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

static inline int32_t finish(builder *b, image x)
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

static inline fa_graph *empty_graph(fa_context *owner)
{
    fa_graph *g = fa_new(owner, sizeof *g);
    g->arena.context = owner;
    g->value = fa_arena_array(&g->arena, 1, sizeof *g->value);
    g->node = fa_arena_array(&g->arena, 1, sizeof *g->node);
    g->producer = "";
    g->opset = 13;
    return g;
}

static inline fa_graph *random_network(const fa_graph *base, uint64_t seed, int64_t shape[4], int32_t *logits)
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
        case 7:
            if (seed >= WIDER_FROM) add_resize(&b, from);
            else add_concat(&b, from);
            break;
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

#endif
