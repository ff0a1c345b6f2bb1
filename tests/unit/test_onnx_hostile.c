/* SPDX-License-Identifier: Apache-2.0 */
/* Files made to hurt, and memory that runs out. */
#include "onnx_message.h"

#include "base/error.h"
#include "graph/plan.h"
#include "ops/table.h"

#include <stdlib.h>
#include <time.h>

static const char *const seeds[] = {"mlp.onnx", "unsorted.onnx", "old.onnx", "first.onnx", "raw.onnx", "lists.onnx", "constants.onnx", "control.onnx", "branches.onnx", "loop.onnx", "scan.onnx",
                                    "unsupported.onnx", "external.onnx", "halves.onnx", "tensor.pb"};
enum { SEEDS = sizeof seeds / sizeof seeds[0] };

/* Both readers on an exact-size copy, so that a sanitizer sees a read beyond the end. */
static void feed(const uint8_t *data, size_t n, int count[2])
{
    fa_context context = plain_context();
    uint8_t *own = malloc(n ? n : 1);
    ck_assert_ptr_nonnull(own);
    memcpy(own, data, n);
    fa_graph *g = (fa_graph *)&context;
    fa_status status = fa_onnx_read_memory(&context, own, n, NULL, &g);
    if (status == FA_OK) {
        fa_graph_destroy(g);
    } else {
        ck_assert_msg(status == FA_ERR_FORMAT || status == FA_ERR_UNSUPPORTED, "%s", fa_error_message());
        ck_assert(*fa_error_message());
        ck_assert_ptr_eq(g, &context);
    }
    count[status == FA_OK]++;
    fa_arena arena = {.context = &context};
    fa_view view;
    const char *name;
    status = fa_onnx_read_tensor(&context, own, n, &arena, &view, &name);
    ck_assert_msg(status == FA_OK || status == FA_ERR_FORMAT || status == FA_ERR_UNSUPPORTED, "%s", fa_error_message());
    fa_arena_clear(&arena);
    ck_assert_uint_eq(context.used, 0);
    free(own);
}

START_TEST(test_cut_short)
{
    uint8_t data[4096];
    size_t n = read_seed(seeds[_i], data, sizeof data);
    int count[2] = {0};
    for (size_t k = 0; k < n; k++) feed(data, k, count);
    ck_assert_int_gt(count[0], (int)n / 2);
}
END_TEST

START_TEST(test_altered)
{
    uint8_t data[4096], altered[4096];
    size_t n = read_seed(seeds[_i], data, sizeof data);
    uint64_t state = 0x9E3779B97F4A7C15u + (uint64_t)_i;
    int count[2] = {0};
    for (int k = 0; k < 4000; k++) {
        memcpy(altered, data, n);
        for (int e = 0; e <= k % 4; e++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            size_t at = (size_t)(state >> 16) % n;
            static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xff};
            altered[at] = k % 3 ? (uint8_t)(altered[at] ^ (1u << (state & 7))) : edges[state % 5];
        }
        feed(altered, n, count);
    }
    ck_assert_int_gt(count[0], 0);
}
END_TEST

/* `levels` messages of field `field` inside each other, written from the end of `room`; returns where they start. */
static size_t nest(uint8_t *room, size_t end, const int *field, int fields, int levels)
{
    size_t at = end;
    for (int i = levels; i-- > 0;) {
        msg head = {0};
        put_varint(&head, (uint64_t)field[i % fields] << 3 | 2);
        put_varint(&head, end - at);
        at -= head.n;
        memcpy(room + at, head.data, head.n);
    }
    return at;
}

/* ModelProto, then graph, value_info and type: the messages from the fourth one on are types in sequences. */
static fa_status read_nested_type(fa_context *context, int sequences)
{
    enum { ROOM = 1 << 18 };
    static uint8_t room[ROOM];
    static const int sequence[] = {4, 1}, outer[] = {7, 13, 2};
    size_t at = nest(room, ROOM, sequence, 2, 2 * sequences), graph = at;
    for (int i = 3; i-- > 0;) {
        msg head = {0};
        put_varint(&head, (uint64_t)outer[i] << 3 | 2);
        put_varint(&head, ROOM - at);
        if (i == 0) { /* the rest of a model that can be read */
            msg rest = relu_graph(NULL), whole = {0}, set = {0};
            put_int(&whole, 1, 8);
            put_int(&set, 2, 13);
            put_msg(&whole, 8, &set);
            put_varint(&whole, 7 << 3 | 2);
            put_varint(&whole, rest.n + ROOM - at);
            put_raw(&whole, rest.data, rest.n);
            head = whole;
        }
        at -= head.n;
        memcpy(room + at, head.data, head.n);
    }
    ck_assert_uint_gt(graph, at);
    fa_graph *g;
    fa_status status = fa_onnx_read_memory(context, room + at, ROOM - at, NULL, &g);
    if (status == FA_OK) fa_graph_destroy(g);
    ck_assert_uint_eq(context->used, 0);
    return status;
}

START_TEST(test_depth)
{
    fa_context context = plain_context();
    ck_assert_int_eq(read_nested_type(&context, 1), FA_OK);
    ck_assert_int_eq(read_nested_type(&context, 30), FA_OK); /* 64 messages */
    ck_assert_int_eq(read_nested_type(&context, 31), FA_ERR_FORMAT);
    ck_assert_msg(strstr(fa_error_message(), "nested too deep") && strstr(fa_error_message(), "byte "), "%s", fa_error_message());
    ck_assert_int_eq(read_nested_type(&context, 20000), FA_ERR_FORMAT);
}
END_TEST

START_TEST(test_depth_of_graphs)
{
    enum { ROOM = 1 << 18 };
    static uint8_t room[ROOM];
    static const int subgraph[] = {1, 5, 6}; /* graph.node, node.attribute, attribute.g */
    fa_context context = plain_context();
    fa_graph *g;
    size_t at = nest(room, ROOM, subgraph, 3, 3000);
    msg head = {0};
    put_varint(&head, 7 << 3 | 2);
    put_varint(&head, ROOM - at);
    at -= head.n;
    memcpy(room + at, head.data, head.n);
    ck_assert_int_eq(fa_onnx_read_memory(&context, room + at, ROOM - at, NULL, &g), FA_ERR_FORMAT);
    ck_assert_msg(strstr(fa_error_message(), "nested too deep") != NULL, "%s", fa_error_message());
}
END_TEST

static void expect_bytes(const void *data, size_t n, const char *words)
{
    fa_context context = plain_context();
    fa_graph *g;
    ck_assert_int_eq(fa_onnx_read_memory(&context, data, n, NULL, &g), FA_ERR_FORMAT);
    ck_assert_msg(strstr(fa_error_message(), words) != NULL, "'%s' has no '%s'", fa_error_message(), words);
    ck_assert_uint_eq(context.used, 0);
}

START_TEST(test_wire_format)
{
    expect_bytes("\x08\x08\x08", 3, "byte 2, ModelProto.ir_version: a number is cut off");
    expect_bytes("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "byte 0, ModelProto.ir_version: a number is cut off or too long");
    expect_bytes("\x3a\x05\x0a\x09xyz", 7, "byte 2, GraphProto.node: its length passes the end");
    expect_bytes("\x3a\xff\xff\xff\xff\x0f", 6, "byte 0, ModelProto.graph: its length passes the end");
    expect_bytes("\x3a\xff\xff\xff\xff\xff\x01", 7, "byte 0, ModelProto.graph: a length is cut off or too long");
    expect_bytes("\x38\x01", 2, "byte 0, ModelProto.graph: its encoding is not that of its type");
    expect_bytes("\x3b\x00", 2, "byte 0, ModelProto.graph: an encoding that ONNX does not use");
    expect_bytes("\x00\x01", 2, "byte 0, ModelProto: a field's number is out of range");
    expect_bytes("\xff\xff\xff\xff\xff\x01", 6, "byte 0, ModelProto: a field's tag is cut off or too long");
    expect_bytes("\x11\x01\x02", 3, "byte 0, ModelProto.producer_name: a number is cut off");
    expect_bytes("\x3a\x00\x3a\x00", 4, "byte 2, ModelProto.graph: given twice");
    expect_bytes("\x12\x02" "a\x00", 4, "byte 0, ModelProto.producer_name: is no UTF-8 text");
    static const char *const no_text[] = {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xc3("};
    for (size_t i = 0; i < sizeof no_text / sizeof no_text[0]; i++) {
        msg m = {0};
        put_text(&m, 2, no_text[i]);
        expect_bytes(m.data, m.n, "is no UTF-8 text");
    }
    msg m = {0};
    put_text(&m, 2, "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\xb3");
    expect_bytes(m.data, m.n, "there is no graph");
    /* Fields that this version of ONNX does not know are stepped over. */
    m = (msg){0};
    put_text(&m, 1000, "\xff");
    put_int(&m, 1001, -1);
    expect_bytes(m.data, m.n, "there is no graph");
    msg g = {0}, t = {0};
    put_bytes(&t, 7, "\x01\x80", 2);
    put_msg(&g, 5, &t);
    m = (msg){0};
    put_msg(&m, 7, &g);
    expect_bytes(m.data, m.n, "byte 4, TensorProto.int64_data: a packed list ends inside an element");
}
END_TEST

/* A graph with `n` copies of `part` in it. */
static fa_status read_many(fa_context *context, const msg *part, int n)
{
    msg rest = relu_graph(NULL), head = {0}, set = {0};
    size_t body = (size_t)n * part->n;
    put_int(&head, 1, 8);
    put_int(&set, 2, 13);
    put_msg(&head, 8, &set);
    put_varint(&head, 7 << 3 | 2);
    put_varint(&head, rest.n + body);
    uint8_t *data = malloc(head.n + rest.n + body);
    ck_assert_ptr_nonnull(data);
    memcpy(data, head.data, head.n);
    memcpy(data + head.n, rest.data, rest.n);
    for (int i = 0; i < n; i++) memcpy(data + head.n + rest.n + (size_t)i * part->n, part->data, part->n);
    fa_graph *g;
    fa_status status = fa_onnx_read_memory(context, data, head.n + rest.n + body, NULL, &g);
    if (status == FA_OK) fa_graph_destroy(g);
    free(data);
    ck_assert_uint_eq(context->used, 0);
    return status;
}

START_TEST(test_memory_for_nothing)
{
    fa_context context = plain_context();
    msg empty_node = {0}, empty_info = {0};
    put_text(&empty_node, 1, "");
    ck_assert_int_eq(read_many(&context, &empty_node, 200000), FA_ERR_LIMIT);
    ck_assert_uint_lt(context.peak, 400000 * 64 * 2);
    put_text(&empty_info, 13, "");
    ck_assert_int_eq(read_many(&context, &empty_info, 10000), FA_OK);
    context.memory_limit = 100000;
    ck_assert_int_eq(read_many(&context, &empty_info, 10000), FA_ERR_MEMORY);
}
END_TEST

/* 100000 short names and the worst of names for a hash table or a sorted list take no longer than their number says. */
START_TEST(test_many_small_names)
{
    enum { COUNT = 100000, ROOM = COUNT * 10 + 1000 };
    uint8_t *body = malloc(ROOM);
    size_t n = 0;
    ck_assert_ptr_nonnull(body);
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        msg out = {0};
        snprintf(name, sizeof name, "%x", i);
        put_text(&out, 2, name);
        memcpy(body + n, out.data, out.n);
        n += out.n;
    }
    msg op = {0}, import = {0}, head = {0}, y = value_info("0", FA_FLOAT32), output = {0}, node_head = {0};
    put_text(&op, 4, "Many");
    put_msg(&output, 12, &y);
    put_int(&head, 1, 8);
    put_int(&import, 2, 13);
    put_msg(&head, 8, &import);
    put_varint(&node_head, 1 << 3 | 2);
    put_varint(&node_head, n + op.n);
    put_varint(&head, 7 << 3 | 2);
    put_varint(&head, node_head.n + n + op.n + output.n);
    uint8_t *data = malloc(head.n + node_head.n + n + op.n + output.n), *p = data;
    ck_assert_ptr_nonnull(data);
    memcpy(p, head.data, head.n), p += head.n;
    memcpy(p, node_head.data, node_head.n), p += node_head.n;
    memcpy(p, body, n), p += n;
    memcpy(p, op.data, op.n), p += op.n;
    memcpy(p, output.data, output.n), p += output.n;
    fa_context context = plain_context();
    fa_graph *g = NULL;
    fa_status status = fa_onnx_read_memory(&context, data, (size_t)(p - data), NULL, &g);
    ck_assert_msg(status == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(g->n_value, COUNT);
    ck_assert_str_eq(g->node[0].name, "0");
    fa_graph_destroy(g);
    free(data);
    free(body);
}
END_TEST

typedef struct rationed {
    long left; /* allocations that succeed */
    long live;
} rationed;

static void *rationed_alloc(void *user, size_t size, size_t align)
{
    rationed *r = user;
    void *p = NULL;
    if (r->left-- <= 0 || posix_memalign(&p, align, size)) return NULL;
    r->live++;
    return p;
}

static void rationed_free(void *user, void *block, size_t size, size_t align)
{
    rationed *r = user;
    (void)size;
    (void)align;
    r->live--;
    free(block);
}

/* Every allocation of a read fails once. */
static void sweep(fa_status (*read)(fa_context *context, const char *path), const char *path, fa_status last)
{
    for (long ration = 0;; ration++) {
        rationed r = {.left = ration};
        fa_context context = {.allocator = {rationed_alloc, rationed_free, &r}};
        fa_status status = read(&context, path);
        ck_assert_int_eq(r.live, 0);
        ck_assert_uint_eq(context.used, 0);
        if (r.left >= 0) {
            ck_assert_msg(status == last, "%s: %s", path, fa_error_message());
            ck_assert_int_ge(ration, 2);
            return;
        }
        ck_assert_msg(status == FA_ERR_MEMORY, "%s, allocation %ld: %s: %s", path, ration, fa_status_name(status), fa_error_message());
        ck_assert_msg(strstr(fa_error_message(), "out of memory") != NULL, "%s", fa_error_message());
    }
}

static fa_status read_model(fa_context *context, const char *path)
{
    fa_graph *g;
    fa_status status = fa_onnx_read_file(context, path, &g);
    if (status == FA_OK) fa_graph_destroy(g);
    return status;
}

/* Reads a model without open dimensions but one, and plans it: If, Loop and Scan are unrolled on the way. */
static fa_status plan_model(fa_context *context, const char *path)
{
    fa_graph *g;
    fa_plan *plan = NULL;
    fa_view x = {.dtype = FA_FLOAT32};
    FA_TRY(fa_onnx_read_file(context, path, &g));
    fa_view_set_shape(&x, 2, (int64_t[]){1, 2});
    fa_plan_request r = {.graph = g, .ops = &fa_op_table_f32, .inputs = &x, .wanted = g->output, .n_wanted = g->n_output, .loss = g->output[0]};
    fa_status status = fa_plan_create(&r, &plan);
    fa_plan_destroy(plan);
    fa_graph_destroy(g);
    return status;
}

static fa_status read_tensor(fa_context *context, const char *path)
{
    uint8_t data[256];
    (void)path;
    size_t n = read_seed("tensor.pb", data, sizeof data);
    fa_arena arena = {.context = context};
    fa_view view;
    const char *name;
    fa_status status = fa_onnx_read_tensor(context, data, n, &arena, &view, &name);
    fa_arena_clear(&arena);
    return status;
}

START_TEST(test_out_of_memory)
{
    static const char *const names[] = {"mlp.onnx", "old.onnx", "raw.onnx", "lists.onnx", "constants.onnx", "control.onnx", "branches.onnx", "scan.onnx"};
    char path[1024], clean[] = FA_SOURCE_ROOT "/examples/models/clean.onnx";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/%s", FA_SOURCE_ROOT, names[i]);
        sweep(read_model, path, FA_OK);
    }
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/unsupported.onnx", FA_SOURCE_ROOT);
    sweep(read_model, path, FA_ERR_UNSUPPORTED);
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/deep.onnx", FA_SOURCE_ROOT);
    sweep(read_model, path, FA_ERR_LIMIT);
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/onnx/rounds.onnx", FA_SOURCE_ROOT);
    sweep(plan_model, path, FA_OK);
    sweep(read_tensor, "tensor.pb", FA_OK);
    FILE *f = fopen(clean, "rb");
    if (!f) return;
    fclose(f);
    sweep(read_model, clean, FA_OK);
}
END_TEST

/* External data takes memory of its own. */
START_TEST(test_out_of_memory_outside)
{
    char folder[] = "/tmp/test_onnx.XXXXXX", model[64], weights[64];
    uint8_t data[4096], zeros[64] = {0};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(model, sizeof model, "%s/external.onnx", folder);
    snprintf(weights, sizeof weights, "%s/weights.bin", folder);
    size_t n = read_seed("external.onnx", data, sizeof data);
    FILE *f = fopen(model, "wb");
    ck_assert(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
    f = fopen(weights, "wb");
    ck_assert(f && fwrite(zeros, 1, sizeof zeros, f) == sizeof zeros && fclose(f) == 0);
    sweep(read_model, model, FA_OK);
    remove(model);
    remove(weights);
    ck_assert_int_eq(remove(folder), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx-hostile");
    TCase *c = tcase_create("files");
    tcase_set_timeout(c, 100);
    tcase_add_loop_test(c, test_cut_short, 0, SEEDS);
    tcase_add_loop_test(c, test_altered, 0, SEEDS);
    tcase_add_test(c, test_depth);
    tcase_add_test(c, test_depth_of_graphs);
    tcase_add_test(c, test_wire_format);
    tcase_add_test(c, test_memory_for_nothing);
    tcase_add_test(c, test_many_small_names);
    tcase_add_test(c, test_out_of_memory);
    tcase_add_test(c, test_out_of_memory_outside);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
