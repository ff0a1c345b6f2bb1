/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"

#include "api/check.h"
#include "api/tensor.h"
#include "base/context.h"
#include "graph/array.h"

#include <stdio.h>
#include <string.h>

/* Inputs that one run takes where the model leaves the number open: memory stays bounded for sets of any size. */
#define CHUNK 64

typedef struct request {
    const fa_model *model;
    const fa_array *input; /* [n_input] in graph order, checked */
    fa_view *view;         /* [n_input] their shapes for the plan being made */
    int64_t n;             /* leading dimension of all of them */
    int32_t value;
} request;

static fa_status find_value(const fa_model *m, const char *name, int32_t *value)
{
    const fa_graph *g = m->graph;
    *value = m->logits;
    if (!name) return FA_OK;
    for (int32_t i = 0; i < g->n_node; i++)
        if (!strcmp(g->node[i].name, name) && g->node[i].n_out > 0 && g->node[i].out[0] >= 0) {
            *value = g->node[i].out[0];
            return FA_OK;
        }
    int32_t v = fa_graph_find_value(g, name);
    if (v < 0) return fa_fail(FA_ERR_ARGUMENT, "the model has no node and no value '%s'", name);
    *value = v;
    return FA_OK;
}

static fa_status check_input(const fa_value *v, const fa_array *a, int64_t n)
{
    char what[160], want[FA_SHAPE_TEXT], have[FA_SHAPE_TEXT];
    int64_t count;
    snprintf(what, sizeof what, "input '%.100s'", v->name);
    FA_TRY(fa_array_check(a, what, &count));
    if (a->ndim < 1) return fa_fail(FA_ERR_SHAPE, "%s: no dimension; the first one counts inputs", what);
    if (a->shape[0] != n || n < 1)
        return fa_fail(n < 1 ? FA_ERR_ARGUMENT : FA_ERR_SHAPE, "%s: %lld inputs, but %lld in the first array; at least one is needed", what,
                       (long long)a->shape[0], (long long)n);
    bool fits = !v->has_shape || v->declared_ndim == a->ndim;
    for (int32_t i = 1; fits && v->has_shape && i < a->ndim; i++) fits = v->declared[i] < 0 || v->declared[i] == a->shape[i];
    if (!fits)
        return fa_fail(FA_ERR_SHAPE, "%s: shape %s given, the model takes %s", what, fa_shape_text(a->ndim, a->shape, have, sizeof have),
                       fa_shape_text(v->declared_ndim, v->declared, want, sizeof want));
    if (v->dtype && !fa_dtype_is_real(v->dtype) && fa_dtype_is_real(a->dtype))
        return fa_fail(FA_ERR_DTYPE, "%s: %s given, the model takes %s", what, fa_dtype_name(a->dtype), fa_dtype_name(v->dtype));
    int64_t bad = fa_array_not_finite(a, 0, count), row = count / n;
    if (bad >= 0)
        return fa_fail(FA_ERR_NOT_FINITE, "%s: element %lld of input %lld is NaN or infinite", what, (long long)(bad % row), (long long)(bad / row));
    return FA_OK;
}

static fa_status plan_for(const request *r, int64_t n, fa_run_plan **out)
{
    const fa_graph *g = r->model->graph;
    for (int32_t i = 0; i < g->n_input; i++) {
        int64_t dim[FA_MAX_DIMS];
        memcpy(dim, r->input[i].shape, (size_t)r->input[i].ndim * sizeof dim[0]);
        dim[0] = n;
        int32_t declared = g->value[g->input[i]].dtype;
        r->view[i] = (fa_view){.dtype = declared ? declared : r->input[i].dtype};
        if (!fa_view_set_shape(&r->view[i], r->input[i].ndim, dim)) return fa_fail(FA_ERR_LIMIT, "input %d is too large", i);
    }
    return fa_run_plans_get(r->model->plans, r->value, r->view, out);
}

/* Runs inputs [first, first + n), `n` as planned last, and copies the value to its place in the tensor. */
static fa_status run_part(const request *r, const fa_run_plan *plan, int64_t first, int64_t n, void *to)
{
    const fa_graph *g = r->model->graph;
    fa_run *run;
    fa_status status = FA_OK;
    FA_TRY(fa_run_create(plan->plan, r->model->context, &run));
    for (int32_t i = 0; i < g->n_input && status == FA_OK; i++) {
        const char *node;
        const fa_view *v = &r->view[i];
        if (!fa_run_input(run, i)) continue; /* the value does not depend on this input */
        int64_t row = v->count / v->dim[0];
        if (fa_dtype_is_real(v->dtype)) fa_array_to_float(&r->input[i], first * row, n * row, fa_run_input(run, i));
        else fa_array_to_int64(&r->input[i], first * row, n * row, fa_run_input(run, i));
        const int64_t rows = fa_dtype_is_real(v->dtype) ? 0 : fa_lookup_rows(g, plan->plan, i, &node);
        if (rows) status = fa_lookup_check(node, g->value[g->input[i]].name, rows, fa_run_input(run, i), n * row, row, first);
    }
    if (status == FA_OK) fa_run_forward(run);
    const fa_view *v = fa_run_value(run, r->value);
    if (status == FA_OK && v->count) memcpy(to, v->data, (size_t)v->count * (fa_dtype_is_real(v->dtype) ? sizeof(float) : sizeof(int64_t)));
    fa_run_destroy(run);
    return status;
}

/* Whether `many`, the value for `n` inputs, is `one`, that for one, repeated along the first dimension. */
static bool batched(const fa_view *one, const fa_view *many, int64_t n)
{
    bool yes = one->ndim == many->ndim && one->ndim > 0 && many->dim[0] == n * one->dim[0];
    for (int32_t i = 1; yes && i < one->ndim; i++) yes = one->dim[i] == many->dim[i];
    return yes;
}

static fa_status make_tensor(const request *r, const fa_run_plan *plan, int64_t parts_first_dim, fa_tensor **out)
{
    const fa_view *v = fa_plan_value(plan->plan, r->value);
    int64_t dim[FA_MAX_DIMS];
    memcpy(dim, v->dim, sizeof dim);
    if (parts_first_dim >= 0) dim[0] = parts_first_dim;
    return fa_tensor_new(r->model->context, r->model->graph->value[r->value].name, fa_dtype_is_real(v->dtype) ? FA_FLOAT32 : FA_INT64, v->ndim, dim,
                         out);
}

/* In parts of `chunk` inputs and one of what is left. */
static fa_status run_parts(const request *r, const fa_run_plan *plan, int64_t chunk, fa_tensor **out)
{
    fa_tensor *t;
    fa_view v = *fa_plan_value(plan->plan, r->value);
    int64_t per_input = v.dim[0] / chunk, rest = r->n % chunk;
    size_t part = (size_t)v.count * (fa_dtype_is_real(v.dtype) ? sizeof(float) : sizeof(int64_t));
    FA_TRY(make_tensor(r, plan, per_input * r->n, &t));
    fa_status status = FA_OK;
    for (int64_t i = 0; i + chunk <= r->n && status == FA_OK; i += chunk)
        status = run_part(r, plan, i, chunk, (char *)t->data + (size_t)(i / chunk) * part);
    if (rest && status == FA_OK) {
        fa_run_plan *last;
        status = plan_for(r, rest, &last);
        if (status == FA_OK) {
            status = run_part(r, last, r->n - rest, rest, (char *)t->data + (size_t)(r->n / chunk) * part);
            fa_run_plans_put(r->model->plans, last);
        }
    }
    if (status != FA_OK) {
        fa_tensor_release(t);
        return status;
    }
    *out = t;
    return FA_OK;
}

static fa_status run_whole(const request *r, fa_tensor **out)
{
    fa_run_plan *plan;
    fa_tensor *t = NULL;
    FA_TRY(plan_for(r, r->n, &plan));
    fa_status status = make_tensor(r, plan, -1, &t);
    if (status == FA_OK) status = run_part(r, plan, 0, r->n, t->data);
    fa_run_plans_put(r->model->plans, plan);
    if (status != FA_OK) {
        fa_tensor_release(t);
        return status;
    }
    *out = t;
    return FA_OK;
}

static fa_status run(const request *r, fa_tensor **out)
{
    int64_t fixed = fa_graph_fixed_batch(r->model->graph), chunk = fixed ? fixed : CHUNK;
    fa_run_plan *plan;
    fa_view one = {0};
    if (fixed && r->n % fixed)
        return fa_fail(FA_ERR_SHAPE, "%lld inputs given; the model takes %lld at a time", (long long)r->n, (long long)fixed);
    if (r->n <= chunk) return run_whole(r, out);
    if (!fixed) {
        FA_TRY(plan_for(r, 1, &plan));
        one = *fa_plan_value(plan->plan, r->value);
        fa_run_plans_put(r->model->plans, plan);
    }
    FA_TRY(plan_for(r, chunk, &plan));
    const fa_view *v = fa_plan_value(plan->plan, r->value);
    bool parts = fixed ? v->ndim > 0 && v->dim[0] % chunk == 0 : batched(&one, v, chunk);
    fa_status status = parts ? run_parts(r, plan, chunk, out) : run_whole(r, out);
    fa_run_plans_put(r->model->plans, plan);
    return status;
}

fa_status fa_model_run(const fa_model *model, const fa_array *inputs, int32_t input_count, const char *name, fa_tensor **out)
{
    FA_CHECK(model);
    FA_CHECK(inputs);
    FA_CHECK(out);
    const fa_graph *g = model->graph;
    request r = {.model = model};
    fa_arena arena = {.context = model->context};
    FA_TRY(find_value(model, name, &r.value));
    fa_array *ordered = fa_arena_array(&arena, (size_t)(g->n_input + FA_ASIDES), sizeof *ordered);
    r.view = fa_arena_array(&arena, (size_t)g->n_input, sizeof *r.view);
    r.input = ordered;
    fa_status status = ordered && r.view ? fa_network_order(&model->network, inputs, input_count, ordered) : FA_ERR_MEMORY;
    if (status == FA_OK && g->n_input) r.n = ordered[0].ndim > 0 && ordered[0].shape ? ordered[0].shape[0] : 0;
    for (int32_t i = 0; i < g->n_input && status == FA_OK; i++) status = check_input(&g->value[g->input[i]], &ordered[i], r.n);
    if (status == FA_OK) status = model->host && r.value == model->logits ? fa_model_run_host(model, ordered, r.n, CHUNK, out) : run(&r, out);
    fa_arena_clear(&arena);
    return status;
}
