/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect.h"
#include "json.h"

static const char *type_name(int32_t dtype)
{
    switch (dtype) {
    case FA_FLOAT32: return "float32";
    case FA_FLOAT64: return "float64";
    case FA_FLOAT16: return "float16";
    case FA_BFLOAT16: return "bfloat16";
    case FA_UINT8: return "uint8";
    case FA_INT8: return "int8";
    case FA_UINT16: return "uint16";
    case FA_INT16: return "int16";
    case FA_UINT32: return "uint32";
    case FA_INT32: return "int32";
    case FA_UINT64: return "uint64";
    case FA_INT64: return "int64";
    case FA_BOOL: return "bool";
    default: return "other";
    }
}

typedef fa_status get_value(const fa_model *model, int32_t index, fa_value_info *info);

static json_t *values_json(const fa_model *model, get_value *get, int32_t count)
{
    json_t *list = json_array();
    fa_value_info v;
    for (int32_t i = 0; i < count && get(model, i, &v) == FA_OK; i++) {
        json_t *shape = v.ndim < 0 ? json_null() : json_array();
        for (int32_t d = 0; d < v.ndim; d++) json_array_append_new(shape, v.shape[d] < 0 ? json_null() : json_integer(v.shape[d]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "name", v.name, "dtype", type_name(v.dtype), "shape", shape));
    }
    return list;
}

static void values_text(const char *what, const fa_model *model, get_value *get, int32_t count)
{
    fa_value_info v;
    for (int32_t i = 0; i < count && get(model, i, &v) == FA_OK; i++) {
        printf("  %-11s %s  %s", i ? "" : what, v.name, type_name(v.dtype));
        for (int32_t d = 0; d < v.ndim; d++) {
            fputs(d ? ", " : " [", stdout);
            if (v.shape[d] < 0) putchar(d ? '?' : 'n');
            else printf("%lld", (long long)v.shape[d]);
        }
        puts(v.ndim > 0 ? "]" : "");
    }
}

static json_t *layers_json(const fa_model *model, int32_t count)
{
    json_t *list = json_array();
    fa_layer_info l;
    for (int32_t i = 0; i < count && fa_model_get_layer(model, i, &l) == FA_OK; i++) {
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:b}",
                                              "name", l.name, "op", l.op, "weight", l.weight, "in", (json_int_t)l.in, "out", (json_int_t)l.out,
                                              "groups", (json_int_t)l.groups, "bias", (int)l.has_bias));
    }
    return list;
}

static json_t *nodes_json(const fa_model *model, int32_t count)
{
    json_t *list = json_array();
    fa_node_info n;
    for (int32_t i = 0; i < count && fa_model_get_node(model, i, &n) == FA_OK; i++) {
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "name", n.name, "op", n.op, "output", n.output, "domain", n.domain));
    }
    return list;
}

int inspect_model(const session *s, const char *path, bool nodes, bool json)
{
    fa_model_info info = {.struct_size = sizeof info};
    uint8_t digest[FA_DIGEST_SIZE];
    if (fa_model_get_info(s->model, &info) != FA_OK || fa_model_digest(s->model, digest) != FA_OK) return say_failure();
    if (json) {
        json_t *out = json_pack("{s:s,s:s,s:s,s:I,s:I,s:i,s:o,s:s,s:o,s:o,s:o,s:o}",
                                "kind", "model", "path", path, "producer", info.producer, "opset", (json_int_t)info.opset,
                                "parameters", (json_int_t)info.parameter_count, "nodes", (int)info.node_count,
                                "classes", info.class_count < 0 ? json_null() : json_integer(info.class_count), "logits", info.logits,
                                "digest", json_digest(digest), "inputs", values_json(s->model, fa_model_get_input, info.input_count),
                                "outputs", values_json(s->model, fa_model_get_output, info.output_count),
                                "layers", layers_json(s->model, info.layer_count));
        if (out && nodes) json_object_set_new(out, "node_list", nodes_json(s->model, info.node_count));
        return json_print(out);
    }
    printf("%s: a network%s%s, opset %lld\n", path, *info.producer ? " from " : "", info.producer, (long long)info.opset);
    values_text("inputs", s->model, fa_model_get_input, info.input_count);
    values_text("outputs", s->model, fa_model_get_output, info.output_count);
    printf("  logits      %s", info.logits);
    if (info.class_count >= 0) printf(", %d classes", (int)info.class_count);
    printf("\n  parameters  %lld in %d nodes, %d layers that a sketch can tap\n\n", (long long)info.parameter_count, (int)info.node_count, (int)info.layer_count);
    printf("  %7s %7s %6s %5s  %-8s %s\n", "in", "out", "groups", "bias", "operator", "layer");
    fa_layer_info l;
    for (int32_t i = 0; i < info.layer_count && fa_model_get_layer(s->model, i, &l) == FA_OK; i++) {
        printf("  %7lld %7lld %6lld %5s  %-8s %s\n", (long long)l.in, (long long)l.out, (long long)l.groups, l.has_bias ? "yes" : "no", l.op, l.name);
    }
    fa_node_info n;
    if (nodes) printf("\n  %-20s %s\n", "operator", "node -> output");
    for (int32_t i = 0; nodes && i < info.node_count && fa_model_get_node(s->model, i, &n) == FA_OK; i++) printf("  %-20s %s -> %s\n", n.op, n.name, n.output);
    return EXIT_DONE;
}
