/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_ONNX_MESSAGE_H
#define TEST_ONNX_MESSAGE_H

#include "base/context.h"
#include "onnx/onnx.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A protocol buffer message under construction, field by field. */
typedef struct msg {
    size_t n;
    uint8_t data[3000];
} msg;

static inline void put_raw(msg *m, const void *data, size_t n)
{
    ck_assert_uint_le(n, sizeof m->data - m->n);
    if (n) memcpy(m->data + m->n, data, n);
    m->n += n;
}

static inline void put_varint(msg *m, uint64_t v)
{
    uint8_t b;
    do {
        b = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        put_raw(m, &b, 1);
        v >>= 7;
    } while (v);
}

static inline void put_int(msg *m, int field, int64_t v)
{
    put_varint(m, (uint64_t)field << 3);
    put_varint(m, (uint64_t)v);
}

static inline void put_bytes(msg *m, int field, const void *data, size_t n)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, n);
    put_raw(m, data, n);
}

static inline void put_text(msg *m, int field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static inline void put_msg(msg *m, int field, const msg *part)
{
    put_bytes(m, field, part->data, part->n);
}

/* TensorProto: name, element type, shape; data is put by the caller. */
static inline msg tensor(const char *name, int dtype, int ndim, const int64_t *dim)
{
    msg t = {0};
    for (int i = 0; i < ndim; i++) put_int(&t, 1, dim[i]);
    put_int(&t, 2, dtype);
    put_text(&t, 8, name);
    return t;
}

/* ValueInfoProto of a tensor [2]. */
static inline msg value_info(const char *name, int dtype)
{
    msg dim = {0}, shape = {0}, tensor_type = {0}, type = {0}, v = {0};
    put_int(&dim, 1, 2);
    put_msg(&shape, 1, &dim);
    put_int(&tensor_type, 1, dtype);
    put_msg(&tensor_type, 2, &shape);
    put_msg(&type, 1, &tensor_type);
    put_text(&v, 1, name);
    put_msg(&v, 2, &type);
    return v;
}

/* NodeProto with one input and one output. */
static inline msg node(const char *op, const char *in, const char *out)
{
    msg n = {0};
    put_text(&n, 1, in);
    put_text(&n, 2, out);
    put_text(&n, 4, op);
    return n;
}

/* GraphProto y = Relu(x) and more: fields that `more` gives first. */
static inline msg relu_graph(const msg *more)
{
    msg g = {0}, x = value_info("x", FA_FLOAT32), y = value_info("y", FA_FLOAT32), n = node("Relu", "x", "y");
    if (more) put_raw(&g, more->data, more->n);
    put_msg(&g, 1, &n);
    put_msg(&g, 11, &x);
    put_msg(&g, 12, &y);
    return g;
}

/* ModelProto of IR version 8 and operator set 13 around a graph. */
static inline msg model_of(const msg *graph)
{
    msg m = {0}, set = {0};
    put_int(&m, 1, 8);
    put_int(&set, 2, 13);
    put_msg(&m, 8, &set);
    put_msg(&m, 7, graph);
    return m;
}

static inline fa_context plain_context(void)
{
    return (fa_context){.allocator = fa_system_allocator};
}

/* A seed of the fuzzer's corpus, read whole. */
static inline size_t read_seed(const char *name, uint8_t *data, size_t room)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/%s", FA_SOURCE_ROOT, name);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    size_t n = fread(data, 1, room, f);
    fclose(f);
    ck_assert_uint_gt(n, 0);
    ck_assert_uint_lt(n, room);
    return n;
}

#endif
