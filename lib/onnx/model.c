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

typedef struct builder {
    fa_graph *graph;
    fa_arena *scratch;
    const char *folder;
    fa_onnx_names values;  /* number: index into graph->value */
    fa_onnx_names domains; /* number: version */
    bool old;              /* before IR version 3 a file imports nothing and means version 1 */
    fa_onnx_unsupported list;
} builder;

/* Reading goes on after FA_ERR_UNSUPPORTED, to find all of it. */
static fa_status unsupported(builder *b, fa_status status)
{
    return fa_onnx_unsupported_note(&b->list, status);
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
    b->old = model->ir_version < 3;
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        const char *domain = domain_of(set->domain);
        if (set->version < 1 || set->version > INT32_MAX)
            return fa_fail(FA_ERR_FORMAT, "version %lld of the operator set '%s' is imported", (long long)set->version, domain);
        bool added;
        FA_TRY(fa_onnx_names_add(&b->domains, domain, (int32_t)set->version, &added));
        if (!added && fa_onnx_names_find(&b->domains, domain) != set->version)
            return fa_fail(FA_ERR_FORMAT, "two versions of the operator set '%s' are imported", domain);
    }
    int32_t version = fa_onnx_names_find(&b->domains, "");
    b->graph->opset = version > 0 ? version : b->old ? 1 : 0;
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

static fa_status allocate(builder *b, const Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    size_t n_value = count_values(g);
    size_t most = INT32_MAX / 2;
    if (n_value > most || g->n_node > most || g->n_output > most) return fa_fail(FA_ERR_LIMIT, "more than 2^30 values or nodes");
    if (!(out->value = fa_arena_array(&out->arena, n_value, sizeof *out->value))) return FA_ERR_MEMORY;
    if (!(out->node = fa_arena_array(&out->arena, g->n_node, sizeof *out->node))) return FA_ERR_MEMORY;
    if (!(out->input = fa_arena_array(&out->arena, g->n_input, sizeof *out->input))) return FA_ERR_MEMORY;
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
        fa_status status = fa_onnx_tensor(g->initializer[i], b->folder, &b->graph->arena, &v->view);
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
        if (!v && out->value[fa_onnx_names_find(&b->values, name)].is_initialiser) continue; /* a default, and here always its value */
        if (!v) return fa_fail(FA_ERR_FORMAT, "two inputs are called '%s'", name);
        out->input[out->n_input++] = (int32_t)(v - out->value);
        fa_status status = fa_onnx_declare(g->input[i]->type, v);
        if (status == FA_OK && !v->dtype) status = fa_fail(FA_ERR_FORMAT, "it has no element type");
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
    out->opset = fa_onnx_names_find(&b->domains, out->domain);
    if (out->opset < 0 && b->old) out->opset = 1;
    if (out->opset < 0) return fa_fail(FA_ERR_FORMAT, "node '%s': the model imports no operator set '%s'", out->name, out->domain);
    /* The rewrites' own operators trust their attributes. */
    if (strcmp(out->domain, "fattr") == 0)
        return unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "node '%s': the domain 'fattr' is not for files", out->name));
    return FA_OK;
}

static fa_status read_attributes(builder *b, const Onnx__NodeProto *n, fa_node *out)
{
    fa_onnx_names seen = {.arena = b->scratch};
    if (!(out->attr = fa_arena_array(&b->graph->arena, n->n_attribute, sizeof *out->attr))) return FA_ERR_MEMORY;
    for (size_t i = 0; i < n->n_attribute; i++) {
        const char *name = text(n->attribute[i]->name);
        if (!*name) return fa_fail(FA_ERR_FORMAT, "node '%s': attribute %zu has no name", out->name, i);
        bool kept = false, added;
        FA_TRY(fa_onnx_names_add(&seen, name, 0, &added));
        if (!added) return fa_fail(FA_ERR_FORMAT, "node '%s': two attributes are called '%s'", out->name, name);
        fa_status status = fa_onnx_attribute(n->attribute[i], b->folder, &b->graph->arena, &out->attr[out->n_attr], &kept);
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

static fa_status read_node_inputs(builder *b, const Onnx__NodeProto *n, fa_node *out)
{
    if (n->n_input > INT32_MAX) return fa_fail(FA_ERR_LIMIT, "node '%s': %zu inputs", out->name, n->n_input);
    if (!(out->in = fa_arena_array(&b->graph->arena, n->n_input, sizeof *out->in))) return FA_ERR_MEMORY;
    out->n_in = (int32_t)n->n_input;
    for (size_t i = 0; i < n->n_input; i++) {
        out->in[i] = *n->input[i] ? fa_onnx_names_find(&b->values, n->input[i]) : -1;
        if (*n->input[i] && out->in[i] < 0) return fa_fail(FA_ERR_FORMAT, "node '%s': nothing produces its input '%s'", out->name, n->input[i]);
    }
    return FA_OK;
}

/* What the file says of outputs and inner values; of inner ones it is a hint, and one that a value cannot hold is left out. */
static fa_status read_outputs(builder *b, const Onnx__GraphProto *g)
{
    fa_graph *out = b->graph;
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = text(g->output[i]->name);
        int32_t index = fa_onnx_names_find(&b->values, name);
        if (index < 0) return fa_fail(FA_ERR_FORMAT, "nothing produces the output '%s'", name);
        fa_value *v = &out->value[index];
        out->output[out->n_output++] = index;
        fa_status status = v->dtype ? FA_OK : fa_onnx_declare(g->output[i]->type, v);
        if (status != FA_OK) FA_TRY(unsupported(b, fa_fail_at(status, "output '%s'", name)));
    }
    if (!out->n_output) return fa_fail(FA_ERR_FORMAT, "the model has no output");
    for (size_t i = 0; i < g->n_value_info; i++) {
        int32_t index = fa_onnx_names_find(&b->values, text(g->value_info[i]->name));
        if (index < 0 || out->value[index].dtype) continue;
        fa_status status = fa_onnx_declare(g->value_info[i]->type, &out->value[index]);
        if (status != FA_OK && status != FA_ERR_UNSUPPORTED) return status;
    }
    return FA_OK;
}

static fa_status build(builder *b, Onnx__ModelProto *model)
{
    Onnx__GraphProto *g = model->graph;
    fa_graph *out = b->graph;
    if (!g) return fa_fail(FA_ERR_FORMAT, "it is no ONNX model: there is no graph in it");
    FA_TRY(read_domains(b, model));
    FA_TRY(read_producer(b, model));
    if (model->n_training_info) FA_TRY(unsupported(b, fa_fail(FA_ERR_UNSUPPORTED, "training_info: the model trains itself")));
    FA_TRY(check_functions(b, model));
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
    FA_TRY(fa_onnx_unsupported_end(&b->list));
    return fa_graph_finish(out);
}

fa_status fa_onnx_model(Onnx__ModelProto *model, const char *folder, fa_arena *scratch, fa_graph **out)
{
    fa_graph *graph = fa_new(scratch->context, sizeof *graph);
    if (!graph) return FA_ERR_MEMORY;
    graph->arena.context = scratch->context;
    builder b = {.graph = graph, .scratch = scratch, .folder = folder, .values.arena = scratch, .domains.arena = scratch};
    fa_status status = build(&b, model);
    if (status == FA_OK) *out = graph;
    else fa_graph_destroy(graph);
    return status;
}
