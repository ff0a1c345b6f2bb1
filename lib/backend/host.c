/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/host.h"

#include "base/context.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/options.h"

#include <math.h>
#include <string.h>

#define MOST_ENTRIES (1 << 20)

#define REFUSE(...) fa_fail(FA_ERR_ARGUMENT, "fa_backend." __VA_ARGS__)

static fa_status check_table(const fa_backend *t)
{
    if (t->abi > FA_BACKEND_ABI) return fa_fail(FA_ERR_VERSION, "fa_backend.abi: version %d; this library knows %d", t->abi, FA_BACKEND_ABI);
    if (t->abi < 1) return REFUSE("abi: %d is no version", t->abi);
    const struct {
        const char *name;
        bool given;
    } needed[] = {{"create_pass", t->create_pass != NULL}, {"destroy_pass", t->destroy_pass != NULL}, {"forward", t->forward != NULL}};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (!needed[i].given) return REFUSE("%s: is NULL", needed[i].name);
    const struct {
        const char *name;
        int32_t count, least;
        bool given;
    } list[] = {{"inputs", t->input_count, 1, t->inputs != NULL}, {"layers", t->layer_count, 0, t->layers != NULL}, {"parameters", t->parameter_count, 0, t->parameters != NULL}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (list[i].count < list[i].least || list[i].count > MOST_ENTRIES) return REFUSE("%s: %d of them; %d to %d are taken", list[i].name, list[i].count, list[i].least, MOST_ENTRIES);
        if (list[i].count && !list[i].given) return REFUSE("%s: is NULL", list[i].name);
    }
    if (!t->output && (t->classes < 2 || t->classes > INT32_MAX)) return REFUSE("classes: %lld; logits have 2 to %d columns", (long long)t->classes, INT32_MAX);
    return FA_OK;
}

static bool named(const char *name)
{
    return name && name[0];
}

static fa_status add_input(fa_host *h, int32_t i)
{
    const fa_value_info *from = &h->table.inputs[i];
    fa_value *to = &h->graph->value[i];
    if (!named(from->name)) return REFUSE("inputs[%d]: has no name", i);
    for (int32_t k = 0; k < i; k++)
        if (!strcmp(h->graph->value[k].name, from->name)) return REFUSE("inputs[%d]: '%.100s' is there twice", i, from->name);
    if (from->dtype != FA_FLOAT32 && from->dtype != FA_INT64) return REFUSE("inputs[%d]: '%.100s' is %s; float32 or int64 is taken", i, from->name, fa_dtype_name(from->dtype));
    if (from->ndim < 1 || from->ndim > FA_MAX_DIMS) return REFUSE("inputs[%d]: '%.100s' has %d dimensions; 1 to %d are taken", i, from->name, from->ndim, FA_MAX_DIMS);
    *to = (fa_value){.name = fa_arena_string(&h->arena, from->name), .producer = -1, .has_shape = true, .dtype = from->dtype, .declared_ndim = from->ndim, .declared = {-1}};
    for (int32_t d = 1; d < from->ndim; d++) to->declared[d] = from->shape[d] > 0 ? from->shape[d] : -1;
    h->graph->input[i] = i;
    return to->name ? FA_OK : FA_ERR_MEMORY;
}

static fa_status add_output(fa_host *h)
{
    const fa_backend *t = &h->table;
    const fa_value_info logits = {.name = "logits", .dtype = FA_FLOAT32, .ndim = 2, .shape = {-1, t->classes}}, *from = t->output ? t->output : &logits;
    const char *name = named(from->name) ? from->name : logits.name;
    fa_value *to = &h->graph->value[t->input_count];
    fa_view least = {.dtype = FA_FLOAT32};
    if (from->dtype != FA_FLOAT32) return REFUSE("output: '%.100s' is %s; float32 is taken", name, fa_dtype_name(from->dtype));
    if (from->ndim < 1 || from->ndim > FA_MAX_DIMS) return REFUSE("output: '%.100s' has %d dimensions; 1 to %d are taken", name, from->ndim, FA_MAX_DIMS);
    for (int32_t i = 0; i < t->input_count; i++)
        if (!strcmp(h->graph->value[i].name, name)) return REFUSE("output: '%.100s' is an input", name);
    *to = (fa_value){.name = fa_arena_string(&h->arena, name), .producer = -1, .has_shape = true, .dtype = FA_FLOAT32, .declared_ndim = from->ndim, .declared = {-1}};
    int64_t dim[FA_MAX_DIMS] = {1};
    for (int32_t d = 1; d < from->ndim; d++) {
        to->declared[d] = from->shape[d] > 0 ? from->shape[d] : -1;
        dim[d] = from->shape[d] > 0 ? from->shape[d] : 1;
        if (from->shape[d] <= 0 && !t->output_shape) return REFUSE("output: dimension %d of '%.100s' is open, and output_shape is NULL", d, name);
    }
    if (!fa_view_set_shape(&least, from->ndim, dim)) return REFUSE("output: '%.100s' is too large", name);
    h->graph->output[0] = t->input_count;
    return to->name ? FA_OK : FA_ERR_MEMORY;
}

static fa_status make_graph(fa_host *h)
{
    fa_context *context = h->arena.context;
    const fa_backend *t = &h->table;
    fa_graph *g = h->graph = fa_new(context, sizeof *g);
    if (!g) return FA_ERR_MEMORY;
    g->arena.context = context;
    g->n_input = t->input_count;
    g->n_output = 1;
    g->n_value = t->input_count + 1;
    g->producer = t->name;
    g->value = fa_arena_array(&g->arena, (size_t)g->n_value, sizeof *g->value);
    g->input = fa_arena_array(&g->arena, (size_t)g->n_value, sizeof *g->input);
    g->output = fa_arena_array(&g->arena, 1, sizeof *g->output);
    if (!g->value || !g->input || !g->output) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < t->input_count; i++) FA_TRY(add_input(h, i));
    return add_output(h);
}

static fa_status add_layer(fa_host *h, int32_t i)
{
    const fa_backend_layer *from = &h->table.layers[i];
    fa_layer *to = &h->layers.layer[i];
    int64_t kernel, elements;
    if (!named(from->name)) return REFUSE("layers[%d]: has no name", i);
    const char *name = from->name;
    if (from->in < 1 || from->in >= INT32_MAX || from->out < 1 || from->out > INT32_MAX || !fa_mul_i64(from->in, from->out, &elements) || elements > FA_MAX_ELEMENTS)
        return REFUSE("layers[%d]: '%.100s' is %lld x %lld", i, name, (long long)from->in, (long long)from->out);
    if (from->groups < 1 || from->out % from->groups) return REFUSE("layers[%d]: '%.100s' has %lld outputs in %lld groups", i, name, (long long)from->out, (long long)from->groups);
    if (from->kernel_h < 1 || from->kernel_h > 1024 || from->kernel_w < 1 || from->kernel_w > 1024 || !fa_mul_i64(from->kernel_h, from->kernel_w, &kernel) || from->in % kernel)
        return REFUSE("layers[%d]: '%.100s' has %lld inputs under a kernel of %lld x %lld", i, name, (long long)from->in, (long long)from->kernel_h, (long long)from->kernel_w);
    const bool bias = from->has_bias != 0;
    *to = (fa_layer){.name = fa_arena_string(&h->arena, name), .op = kernel > 1 || from->groups > 1 ? "Conv" : "Gemm",
                     .weight = fa_arena_string(&h->arena, named(from->weight) ? from->weight : name),
                     .in = from->in + bias, .out = from->out, .kh = from->kernel_h, .kw = from->kernel_w, .groups = from->groups, .has_bias = bias, .block = i};
    if (!to->name || !to->weight) return FA_ERR_MEMORY;
    for (int32_t k = i - 1; k >= 0 && named(from->weight); k--) { /* the first with the same weight and the same shape of gradient */
        const fa_layer *l = &h->layers.layer[k];
        if (named(h->table.layers[k].weight) && !strcmp(l->weight, to->weight) && l->in == to->in && l->out == to->out && l->groups == to->groups) to->block = l->block;
    }
    return FA_OK;
}

static fa_status add_parameter(fa_host *h, int32_t i)
{
    const fa_backend_parameter *from = &h->table.parameters[i];
    fa_parameters *p = &h->parameters;
    if (!named(from->name)) return REFUSE("parameters[%d]: has no name", i);
    if (from->rows < 1 || from->count < 1 || from->count % from->rows || from->count > FA_MAX_ELEMENTS - p->weights)
        return REFUSE("parameters[%d]: '%.100s' has %lld elements in %lld rows", i, from->name, (long long)from->count, (long long)from->rows);
    if (!from->data) return REFUSE("parameters[%d]: '%.100s' has no data", i, from->name);
    p->parameter[p->count++] = (fa_parameter){fa_arena_string(&h->arena, from->name), p->weights, from->count, from->rows};
    p->weights += from->count;
    return p->parameter[i].name ? FA_OK : FA_ERR_MEMORY;
}

static fa_status copy_weights(fa_host *h)
{
    fa_parameters *p = &h->parameters;
    p->trained = fa_arena_array(&h->arena, (size_t)p->weights + 1, sizeof *p->trained);
    if (!p->trained) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < p->count; i++) {
        const float *from = h->table.parameters[i].data;
        memcpy(p->trained + p->parameter[i].offset, from, (size_t)p->parameter[i].count * sizeof *from);
        for (int64_t k = 0; k < p->parameter[i].count; k++)
            if (!isfinite(p->trained[p->parameter[i].offset + k]))
                return fa_fail(FA_ERR_NOT_FINITE, "fa_backend.parameters[%d]: element %lld of '%.100s' is NaN or infinite", i, (long long)k, p->parameter[i].name);
    }
    return FA_OK;
}

static void hash_shape(fa_hash *s, const fa_value *v)
{
    fa_hash_add_i64(s, v->declared_ndim);
    for (int32_t d = 0; d < v->declared_ndim; d++) fa_hash_add_i64(s, v->declared[d]);
}

/* Everything but names, as for graphs. */
static fa_status digest(fa_host *h)
{
    const fa_backend *t = &h->table;
    static const uint8_t none[FA_DIGEST_SIZE];
    if (!t->parameter_count && !memcmp(t->digest, none, sizeof none)) return REFUSE("digest: is all zero, and there are no parameters to identify the network by");
    fa_hash s;
    fa_hash_begin(&s);
    fa_hash_add_string(&s, "fa_backend");
    fa_hash_add(&s, t->digest, sizeof t->digest);
    if (!t->output) fa_hash_add_i64(&s, t->classes);
    else hash_shape(&s, &h->graph->value[h->graph->output[0]]);
    fa_hash_add_i64(&s, t->input_count);
    for (int32_t i = 0; i < t->input_count; i++) {
        fa_hash_add_i64(&s, h->graph->value[i].dtype);
        hash_shape(&s, &h->graph->value[i]);
    }
    fa_hash_add_i64(&s, t->layer_count);
    for (int32_t i = 0; i < t->layer_count; i++) {
        const fa_layer *l = &h->layers.layer[i];
        const int64_t about[] = {l->in, l->out, l->groups, l->kh, l->kw, l->has_bias, l->block};
        for (size_t k = 0; k < sizeof about / sizeof about[0]; k++) fa_hash_add_i64(&s, about[k]);
    }
    fa_hash_add_i64(&s, t->parameter_count);
    for (int32_t i = 0; i < t->parameter_count; i++) {
        fa_hash_add_i64(&s, h->parameters.parameter[i].rows);
        fa_hash_add_i64(&s, h->parameters.parameter[i].count);
    }
    fa_hash_add(&s, h->parameters.trained, (size_t)h->parameters.weights * sizeof(float));
    fa_hash_end(&s, h->digest);
    return FA_OK;
}

static fa_status fill(fa_host *h, const fa_backend *given)
{
    fa_backend *t = &h->table;
    FA_TRY(fa_options_read("fa_backend", t, sizeof *t, given));
    FA_TRY(check_table(t));
    t->name = fa_arena_string(&h->arena, named(t->name) ? t->name : "backend");
    h->layers = (fa_layers){.layer = fa_arena_array(&h->arena, (size_t)t->layer_count + 1, sizeof *h->layers.layer), .count = t->layer_count};
    h->parameters.parameter = fa_arena_array(&h->arena, (size_t)t->parameter_count + 1, sizeof *h->parameters.parameter);
    if (!t->name || !h->layers.layer || !h->parameters.parameter) return FA_ERR_MEMORY;
    FA_TRY(make_graph(h));
    for (int32_t i = 0; i < t->layer_count; i++) FA_TRY(add_layer(h, i));
    for (int32_t i = 0; i < t->parameter_count; i++) FA_TRY(add_parameter(h, i));
    FA_TRY(copy_weights(h));
    FA_TRY(digest(h));
    t->inputs = NULL; /* the caller's no longer */
    t->layers = NULL;
    t->parameters = NULL;
    t->output = NULL;
    return FA_OK;
}

fa_status fa_host_create(fa_context *context, const fa_backend *backend, fa_host **out)
{
    fa_host *h = fa_new(context, sizeof *h);
    if (!h) return FA_ERR_MEMORY;
    h->arena.context = context;
    fa_status status = fill(h, backend);
    if (status != FA_OK) {
        fa_host_destroy(h);
        return status;
    }
    *out = h;
    return FA_OK;
}

void fa_host_destroy(fa_host *h)
{
    if (!h) return;
    fa_context *c = h->arena.context;
    fa_graph_destroy(h->graph);
    fa_arena_clear(&h->arena);
    fa_delete(c, h);
}

fa_status fa_host_program(const fa_host *h, fa_program **out)
{
    fa_context *c = h->arena.context;
    fa_program *p = fa_new(c, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    const fa_tap_ops *of_taps = c->kernels == FA_KERNELS_FAST ? &fa_tap_ops_fast : &fa_tap_ops_reference;
    *p = (fa_program){.arena.context = c, .engine = &fa_engine_host, .source = h->graph, .host = h, .evaluation = {h->graph, h->layers},
                      .tap_ops = h->table.taps || !h->table.gradients ? of_taps : &fa_tap_ops_whole, .kernels = h->table.name, .logits = h->graph->output[0], .kind = c->kernels};
    *out = p;
    return FA_OK;
}

/* The chosen parameters; `value` is the index among those declared. */
static fa_status choose(const fa_parameters *all, const fa_varied_options *o, fa_arena *arena, fa_parameters *p)
{
    p->parameter = fa_arena_array(arena, (size_t)all->count, sizeof *p->parameter);
    p->value = fa_arena_array(arena, (size_t)all->count, sizeof *p->value);
    if (!p->parameter || !p->value) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < all->count; i++) {
        if (o->select && !o->select(o->user, all->parameter[i].name)) continue;
        p->parameter[p->count] = all->parameter[i];
        p->parameter[p->count].offset = p->weights;
        p->value[p->count++] = i;
        p->weights += all->parameter[i].count;
    }
    if (!p->count) return fa_fail(FA_ERR_ARGUMENT, "none of the model's weights is selected");
    p->trained = fa_arena_array(arena, (size_t)p->weights, sizeof *p->trained);
    if (!p->trained) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < p->count; i++)
        memcpy(p->trained + p->parameter[i].offset, all->trained + all->parameter[p->value[i]].offset, (size_t)p->parameter[i].count * sizeof *p->trained);
    return FA_OK;
}

fa_status fa_host_vary(const fa_program *plain, const fa_varied_options *o, fa_program **out)
{
    const fa_host *h = plain->host;
    if (!h->table.set_weights || !h->parameters.count)
        return fa_fail(FA_ERR_UNSUPPORTED, "%.100s: it gives no losses at other weights (fa_backend.%s), without which there are no trace sketches", h->table.name,
                       h->table.set_weights ? "parameters" : "set_weights");
    if (o->reestimate) return fa_fail(FA_ERR_UNSUPPORTED, "%.100s: running statistics of BatchNormalization cannot be re-estimated in a host's passes", h->table.name);
    fa_program *p;
    FA_TRY(fa_host_program(h, &p));
    fa_status status = choose(&h->parameters, o, &p->arena, &p->parameters);
    if (status != FA_OK) {
        fa_program_destroy(p);
        return status;
    }
    *out = p;
    return FA_OK;
}
