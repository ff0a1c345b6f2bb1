/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader makes of well-formed files, and what it says of those it cannot take. */
#include "base/error.h"
#include "graph/plan.h"
#include "onnx/names.h"
#include "onnx_message.h"
#include "ops/table.h"

#include <glob.h>

static fa_context context;

static void setup(void)
{
    context = plain_context();
}

static void nothing_held(void)
{
    ck_assert_uint_eq(context.used, 0);
}

static fa_graph *read_ok(const char *seed)
{
    uint8_t data[4096];
    size_t n = read_seed(seed, data, sizeof data);
    fa_graph *g = NULL;
    fa_status status = fa_onnx_read_memory(&context, data, n, NULL, &g);
    ck_assert_msg(status == FA_OK, "%s: %s", seed, fa_error_message());
    return g;
}

static const fa_value *value(const fa_graph *g, const char *name)
{
    int32_t i = fa_graph_find_value(g, name);
    ck_assert_msg(i >= 0, "no value %s", name);
    return &g->value[i];
}

START_TEST(test_graph)
{
    fa_graph *g = read_ok("mlp.onnx");
    ck_assert_int_eq(g->opset, 13);
    ck_assert_str_eq(g->producer, "seeds 1");
    ck_assert_int_eq(g->n_input, 1);
    ck_assert_int_eq(g->n_output, 1);
    const fa_value *x = &g->value[g->input[0]], *y = &g->value[g->output[0]], *h = value(g, "h"), *w = value(g, "w1");
    ck_assert_str_eq(x->name, "x");
    ck_assert_int_eq(x->dtype, FA_FLOAT32);
    ck_assert(x->has_shape && x->declared_ndim == 2 && x->declared[0] == -1 && x->declared[1] == 4);
    ck_assert_str_eq(y->name, "y");
    ck_assert(h->has_shape && h->declared_ndim == 2 && h->declared[0] == -1 && h->declared[1] == 3);
    ck_assert(!value(g, "r")->has_shape && value(g, "r")->dtype == 0);
    ck_assert(w->is_initialiser && w->is_parameter && w->view.ndim == 2 && w->view.dim[0] == 3 && w->view.dim[1] == 4 && w->view.count == 12);
    static const float expected[] = {-0.75f, 0.75f, 1, 0, 0.25f, 0.75f, -0.75f, 1.75f, -2};
    ck_assert_mem_eq(w->view.data, expected, sizeof expected);
    ck_assert_int_eq(g->n_node, 3);
    const fa_node *n = g->node;
    ck_assert_str_eq(n[0].name, "fc1");
    ck_assert_str_eq(n[0].op, "Gemm");
    ck_assert_str_eq(n[0].domain, "");
    ck_assert_int_eq(n[0].opset, 13);
    ck_assert_int_eq(fa_node_int(&n[0], "transB", 0), 1);
    ck_assert(fa_node_float(&n[0], "alpha", 0) == 1);
    ck_assert_str_eq(n[1].name, "r");
    ck_assert_int_eq(n[2].n_in, 3);
    ck_assert_int_eq(n[2].in[2], -1);
    ck_assert_int_eq(n[2].out[0], g->output[0]);
    fa_graph_destroy(g);
    nothing_held();
}
END_TEST

START_TEST(test_order)
{
    fa_graph *g = read_ok("unsorted.onnx");
    ck_assert_str_eq(g->node[0].op, "Relu");
    ck_assert_str_eq(g->node[0].domain, "");
    ck_assert_str_eq(g->node[1].op, "Neg");
    fa_graph_destroy(g);
}
END_TEST

START_TEST(test_old_files)
{
    fa_graph *g = read_ok("old.onnx");
    ck_assert_int_eq(g->opset, 7);
    ck_assert_int_eq(g->n_input, 1);
    ck_assert_str_eq(g->value[g->input[0]].name, "x");
    ck_assert(value(g, "w1")->is_initialiser);
    fa_graph_destroy(g);
    g = read_ok("first.onnx");
    ck_assert_int_eq(g->opset, 1);
    ck_assert_int_eq(g->node[0].opset, 1);
    ck_assert_int_eq(fa_node_int(&g->node[0], "transB", 0), 1);
    ck_assert(fa_node_float(&g->node[0], "alpha", 0) == 1);
    fa_graph_destroy(g);
}
END_TEST

static void check_encodings(const fa_graph *g)
{
    static const float reals[] = {0, 1, -2.5f, 0.5f};
    static const struct {
        const char *name;
        int32_t dtype;
        int64_t number[3];
    } integers[] = {{"int8", FA_INT8, {0, -1, 100}},    {"int16", FA_INT16, {0, -1, 100}},  {"int32", FA_INT32, {0, -1, 100}},
                    {"int64", FA_INT64, {0, -1, 100}},  {"uint8", FA_UINT8, {0, 1, 100}},   {"uint16", FA_UINT16, {0, 1, 100}},
                    {"uint32", FA_UINT32, {0, 1, 100}}, {"uint64", FA_UINT64, {0, 1, 100}}, {"bool", FA_BOOL, {0, 1, 1}}};
    static const struct {
        const char *name;
        int32_t dtype;
    } floats[] = {{"float", FA_FLOAT32}, {"float16", FA_FLOAT16}, {"bfloat16", FA_BFLOAT16}};
    for (size_t i = 0; i < 3; i++) {
        const fa_value *v = value(g, floats[i].name);
        ck_assert_int_eq(v->dtype, floats[i].dtype);
        ck_assert_int_eq(v->view.dtype, floats[i].dtype);
        ck_assert_mem_eq(v->view.data, reals, sizeof reals);
    }
    const fa_value *d = value(g, "double");
    for (int i = 0; i < 4; i++) ck_assert(((const double *)d->view.data)[i] == reals[i]);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        const fa_value *v = value(g, integers[i].name);
        ck_assert_int_eq(v->view.dtype, integers[i].dtype);
        ck_assert_int_eq(v->view.count, 3);
        ck_assert_mem_eq(v->view.data, integers[i].number, sizeof integers[i].number);
    }
    const fa_value *scalar = value(g, "scalar"), *empty = value(g, "empty");
    ck_assert(scalar->view.ndim == 0 && scalar->view.count == 1 && *(const float *)scalar->view.data == 7);
    ck_assert(empty->view.ndim == 2 && empty->view.count == 0 && empty->view.data != NULL);
}

START_TEST(test_encodings)
{
    static const char *const seeds[] = {"raw.onnx", "lists.onnx"};
    for (int i = 0; i < 2; i++) {
        fa_graph *g = read_ok(seeds[i]);
        check_encodings(g);
        fa_graph_destroy(g);
    }
    nothing_held();
}
END_TEST

/* Weights of four bits are weights of eight, and stay weights behind DequantizeLinear. */
START_TEST(test_halves)
{
    static const int64_t w[] = {1, 2, 7, -8, 0, -1, 3, 4, 5}, z[] = {1, 15, 8};
    fa_graph *g = read_ok("halves.onnx");
    ck_assert_int_eq(value(g, "w")->view.dtype, FA_INT8);
    ck_assert_int_eq(value(g, "z")->view.dtype, FA_UINT8);
    ck_assert_mem_eq(value(g, "w")->view.data, w, sizeof w);
    ck_assert_mem_eq(value(g, "z")->view.data, z, sizeof z);
    const float *s = value(g, "s")->view.data, *t = value(g, "t")->view.data;
    const int32_t y = g->output[0];
    fa_view x = {.dtype = FA_FLOAT32};
    fa_plan *plan;
    fa_run *run;
    fa_view_set_shape(&x, 2, (const int64_t[]){1, 3});
    ck_assert_int_eq(fa_plan_create(&(fa_plan_request){.graph = g, .ops = &fa_op_table_f32, .inputs = &x, .wanted = &y, .n_wanted = 1, .loss = -1}, &plan), FA_OK);
    ck_assert_int_eq(fa_run_create(plan, &context, &run), FA_OK);
    float *in = fa_run_input(run, 0);
    for (int i = 0; i < 3; i++) in[i] = (float)(i + 1);
    fa_run_forward(run);
    for (int o = 0; o < 3; o++) { /* two rows share the first scales, the last has its own */
        float want = (float)z[o] * *t;
        for (int i = 0; i < 3; i++) want += (float)(i + 1) * (float)w[i * 3 + o] * s[i / 2 * 3 + o];
        ck_assert_float_eq_tol(((const float *)fa_run_value(run, y)->data)[o], want, 1e-5f);
    }
    fa_run_destroy(run);
    fa_plan_destroy(plan);
    fa_graph_destroy(g);
    nothing_held();
}
END_TEST

START_TEST(test_attributes)
{
    fa_graph *g = read_ok("constants.onnx");
    ck_assert_int_eq(g->n_input, 0);
    const fa_attr *a = fa_node_attr(&g->node[0], "value");
    ck_assert(a && a->kind == FA_ATTR_TENSOR && a->tensor.ndim == 2 && a->tensor.count == 4);
    ck_assert(value(g, "y")->is_parameter);
    ck_assert(fa_node_float(&g->node[1], "value_float", 0) == 1.5f);
    a = fa_node_attr(&g->node[2], "value_floats");
    ck_assert(a && a->kind == FA_ATTR_FLOATS && a->count == 2 && a->floats[1] == 2);
    ck_assert_int_eq(fa_node_int(&g->node[3], "value_int", 0), 3);
    int64_t n;
    const int64_t *ints = fa_node_ints(&g->node[4], "value_ints", &n);
    ck_assert(n == 2 && ints[0] == 4 && ints[1] == -5);
    ck_assert_str_eq(fa_node_string(&g->node[5], "value_string", ""), "s");
    a = fa_node_attr(&g->node[6], "value_strings");
    ck_assert(a && a->kind == FA_ATTR_STRINGS && a->count == 2);
    ck_assert_str_eq(a->strings[1], "t");
    fa_graph_destroy(g);
}
END_TEST

START_TEST(test_control_flow_is_kept)
{
    fa_graph *g = read_ok("control.onnx");
    ck_assert_int_eq(g->n_node, 3);
    ck_assert_str_eq(g->node[0].op, "If");
    /* Both branches read x, which the node then reads too. */
    const fa_graph *branch = fa_node_body(&g->node[0], "else_branch");
    const fa_attr *a = fa_node_attr(&g->node[0], "else_branch");
    ck_assert(branch && branch->n_input == 1 && branch->n_node == 1 && branch->n_output == 1);
    ck_assert_str_eq(branch->value[branch->input[0]].name, "x");
    ck_assert(g->node[0].n_in == 3 && a->count == 1 && (a->i == 1 || a->i == 2));
    ck_assert_str_eq(g->value[g->node[0].in[a->i]].name, "x");
    ck_assert_str_eq(g->node[1].domain, "org.example");
    ck_assert_int_eq(g->node[1].opset, 1);
    ck_assert_int_eq(g->node[1].n_out, 3);
    ck_assert_int_eq(g->node[1].out[1], -1);
    ck_assert(!value(g, "b")->has_shape && value(g, "b")->dtype == 0);
    fa_graph_destroy(g);
}
END_TEST

START_TEST(test_unsupported_is_one_list)
{
    uint8_t data[4096];
    size_t n = read_seed("unsupported.onnx", data, sizeof data);
    fa_graph *g = (fa_graph *)&context;
    ck_assert_int_eq(fa_onnx_read_memory(&context, data, n, NULL, &g), FA_ERR_UNSUPPORTED);
    ck_assert_ptr_eq(g, &context);
    static const char *const parts[] = {"training_info", "initialiser 'words': its elements are strings", "initialiser 'z': its elements are complex64",
                                        "initialiser 'sparse': the tensor is sparse", "input 'list': it is a sequence",
                                        "node 'text', attribute 'value': its elements are strings"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) ck_assert_msg(strstr(fa_error_message(), parts[i]) != NULL, "%s", fa_error_message());
    nothing_held();
}
END_TEST

START_TEST(test_long_lists_are_cut)
{
    enum { COUNT = 600 };
    static uint8_t data[COUNT * 64 + 600];
    size_t at = 0;
    msg graph = relu_graph(NULL);
    static uint8_t body[COUNT * 64];
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        msg holder = {0};
        snprintf(name, sizeof name, "initialiser number %d", i);
        msg t = tensor(name, 8, 0, NULL);
        put_msg(&holder, 5, &t);
        memcpy(body + at, holder.data, holder.n);
        at += holder.n;
    }
    msg head = {0};
    put_int(&head, 1, 3);
    put_varint(&head, 7 << 3 | 2);
    put_varint(&head, at + graph.n);
    memcpy(data, head.data, head.n);
    memcpy(data + head.n, body, at);
    memcpy(data + head.n + at, graph.data, graph.n);
    msg set = {0}, import = {0};
    put_int(&set, 2, 13);
    put_msg(&import, 8, &set);
    memcpy(data + head.n + at + graph.n, import.data, import.n);
    fa_graph *g;
    ck_assert_int_eq(fa_onnx_read_memory(&context, data, head.n + at + graph.n + import.n, NULL, &g), FA_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "initialiser number 100"));
    int listed = 0, more = 0;
    for (const char *p = fa_error_message(); (p = strstr(p, "initialiser number")); p++) listed++;
    ck_assert_int_eq(sscanf(strrchr(fa_error_message(), ';'), "; and %d more", &more), 1);
    ck_assert_int_eq(listed + more, COUNT);
}
END_TEST

static void expect_model(const msg *m, fa_status status, const char *words)
{
    fa_graph *g = NULL;
    fa_status got = fa_onnx_read_memory(&context, m->data, m->n, NULL, &g);
    ck_assert_msg(got == status, "%s, not %s (%s): %s", fa_status_name(got), fa_status_name(status), words, fa_error_message());
    if (got == FA_OK) fa_graph_destroy(g);
    else ck_assert_msg(strstr(fa_error_message(), words) != NULL, "'%s' has no '%s'", fa_error_message(), words);
    nothing_held();
}

static void expect_graph(const msg *more, fa_status status, const char *words)
{
    msg g = relu_graph(more), m = model_of(&g);
    expect_model(&m, status, words);
}

/* A model with one initialiser that differs from the rest. */
static void expect_tensor(const msg *t, fa_status status, const char *words)
{
    msg more = {0};
    put_msg(&more, 5, t);
    expect_graph(&more, status, words);
}

START_TEST(test_names_clash)
{
    int64_t one = 1;
    msg more = {0}, w = tensor("w", FA_INT64, 1, &one), y = tensor("y", FA_INT64, 1, &one), nameless = tensor("", FA_INT64, 1, &one);
    put_bytes(&w, 7, "\5", 1);
    put_bytes(&y, 7, "\5", 1);
    put_bytes(&nameless, 7, "\5", 1);
    expect_tensor(&w, FA_OK, "");
    put_msg(&more, 5, &w);
    put_msg(&more, 5, &w);
    expect_graph(&more, FA_ERR_FORMAT, "two initialisers are called 'w'");
    expect_tensor(&y, FA_ERR_FORMAT, "initialiser or output 'y' before it");
    expect_tensor(&nameless, FA_ERR_FORMAT, "initialiser 0 has no name");
    more.n = 0;
    msg x = value_info("x", FA_FLOAT32), again = node("Neg", "x", "y"), absent = node("Neg", "q", "z"), x_out = node("Neg", "y", "x");
    put_msg(&more, 11, &x);
    expect_graph(&more, FA_ERR_FORMAT, "two inputs are called 'x'");
    more.n = 0;
    put_msg(&more, 1, &again);
    expect_graph(&more, FA_ERR_FORMAT, "output 'y' before it");
    more.n = 0;
    put_msg(&more, 1, &absent);
    expect_graph(&more, FA_ERR_FORMAT, "node 'z': nothing produces its input 'q'");
    more.n = 0;
    put_msg(&more, 1, &x_out);
    expect_graph(&more, FA_ERR_FORMAT, "output 'x' before it");
    more.n = 0;
    msg ring_a = node("Neg", "b", "a"), ring_b = node("Neg", "a", "b");
    put_msg(&more, 1, &ring_a);
    put_msg(&more, 1, &ring_b);
    expect_graph(&more, FA_ERR_FORMAT, "cycle");
    more.n = 0;
    msg output = value_info("nowhere", FA_FLOAT32);
    put_msg(&more, 12, &output);
    expect_graph(&more, FA_ERR_FORMAT, "nothing produces the output 'nowhere'");
}
END_TEST

START_TEST(test_tensor_contents)
{
    int64_t two = 2, negative = -2, huge[] = {INT64_C(1) << 30, INT64_C(1) << 30}, nine[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const float pair[] = {1, 2};
    msg t = tensor("w", FA_FLOAT32, 1, &two);
    expect_tensor(&t, FA_ERR_FORMAT, "initialiser 'w': float_data has 0 elements for the shape [2]");
    put_bytes(&t, 9, pair, 4);
    expect_tensor(&t, FA_ERR_FORMAT, "raw_data has 4 bytes, float32 [2] takes 8");
    t = tensor("w", FA_FLOAT32, 1, &two);
    put_bytes(&t, 4, pair, 8);
    expect_tensor(&t, FA_OK, "");
    put_bytes(&t, 4, pair, 8);
    expect_tensor(&t, FA_ERR_FORMAT, "float_data has 4 elements");
    t = tensor("w", FA_FLOAT32, 1, &negative);
    expect_tensor(&t, FA_ERR_FORMAT, "dimension 0 of the tensor is -2");
    t = tensor("w", FA_FLOAT32, 2, huge);
    expect_tensor(&t, FA_ERR_FORMAT, "more than 2^40");
    t = tensor("w", FA_FLOAT32, 9, nine);
    expect_tensor(&t, FA_ERR_UNSUPPORTED, "9 dimensions");
    t = tensor("w", 0, 0, NULL);
    expect_tensor(&t, FA_ERR_FORMAT, "no element type");
    t = tensor("w", 17, 0, NULL);
    expect_tensor(&t, FA_ERR_UNSUPPORTED, "its elements are float8e4m3fn");
    t = tensor("w", -5, 0, NULL);
    expect_tensor(&t, FA_ERR_UNSUPPORTED, "unknown type -5");
    t = tensor("w", FA_UINT64, 0, NULL);
    put_int(&t, 11, -1);
    expect_tensor(&t, FA_ERR_UNSUPPORTED, "element 0 is above 2^63 - 1");
    t = tensor("w", FA_UINT64, 0, NULL);
    put_int(&t, 11, INT64_MAX);
    expect_tensor(&t, FA_OK, "");
    t = tensor("w", FA_FLOAT32, 0, NULL);
    msg segment = {0};
    put_int(&segment, 1, 0);
    put_msg(&t, 3, &segment);
    expect_tensor(&t, FA_ERR_UNSUPPORTED, "segment");
}
END_TEST

static msg attribute(const char *name, int type)
{
    msg a = {0};
    put_text(&a, 1, name);
    if (type) put_int(&a, 20, type);
    return a;
}

static void expect_attributes(const msg *first, const msg *second, fa_status status, const char *words)
{
    msg more = {0}, n = node("Elu", "x", "e");
    put_msg(&n, 5, first);
    if (second) put_msg(&n, 5, second);
    put_msg(&more, 1, &n);
    expect_graph(&more, status, words);
}

START_TEST(test_bad_attributes)
{
    msg a = attribute("alpha", 2), none = attribute("beta", 0), tensor_type = attribute("t", 4), sparse = attribute("s", 11), nameless = attribute("", 2),
        reference = attribute("r", 1), type = attribute("p", 13), unknown = attribute("u", 77);
    put_text(&reference, 21, "outer");
    expect_attributes(&a, NULL, FA_OK, "");
    expect_attributes(&a, &a, FA_ERR_FORMAT, "node 'e': two attributes are called 'alpha'");
    expect_attributes(&a, &none, FA_ERR_FORMAT, "node 'e', attribute 'beta': it has no value");
    expect_attributes(&a, &tensor_type, FA_ERR_FORMAT, "node 'e', attribute 't': the tensor is missing");
    expect_attributes(&a, &sparse, FA_ERR_UNSUPPORTED, "node 'e', attribute 's': the tensor is sparse");
    expect_attributes(&a, &nameless, FA_ERR_FORMAT, "node 'e': attribute 1 has no name");
    expect_attributes(&a, &reference, FA_ERR_FORMAT, "the attribute 'outer' of a function");
    expect_attributes(&a, &type, FA_OK, "");
    expect_attributes(&a, &unknown, FA_OK, "");
}
END_TEST

START_TEST(test_operator_sets)
{
    msg g = relu_graph(NULL), m = model_of(&g), set = {0};
    put_int(&set, 2, 14);
    put_msg(&m, 8, &set);
    expect_model(&m, FA_ERR_FORMAT, "two versions of the operator set ''");
    m = (msg){0};
    put_int(&m, 1, 8);
    put_msg(&m, 7, &g);
    expect_model(&m, FA_ERR_FORMAT, "node 'y': the model imports no operator set ''");
    set = (msg){0};
    put_int(&set, 2, 0);
    put_msg(&m, 8, &set);
    expect_model(&m, FA_ERR_FORMAT, "version 0 of the operator set '' is imported");
    m = (msg){0};
    put_int(&m, 1, 12);
    put_msg(&m, 7, &g);
    set = (msg){0};
    put_text(&set, 1, "ai.onnx");
    put_int(&set, 2, 99);
    put_msg(&m, 8, &set);
    expect_model(&m, FA_OK, "");

    msg more = {0}, n = node("FoldedConv", "x", "f"), own = {0};
    put_text(&n, 7, "fattr");
    put_msg(&more, 1, &n);
    g = relu_graph(&more);
    m = model_of(&g);
    put_text(&own, 1, "fattr");
    put_int(&own, 2, 1);
    put_msg(&m, 8, &own);
    expect_model(&m, FA_ERR_UNSUPPORTED, "node 'f': the domain 'fattr' is not for files");

    g = relu_graph(NULL);
    m = model_of(&g);
    msg function = {0};
    put_text(&function, 1, "Relu");
    put_msg(&m, 25, &function);
    expect_model(&m, FA_ERR_UNSUPPORTED, "function 'Relu'");
}
END_TEST

START_TEST(test_nodes_and_values)
{
    msg more = {0}, n = {0}, v = {0};
    put_text(&n, 2, "z");
    put_msg(&more, 1, &n);
    expect_graph(&more, FA_ERR_FORMAT, "node 0 ('') has no operator");
    more.n = 0;
    put_text(&v, 1, "untyped");
    put_msg(&more, 11, &v);
    expect_graph(&more, FA_ERR_FORMAT, "input 'untyped': it has no element type");
    more.n = v.n = 0;
    put_msg(&more, 11, &v);
    expect_graph(&more, FA_ERR_FORMAT, "input 0 has no name");
    msg g = {0}, m = model_of(&g), lone = node("Relu", "x", "y"), x = value_info("x", FA_FLOAT32);
    expect_model(&m, FA_ERR_FORMAT, "the model has no output");
    put_msg(&g, 1, &lone);
    put_msg(&g, 11, &x);
    m = model_of(&g);
    expect_model(&m, FA_ERR_FORMAT, "the model has no output");
}
END_TEST

START_TEST(test_not_a_model)
{
    fa_graph *g;
    ck_assert_int_eq(fa_onnx_read_memory(&context, "", 0, NULL, &g), FA_ERR_FORMAT);
    ck_assert_str_eq(fa_error_message(), "it is no ONNX model: it is empty");
    static const char text[] = "This is a text and no model at all.\n";
    ck_assert_int_eq(fa_onnx_read_memory(&context, text, sizeof text - 1, NULL, &g), FA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "byte "));
    msg m = {0};
    put_int(&m, 1, 8);
    expect_model(&m, FA_ERR_FORMAT, "there is no graph in it");
    ck_assert_int_eq(fa_onnx_read_file(&context, FA_SOURCE_ROOT, &g), FA_ERR_IO);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "it is a folder"));
    ck_assert_int_eq(fa_onnx_read_file(&context, FA_SOURCE_ROOT "/no/such/file", &g), FA_ERR_IO);
    ck_assert_int_eq(fa_onnx_read_file(&context, FA_SOURCE_ROOT "/meson.build", &g), FA_ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(fa_error_message(), "meson.build': it is no ONNX model: byte "));
    nothing_held();
}
END_TEST

START_TEST(test_lone_tensor)
{
    uint8_t data[256];
    size_t n = read_seed("tensor.pb", data, sizeof data);
    fa_arena arena = {.context = &context};
    fa_view v;
    const char *name = "untouched";
    ck_assert_int_eq(fa_onnx_read_tensor(&context, data, n - 1, &arena, &v, &name), FA_ERR_FORMAT);
    ck_assert_str_eq(name, "untouched");
    ck_assert_int_eq(fa_onnx_read_tensor(&context, data, n, &arena, &v, &name), FA_OK);
    ck_assert_str_eq(name, "t");
    ck_assert(v.dtype == FA_FLOAT32 && v.ndim == 2 && v.dim[0] == 2 && v.dim[1] == 3 && v.count == 6);
    ck_assert(((const float *)v.data)[0] == -0.75f && ((const float *)v.data)[1] == 0.75f);
    fa_arena_clear(&arena);
    nothing_held();
}
END_TEST

START_TEST(test_names)
{
    fa_arena arena = {.context = &context};
    fa_onnx_names names = {.arena = &arena};
    enum { COUNT = 3000 };
    static char text[COUNT][16];
    bool added;
    ck_assert_int_eq(fa_onnx_names_find(&names, "x"), -1);
    for (int i = 0; i < COUNT; i++) {
        int k = i * 1237 % COUNT; /* in no order; decimal numbers are prefixes of each other */
        snprintf(text[k], sizeof text[k], k % 3 ? "%d" : "\xc3\xa4%d", k);
        ck_assert_int_eq(fa_onnx_names_add(&names, text[k], k, &added), FA_OK);
        ck_assert(added);
    }
    ck_assert_int_eq(fa_onnx_names_add(&names, "", COUNT, &added), FA_OK);
    ck_assert(added);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(fa_onnx_names_add(&names, text[i], -1, &added), FA_OK);
        ck_assert(!added);
        ck_assert_int_eq(fa_onnx_names_find(&names, text[i]), i);
    }
    ck_assert_int_eq(fa_onnx_names_find(&names, ""), COUNT);
    ck_assert_int_eq(fa_onnx_names_find(&names, "12345"), -1);
    ck_assert_int_eq(fa_onnx_names_find(&names, "\xc3"), -1);
    fa_arena_clear(&arena);
}
END_TEST

START_TEST(test_example_model)
{
    FILE *f = fopen(FA_SOURCE_ROOT "/examples/models/clean.onnx", "rb");
    if (!f) return;
    fclose(f);
    fa_graph *g = NULL;
    fa_status status = fa_onnx_read_file(&context, FA_SOURCE_ROOT "/examples/models/clean.onnx", &g);
    ck_assert_msg(status == FA_OK, "%s", fa_error_message());
    ck_assert_int_eq(g->n_input, 1);
    ck_assert_int_eq(g->n_output, 1);
    ck_assert_int_eq(g->value[g->input[0]].declared[0], -1);
    int weighted = 0;
    for (int32_t i = 0; i < g->n_node; i++) weighted += strcmp(g->node[i].op, "Conv") == 0 || strcmp(g->node[i].op, "Gemm") == 0;
    ck_assert_int_gt(weighted, 3);
    fa_graph_destroy(g);
    nothing_held();
}
END_TEST

/* ONNX's own models, where they are installed: those left out are the ones with strings, sequences and optionals. */
START_TEST(test_models_of_onnx)
{
    glob_t found;
    if (glob("/usr/share/libonnx-testdata/data/*/*/model.onnx", 0, NULL, &found)) return;
    size_t read = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        fa_graph *g;
        fa_status status = fa_onnx_read_file(&context, found.gl_pathv[i], &g);
        ck_assert_msg(status == FA_OK || status == FA_ERR_UNSUPPORTED, "%s", fa_error_message());
        if (status == FA_OK) fa_graph_destroy(g);
        else ck_assert_msg(strstr(fa_error_message(), "not supported: ") != NULL, "%s", fa_error_message());
        read += status == FA_OK;
        nothing_held();
    }
    ck_assert_uint_gt(read, found.gl_pathc / 100 * 95);
    globfree(&found);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("onnx");
    TCase *c = tcase_create("reading");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, test_graph);
    tcase_add_test(c, test_order);
    tcase_add_test(c, test_old_files);
    tcase_add_test(c, test_encodings);
    tcase_add_test(c, test_halves);
    tcase_add_test(c, test_attributes);
    tcase_add_test(c, test_control_flow_is_kept);
    tcase_add_test(c, test_lone_tensor);
    tcase_add_test(c, test_names);
    tcase_add_test(c, test_example_model);
    tcase_add_test(c, test_models_of_onnx);
    suite_add_tcase(s, c);
    c = tcase_create("refusing");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, test_unsupported_is_one_list);
    tcase_add_test(c, test_long_lists_are_cut);
    tcase_add_test(c, test_names_clash);
    tcase_add_test(c, test_tensor_contents);
    tcase_add_test(c, test_bad_attributes);
    tcase_add_test(c, test_operator_sets);
    tcase_add_test(c, test_nodes_and_values);
    tcase_add_test(c, test_not_a_model);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
