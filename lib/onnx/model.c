/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/model.h"

#include "base/error.h"
#include "onnx/attribute.h"
#include "onnx/names.h"
#include "onnx/tensor.h"
#include "onnx/unsupported.h"
#include "onnx/value.h"

#include <stdio.h>
#include <string.h>

/* What all graphs of a file share. */
typedef struct file {
    fa_arena *scratch;
    const char *folder;
    fa_onnx_names domains; /* number: version */
    bool old;              /* before IR version 3 a file imports nothing and means version 1 */
    fa_onnx_unsupported list;
} file;

typedef struct builder {
    file *file;
    fa_graph *graph;
    fa_onnx_names values; /* number: index into graph->value */
    struct builder *outer; /* of the graph around a body; NULL for the file's own */
    int32_t depth;
    int32_t *capture;      /* what a body reads of the graph around it, as indices there, in the order of its last inputs */
    int32_t n_capture;
} builder;

/* Bodies within bodies. */
#define NESTING_MAX 8

/* Reading goes on after FA_ERR_UNSUPPORTED, to find all of it. */
static fa_status unsupported(builder *b, fa_status status)
{
    return fa_onnx_unsupported_note(&b->file->list, status);
}

static const char *text(const char *s)
{
    return s ? s : "";
}

static const char *domain_of(const char *domain)
{
    return domain && strcmp(domain, "ai.onnx") != 0 ? domain : "";
}

static fa_status read_domains(builder *b, const Onnx__ModelProto *model)
{
    b->file->old = model->ir_version < 3;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        const char *domain = domain_of(set->domain);
        if (set->version < 1 || set->version > INT32_MAX)
            return fa_fail(FA_ERR_FORMAT, "version %lld of the operator set '%s' is imported", (long long)set->version, domain);
        bool added;
        FA_TRY(fa_onnx_names_add(&b->file->domains, domain, (int32_t)set->version, &added));
        if (!added && fa_onnx_names_find(&b->file->domains, domain) != set->version)
            return fa_fail(FA_ERR_FORMAT, "two versions of the operator set '%s' are imported", domain);
    }
    int32_t version = fa_onnx_names_find(&b->file->domains, "");
    b->graph->opset = version > 0 ? version : b->file->old ? 1 : 0;
    return FA_OK;
}

static fa_status read_producer(builder *b, const Onnx__ModelProto *model)
{
    const char *name = text(model->producer_name), *version = text(model->producer_version);
    size_t n = strlen(name) + strlen(version) + 2;
    char *producer = fa_arena_new(&b->graph->arena, n);
    if (!producer) return FA_ERR_MEMORY;
    snprintf(producer, n, "%s%s%s", name, *name && *version ? " " : "", version);
    b->graph->producer = producer;
    return FA_OK;
}

/* A node that calls a function of the file would run the operator of that name instead, had the function the name of one. */
static fa_status check_functions(builder *b, const Onnx__ModelProto *model)
{
    for (size_t i = 0; i < model->n_functions; i++) {
        const Onnx__FunctionProto *f = model->functions[i];
        if (*domain_of(f->domain)) continue;
        FA_TRY(unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "function '%s': it redefines an operator of ONNX", text(f->name))));
    }
    return FA_OK;
}

static size_t count_values(const Onnx__GraphProto *g)
{
    size_t n = g->n_input + g->n_initializer + g->n_sparse_initializer;
    for (size_t i = 0; i < g->n_node; i++) n += g->node[i]->n_output;
    return n;
}

/* How many values a body can read of the graph around it at most: the scan has bounded how deep this goes. */
static size_t count_captures(const Onnx__GraphProto *g)
{
    size_t n = g->n_output;
    for (size_t i = 0; i < g->n_node; i++) {
        n += g->node[i]->n_input;
        for (size_t k = 0; k < g->node[i]->n_attribute; k++)
            if (g->node[i]->attribute[k]->g) n += count_captures(g->node[i]->attribute[k]->g);
    }
    return n;
}

static fa_status allocate(builder *b, const Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    size_t n_capture = b->outer ? count_captures(g) : 0, n_value = count_values(g) + n_capture, n_input = g->n_input + n_capture;
    size_t most = INT32_MAX / 2;
    if (n_value > most || g->n_node > most || g->n_output > most) return fa_fail(FA_ERR_LIMIT, "more than 2^30 values or nodes");
    if (!(out->value = fa_arena_array(&out->arena, n_value, sizeof *out->value))) return FA_ERR_MEMORY;
    if (!(out->node = fa_arena_array(&out->arena, g->n_node, sizeof *out->node))) return FA_ERR_MEMORY;
    if (!(out->input = fa_arena_array(&out->arena, n_input, sizeof *out->input))) return FA_ERR_MEMORY;
    if (!(b->capture = fa_arena_array(b->file->scratch, n_capture + 1, sizeof *b->capture))) return FA_ERR_MEMORY;
    if (!(out->output = fa_arena_array(&out->arena, g->n_output, sizeof *out->output))) return FA_ERR_MEMORY;
    return FA_OK;
}

/* A new value; `*out` is NULL when there is one of this name. */
static fa_status add_value(builder *b, const char *name, fa_value **out)
{
    fa_graph *g = b->graph;
    bool added;
    char *own = fa_arena_string(&g->arena, name);
    if (!own) return FA_ERR_MEMORY;
    FA_TRY(fa_onnx_names_add(&b->values, own, g->n_value, &added));
    *out = NULL;
    if (!added) return FA_OK;
    *out = &g->value[g->n_value++];
    (*out)->name = own;
    (*out)->producer = -1;
    return FA_OK;
}

/* The value of this name here, or in the graphs around a body, of which the body then gets it as an input; -1 when there is none. */
static fa_status find_value(builder *b, const char *name, int32_t *out)
{
    int32_t around;
    fa_value *v;
    *out = fa_onnx_names_find(&b->values, name);
    if (*out >= 0 || !b->outer) return FA_OK;
    FA_TRY(find_value(b->outer, name, &around));
    if (around < 0) return FA_OK;
    FA_TRY(add_value(b, name, &v));
    *out = (int32_t)(v - b->graph->value);
    v->dtype = b->outer->graph->value[around].dtype;
    b->capture[b->n_capture++] = around;
    b->graph->input[b->graph->n_input++] = *out;
    return FA_OK;
}

static fa_status add_initialiser(builder *b, const char *name, size_t index, fa_value **out)
{
    if (!*name) return fa_fail(FA_ERR_FORMAT, "initialiser %zu has no name", index);
    FA_TRY(add_value(b, name, out));
    if (!*out) return fa_fail(FA_ERR_FORMAT, "two initialisers are called '%s'", name);
    (*out)->is_initialiser = true;
    return FA_OK;
}

static fa_status read_initialisers(builder *b, const Onnx__GraphProto *g)
{
    fa_value *v;
    for (size_t i = 0; i < g->n_initializer; i++) {
        FA_TRY(add_initialiser(b, text(g->initializer[i]->name), i, &v));
        fa_status status = fa_onnx_tensor(g->initializer[i], b->file->folder, &b->graph->arena, &v->view);
        if (status != FA_OK) FA_TRY(unsupported(b, fa_fail_at(status, "initialiser '%s'", v->name)));
        v->dtype = v->view.dtype;
        v->has_shape = true;
        v->declared_ndim = v->view.ndim;
        memcpy(v->declared, v->view.dim, sizeof v->declared);
    }
    for (size_t i = 0; i < g->n_sparse_initializer; i++) {
        const Onnx__TensorProto *values = g->sparse_initializer[i]->values;
        FA_TRY(add_initialiser(b, values ? text(values->name) : "", i, &v));
        FA_TRY(unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "initialiser '%s': the tensor is sparse", v->name)));
    }
    return FA_OK;
}

static fa_status read_inputs(builder *b, const Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    for (size_t i = 0; i < g->n_input; i++) {
        const char *name = text(g->input[i]->name);
        if (!*name) return fa_fail(FA_ERR_FORMAT, "input %zu has no name", i);
        fa_value *v;
        FA_TRY(add_value(b, name, &v));
        if (!v && out->value[fa_onnx_names_find(&b->values, name)].is_initialiser && !b->outer) continue; /* a default, and here always its value */
        if (!v) return fa_fail(FA_ERR_FORMAT, "two inputs are called '%s'", name);
        out->input[out->n_input++] = (int32_t)(v - out->value);
        fa_status status = fa_onnx_declare(g->input[i]->type, v);
        if (status == FA_OK && !v->dtype && !b->outer) status = fa_fail(FA_ERR_FORMAT, "it has no element type");
        if (status != FA_OK) FA_TRY(unsupported(b, fa_fail_at(status, "input '%s'", name)));
    }
    return FA_OK;
}

static fa_status name_node(builder *b, const Onnx__NodeProto *n, size_t index, fa_node *out)
{
    if (!n->op_type || !*n->op_type) return fa_fail(FA_ERR_FORMAT, "node %zu ('%s') has no operator", index, text(n->name));
    const char *name = text(n->name);
    for (size_t i = 0; i < n->n_output && !*name; i++) name = n->output[i];
    if (!*name) name = n->op_type;
    if (!(out->name = fa_arena_string(&b->graph->arena, name))) return FA_ERR_MEMORY;
    if (!(out->op = fa_arena_string(&b->graph->arena, n->op_type))) return FA_ERR_MEMORY;
    if (!(out->domain = fa_arena_string(&b->graph->arena, domain_of(n->domain)))) return FA_ERR_MEMORY;
    out->opset = fa_onnx_names_find(&b->file->domains, out->domain);
    if (out->opset < 0 && b->file->old) out->opset = 1;
    if (out->opset < 0) return fa_fail(FA_ERR_FORMAT, "node '%s': the model imports no operator set '%s'", out->name, out->domain);
    /* The rewrites' own operators trust their attributes. */
    if (strcmp(out->domain, "fattr") == 0)
        return unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "node '%s': the domain 'fattr' is not for files", out->name));
    return FA_OK;
}

static fa_status read_attributes(builder *b, const Onnx__NodeProto *n, fa_node *out)
{
    fa_onnx_names seen = {.arena = b->file->scratch};
    if (!(out->attr = fa_arena_array(&b->graph->arena, n->n_attribute, sizeof *out->attr))) return FA_ERR_MEMORY;
    for (size_t i = 0; i < n->n_attribute; i++) {
        const char *name = text(n->attribute[i]->name);
        if (!*name) return fa_fail(FA_ERR_FORMAT, "node '%s': attribute %zu has no name", out->name, i);
        bool kept = false, added;
        FA_TRY(fa_onnx_names_add(&seen, name, 0, &added));
        if (!added) return fa_fail(FA_ERR_FORMAT, "node '%s': two attributes are called '%s'", out->name, name);
        fa_status status = fa_onnx_attribute(n->attribute[i], b->file->folder, &b->graph->arena, &out->attr[out->n_attr], &kept);
        if (status != FA_OK) FA_TRY(unsupported(b, fa_fail_at(status, "node '%s', attribute '%s'", out->name, name)));
        if (kept) out->n_attr++;
    }
    return FA_OK;
}

static fa_status read_node_outputs(builder *b, const Onnx__NodeProto *n, fa_node *out)
{
    if (!(out->out = fa_arena_array(&b->graph->arena, n->n_output, sizeof *out->out))) return FA_ERR_MEMORY;
    out->n_out = (int32_t)n->n_output;
    for (size_t i = 0; i < n->n_output; i++) {
        out->out[i] = -1;
        if (!*n->output[i]) continue;
        fa_value *v;
        FA_TRY(add_value(b, n->output[i], &v));
        if (!v) return fa_fail(FA_ERR_FORMAT, "node '%s': there is an input, initialiser or output '%s' before it", out->name, n->output[i]);
        out->out[i] = (int32_t)(v - b->graph->value);
    }
    return FA_OK;
}

static fa_status read_graph(builder *b, Onnx__GraphProto *g);

/* A body becomes an attribute; what it reads of this graph is added to `capture` [n], which holds that of the node's bodies before it. */
static fa_status read_body(builder *b, Onnx__AttributeProto *a, fa_node *node, int32_t **capture, int32_t *n)
{
    builder inner = {.file = b->file, .values.arena = b->file->scratch, .outer = b, .depth = b->depth + 1};
    fa_attr *out = &node->attr[node->n_attr];
    fa_context *c = b->graph->arena.context;
    if (inner.depth > NESTING_MAX) return fa_fail(FA_ERR_LIMIT, "node '%s': graphs are nested deeper than %d", node->name, NESTING_MAX);
    *out = (fa_attr){.kind = FA_ATTR_GRAPH, .i = *n};
    if (!(out->name = fa_arena_string(&b->graph->arena, a->name)) || !(out->graph = inner.graph = fa_new(c, sizeof *inner.graph))) return FA_ERR_MEMORY;
    node->n_attr++; /* from here on the graph's own destruction sees to the body */
    inner.graph->arena.context = c;
    inner.graph->opset = b->graph->opset;
    inner.graph->producer = "";
    FA_TRY(read_graph(&inner, a->g));
    if (inner.n_capture > INT32_MAX / 2 - *n) return fa_fail(FA_ERR_LIMIT, "too many inputs");
    int32_t *all = fa_arena_array(b->file->scratch, (size_t)(*n + inner.n_capture) + 1, sizeof *all);
    if (!all) return FA_ERR_MEMORY;
    if (*n) memcpy(all, *capture, (size_t)*n * sizeof *all);
    if (inner.n_capture) memcpy(all + *n, inner.capture, (size_t)inner.n_capture * sizeof *all);
    *capture = all;
    *n += inner.n_capture;
    out->count = inner.n_capture;
    return FA_OK;
}

/* The node's inputs, and behind them what its bodies read of this graph. */
static fa_status read_node_inputs(builder *b, const Onnx__NodeProto *n, fa_node *out)
{
    int32_t *capture = NULL, n_capture = 0;
    if (n->n_input > INT32_MAX / 2) return fa_fail(FA_ERR_LIMIT, "node '%s': %zu inputs", out->name, n->n_input);
    for (size_t i = 0; i < n->n_attribute; i++) {
        Onnx__AttributeProto *a = n->attribute[i];
        if (!fa_node_is_control(out) || !fa_onnx_is_graph(a)) continue;
        fa_status status = read_body(b, a, out, &capture, &n_capture);
        if (status != FA_OK) return fa_fail_at(status, "node '%s', attribute '%s'", out->name, text(a->name));
    }
    if (!(out->in = fa_arena_array(&b->graph->arena, n->n_input + (size_t)n_capture, sizeof *out->in))) return FA_ERR_MEMORY;
    out->n_in = (int32_t)n->n_input + n_capture;
    for (size_t i = 0; i < n->n_input; i++) {
        out->in[i] = -1;
        if (*n->input[i]) FA_TRY(find_value(b, n->input[i], &out->in[i]));
        if (*n->input[i] && out->in[i] < 0) return fa_fail(FA_ERR_FORMAT, "node '%s': nothing produces its input '%s'", out->name, n->input[i]);
    }
    if (n_capture) memcpy(out->in + n->n_input, capture, (size_t)n_capture * sizeof *capture);
    for (int32_t i = 0; i < out->n_attr; i++)
        if (out->attr[i].kind == FA_ATTR_GRAPH) out->attr[i].i += (int64_t)n->n_input;
    return FA_OK;
}

/* What the file says of outputs and inner values; of inner ones it is a hint, and one that a value cannot hold is left out. */
static fa_status read_outputs(builder *b, const Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = text(g->output[i]->name);
        int32_t index;
        FA_TRY(find_value(b, name, &index));
        if (index < 0) return fa_fail(FA_ERR_FORMAT, "nothing produces the output '%s'", name);
        fa_value *v = &out->value[index];
        out->output[out->n_output++] = index;
        fa_status status = v->dtype ? FA_OK : fa_onnx_declare(g->output[i]->type, v);
        if (status != FA_OK) FA_TRY(unsupported(b, fa_fail_at(status, "output '%s'", name)));
    }
    if (!out->n_output) return fa_fail(FA_ERR_FORMAT, b->outer ? "the graph has no output" : "the model has no output");
    for (size_t i = 0; i < g->n_value_info; i++) {
        int32_t index = fa_onnx_names_find(&b->values, text(g->value_info[i]->name));
        if (index < 0 || out->value[index].dtype) continue;
        fa_status status = fa_onnx_declare(g->value_info[i]->type, &out->value[index]);
        if (status != FA_OK && status != FA_ERR_UNSUPPORTED) return status;
    }
    return FA_OK;
}

static fa_status read_graph(builder *b, Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    FA_TRY(allocate(b, g));
    FA_TRY(read_initialisers(b, g));
    FA_TRY(read_inputs(b, g));
    for (size_t i = 0; i < g->n_node; i++) {
        fa_node *n = &out->node[out->n_node++];
        FA_TRY(name_node(b, g->node[i], i, n));
        FA_TRY(read_attributes(b, g->node[i], n));
        FA_TRY(read_node_outputs(b, g->node[i], n));
    }
    for (size_t i = 0; i < g->n_node; i++) FA_TRY(read_node_inputs(b, g->node[i], &out->node[i]));
    FA_TRY(read_outputs(b, g));
    return b->file->list.length || b->file->list.unlisted ? FA_OK : fa_graph_finish(out); /* what is not supported may be missing from the graph */
}

static fa_status build(builder *b, Onnx__ModelProto *model)
{
    if (!model->graph) return fa_fail(FA_ERR_FORMAT, "it is no ONNX model: there is no graph in it");
    FA_TRY(read_domains(b, model));
    FA_TRY(read_producer(b, model));
    if (model->n_training_info) FA_TRY(unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "training_info: the model trains itself")));
    FA_TRY(check_functions(b, model));
    FA_TRY(read_graph(b, model->graph));
    return fa_onnx_unsupported_end(&b->file->list);
}

fa_status fa_onnx_model(Onnx__ModelProto *model, const char *folder, fa_arena *scratch, fa_graph **out)
{
    fa_graph *graph = fa_new(scratch->context, sizeof *graph);
    if (!graph) return FA_ERR_MEMORY;
    graph->arena.context = scratch->context;
    file f = {.scratch = scratch, .folder = folder, .domains.arena = scratch};
    builder b = {.file = &f, .graph = graph, .values.arena = scratch};
    fa_status status = build(&b, model);
    if (status == FA_OK) *out = graph;
    else fa_graph_destroy(graph);
    return status;
}
