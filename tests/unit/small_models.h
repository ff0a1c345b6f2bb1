/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_SMALL_MODELS_H
#define TEST_SMALL_MODELS_H


#include "kernels/normal.h"
#include <check.h>
#include <fattr/fattr.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ONNX models written on the spot: as much of protocol buffers as that takes. */

#define OK(call) ck_assert_msg((call) == FA_OK, "%s: %s", #call, fa_error_message())
#define FAILS(call, status, words)                                                                                                                       \
    do {                                                                                                                                                 \
        fa_status got_ = (call);                                                                                                                         \
        ck_assert_msg(got_ == (status), "%s gave %s, not %s: %s", #call, fa_status_name(got_), fa_status_name(status), fa_error_message());              \
        ck_assert_msg(strstr(fa_error_message(), words) != NULL, "'%s' does not say '%s'", fa_error_message(), words);                                    \
    } while (0)

typedef struct bytes {
    unsigned char *data;
    size_t n, room;
} bytes;

static inline void put(bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n);
        b->data = realloc(b->data, b->room);
        ck_assert_ptr_nonnull(b->data);
    }
    if (n) memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void put_varint(bytes *b, uint64_t v)
{
    for (unsigned char c = 0x80; c & 0x80; v >>= 7) {
        c = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        put(b, &c, 1);
    }
}

static inline void put_int(bytes *b, int field, int64_t v)
{
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, (uint64_t)v);
}

static inline void put_block(bytes *b, int field, const void *data, size_t n)
{
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    put(b, data, n);
}

static inline void put_text(bytes *b, int field, const char *text)
{
    put_block(b, field, text, strlen(text));
}

/* `part` is used up. */
static inline void put_part(bytes *b, int field, bytes *part)
{
    put_block(b, field, part->data, part->n);
    free(part->data);
    *part = (bytes){0};
}

typedef struct net {
    bytes graph;
    uint64_t stream; /* of the next weight's numbers */
} net;

/* An input (field 11) or output (12); dimension -1 is open. */
static inline void net_typed_value(net *g, int field, const char *name, int32_t dtype, int ndim, const int64_t *dim)
{
    bytes shape = {0}, tensor = {0}, type = {0}, value = {0};
    for (int i = 0; i < ndim; i++) {
        bytes d = {0};
        if (dim[i] < 0) put_text(&d, 2, "n");
        else put_int(&d, 1, dim[i]);
        put_part(&shape, 1, &d);
    }
    put_int(&tensor, 1, dtype);
    put_part(&tensor, 2, &shape);
    put_part(&type, 1, &tensor);
    put_text(&value, 1, name);
    put_part(&value, 2, &type);
    put_part(&g->graph, field, &value);
}

static inline void net_input(net *g, const char *name, int ndim, const int64_t *dim)
{
    net_typed_value(g, 11, name, FA_FLOAT32, ndim, dim);
}

/* Tokens [n, length]. */
static inline void net_tokens(net *g, const char *name, int64_t length)
{
    net_typed_value(g, 11, name, FA_INT64, 2, (int64_t[]){-1, length});
}

static inline void net_output(net *g, const char *name, int64_t classes)
{
    net_typed_value(g, 12, name, FA_FLOAT32, 2, (int64_t[]){-1, classes});
}

/* Seeded normal numbers times `scale`, [rows, columns], or [rows] for columns 0. */
static inline void net_weight(net *g, const char *name, int64_t rows, int64_t columns, float scale)
{
    int64_t n = rows * (columns ? columns : 1);
    float *w = malloc((size_t)n * sizeof *w);
    ck_assert_ptr_nonnull(w);
    fa_normal(77, g->stream++, 0, n, w);
    for (int64_t i = 0; i < n; i++) w[i] *= scale;
    bytes t = {0};
    put_int(&t, 1, rows);
    if (columns) put_int(&t, 1, columns);
    put_int(&t, 2, FA_FLOAT32);
    put_text(&t, 8, name);
    put_block(&t, 9, w, (size_t)n * sizeof *w);
    put_part(&g->graph, 5, &t);
    free(w);
}

/* A node called after its output, without attributes; up to three inputs. */
static inline void net_node(net *g, const char *op, const char *a, const char *b, const char *c, const char *out)
{
    bytes n = {0};
    put_text(&n, 1, a);
    if (b) put_text(&n, 1, b);
    if (c) put_text(&n, 1, c);
    put_text(&n, 2, out);
    put_text(&n, 3, out);
    put_text(&n, 4, op);
    put_part(&g->graph, 1, &n);
}

/* The file; its `data` is the caller's to free. */
static inline bytes net_file(net *g)
{
    bytes model = {0}, set = {0};
    put_int(&model, 1, 8);
    put_int(&set, 2, 13);
    put_part(&model, 8, &set);
    put_part(&model, 7, &g->graph);
    return model;
}

static inline fa_status net_load(net *g, fa_context *context, fa_model **out)
{
    bytes model = net_file(g);
    fa_status status = fa_model_load_memory(context, model.data, model.n, NULL, out);
    free(model.data);
    return status;
}

/* x [n, 6] -> 8 -> 8 (twice with one weight) -> 4, ReLU between, biases on demand. */
static inline fa_model *mlp(fa_context *context, bool biased)
{
    net g = {0};
    fa_model *m;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w1", 6, 8, 0.5f);
    net_weight(&g, "w2", 8, 8, 0.4f);
    net_weight(&g, "w3", 8, 4, 0.5f);
    net_weight(&g, "b1", 8, 0, 0.2f);
    net_weight(&g, "b3", 4, 0, 0.2f);
    net_node(&g, "Gemm", "x", "w1", biased ? "b1" : NULL, "fc1");
    net_node(&g, "Relu", "fc1", NULL, NULL, "r1");
    net_node(&g, "Gemm", "r1", "w2", NULL, "shared_a");
    net_node(&g, "Relu", "shared_a", NULL, NULL, "r2");
    net_node(&g, "Gemm", "r2", "w2", NULL, "shared_b");
    net_node(&g, "Relu", "shared_b", NULL, NULL, "r3");
    net_node(&g, "Gemm", "r3", "w3", biased ? "b3" : NULL, "fc3");
    net_output(&g, "fc3", 4);
    OK(net_load(&g, context, &m));
    return m;
}

/* `n` inputs of `width` seeded normal numbers. */
static inline float *normal_rows(int64_t n, int64_t width, uint64_t stream)
{
    float *x = malloc((size_t)(n * width) * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(78, stream, 0, n * width, x);
    return x;
}

static inline fa_refset *normal_set(fa_context *context, int64_t n, int64_t width, uint64_t stream)
{
    float *x = normal_rows(n, width, stream);
    fa_refset *set;
    OK(fa_refset_create(context, &(fa_array){.data = x, .shape = (int64_t[]){n, width}, .ndim = 2, .dtype = FA_FLOAT32}, 1, NULL, &set));
    free(x);
    return set;
}

#endif
