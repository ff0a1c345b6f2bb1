/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pass.h"

#include "backend/loss.h"
#include "backend/program.h"
#include "base/error.h"
#include "graph/array.h"
#include "graph/plan.h"

#include <math.h>
#include <string.h>

struct fa_pass {
    fa_arena arena;
    const fa_program *program;
    fa_plan *plan;
    fa_run *run;
    int64_t batch, n; /* n: inputs of the current forward */
    int64_t classes;
    int32_t n_tap;
    int32_t *tap_layer; /* [n_tap] layer of each tap */
    fa_tap *geometry;   /* [layer_count]; of tapped layers */
    /* during fa_pass_backward */
    fa_tap_fn visit;
    void *user;
};

static fa_status input_views(const fa_pass_request *r, int64_t batch, fa_arena *arena, fa_view **out)
{
    const fa_graph *g = r->program->graph;
    fa_view *views = fa_arena_array(arena, (size_t)g->n_input + 1, sizeof *views);
    if (!views) return FA_ERR_MEMORY;
    if (r->n_inputs != g->n_input) return fa_fail(FA_ERR_SHAPE, "%d arrays where the model takes %d inputs", r->n_inputs, g->n_input);
    for (int32_t i = 0; i < g->n_input; i++) {
        const fa_array *a = &r->inputs[i];
        const char *name = g->value[g->input[i]].name;
        if (a->ndim < 1) return fa_fail(FA_ERR_SHAPE, "input '%s': a scalar has no dimension that counts inputs", name);
        int64_t dim[FA_MAX_DIMS] = {batch};
        for (int32_t d = 1; d < a->ndim; d++) dim[d] = a->shape[d];
        views[i] = (fa_view){.dtype = g->value[g->input[i]].dtype ? g->value[g->input[i]].dtype : a->dtype};
        if (!fa_view_set_shape(&views[i], a->ndim, dim)) return fa_fail(FA_ERR_LIMIT, "input '%s': too large at batch %lld", name, (long long)batch);
        if (views[i].count == 0) return fa_fail(FA_ERR_SHAPE, "input '%s': a dimension is 0", name);
    }
    *out = views;
    return FA_OK;
}

/* [n, classes], where dimensions of 1 do not count. */
static fa_status check_logits(fa_pass *p)
{
    const fa_value *value = &p->program->graph->value[p->program->logits];
    const fa_view *v = fa_plan_value(p->plan, p->program->logits);
    char text[FA_SHAPE_TEXT];
    int32_t wide = 0;
    for (int32_t d = 1; d < v->ndim; d++) wide += v->dim[d] > 1;
    if (!fa_dtype_is_real(v->dtype) || v->data || v->ndim < 2 || v->dim[0] != p->batch || wide != 1)
        return fa_fail(FA_ERR_SHAPE, "output '%s' is %s %s at batch %lld%s; logits [n, classes] with at least two classes are needed", value->name, fa_dtype_name(v->dtype),
                       fa_shape_text(v->ndim, v->dim, text, sizeof text), (long long)p->batch, v->data ? " and does not depend on the input" : "");
    p->classes = v->count / p->batch;
    return FA_OK;
}

static fa_status build(fa_pass *p, const fa_pass_request *r)
{
    const fa_program *program = r->program;
    const fa_graph *g = program->graph;
    size_t layers = (size_t)program->layers.count + 1;
    p->program = program;
    int64_t fixed = fa_graph_fixed_batch(g);
    p->batch = fixed ? fixed : r->batch;
    p->tap_layer = fa_arena_array(&p->arena, layers, sizeof *p->tap_layer);
    p->geometry = fa_arena_array(&p->arena, layers, sizeof *p->geometry);
    int32_t *taps = fa_arena_array(&p->arena, layers, sizeof *taps);
    if (!p->tap_layer || !p->geometry || !taps) return FA_ERR_MEMORY;
    for (int32_t l = 0; r->tapped && l < program->layers.count; l++) {
        if (!r->tapped[l]) continue;
        p->tap_layer[p->n_tap] = l;
        taps[p->n_tap++] = program->layers.node[l];
    }
    fa_view *inputs = NULL;
    FA_TRY(input_views(r, p->batch, &p->arena, &inputs));
    fa_plan_request request = {.graph = g, .context = r->context, .ops = program->ops, .inputs = inputs, .wanted = &program->logits, .n_wanted = 1,
                               .loss = p->n_tap ? program->logits : -1, .tap = taps, .n_tap = p->n_tap};
    FA_TRY(fa_plan_create(&request, &p->plan));
    FA_TRY(check_logits(p));
    for (int32_t t = 0; t < p->n_tap; t++) {
        int32_t l = p->tap_layer[t];
        const fa_node *node = &g->node[taps[t]];
        const fa_view *a = fa_plan_value(p->plan, node->in[0]), *d = fa_plan_value(p->plan, node->out[0]);
        if (!a || !d) continue; /* the logits do not depend on this layer: never visited, no signal */
        FA_TRY(fa_layer_geometry(&program->layers.layer[l], node, a, d, p->batch, &p->geometry[l]));
        p->geometry[l].layer = l;
    }
    return fa_run_create(p->plan, p->arena.context, &p->run);
}

fa_status fa_pass_create(const fa_pass_request *request, fa_pass **out)
{
    fa_pass *p = fa_new(request->context, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->arena.context = request->context;
    fa_status status = build(p, request);
    if (status != FA_OK) {
        fa_pass_destroy(p);
        return status;
    }
    *out = p;
    return FA_OK;
}

void fa_pass_destroy(fa_pass *p)
{
    if (!p) return;
    fa_context *c = p->arena.context;
    fa_run_destroy(p->run);
    fa_plan_destroy(p->plan);
    fa_arena_clear(&p->arena);
    fa_delete(c, p);
}

int64_t fa_pass_batch(const fa_pass *p)
{
    return p->batch;
}

int64_t fa_pass_classes(const fa_pass *p)
{
    return p->classes;
}

const fa_tap *fa_pass_geometry(const fa_pass *p, int32_t layer)
{
    return &p->geometry[layer];
}

double fa_pass_flops_forward(const fa_pass *p)
{
    return fa_plan_flops_forward(p->plan) / (double)p->batch;
}

double fa_pass_flops_backward(const fa_pass *p)
{
    return fa_plan_flops_backward(p->plan) / (double)p->batch;
}

/* Rows beyond n repeat the first, so that whatever lay there cannot raise exceptions or slow the kernels down. */
static fa_status copy_in(fa_pass *p, const fa_array *inputs, int64_t first, int64_t n)
{
    const fa_graph *g = p->program->graph;
    for (int32_t i = 0; i < g->n_input; i++) {
        const char *name = g->value[g->input[i]].name;
        const fa_view *v = fa_run_value(p->run, g->input[i]);
        char *to = fa_run_input(p->run, i);
        if (!to) continue;
        bool fits = inputs[i].ndim == v->ndim;
        for (int32_t d = 1; fits && d < v->ndim; d++) fits = inputs[i].shape[d] == v->dim[d];
        if (!fits || inputs[i].shape[0] < first + n) {
            char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
            int64_t dim[FA_MAX_DIMS];
            memcpy(dim, v->dim, sizeof dim);
            dim[0] = first + n;
            return fa_fail(FA_ERR_SHAPE, "input '%s': shape %s where %s is taken", name, fa_shape_text(inputs[i].ndim, inputs[i].shape, have, sizeof have),
                           fa_shape_text(v->ndim, dim, want, sizeof want));
        }
        int64_t row = v->count / p->batch, bad = fa_array_not_finite(&inputs[i], first * row, n * row);
        if (bad >= 0)
            return fa_fail(FA_ERR_NOT_FINITE, "input '%s': element %lld of input %lld is NaN or infinite", name, (long long)(bad % row), (long long)(bad / row));
        bool real = fa_dtype_is_real(v->dtype);
        if (!real && fa_dtype_is_real(inputs[i].dtype))
            return fa_fail(FA_ERR_DTYPE, "input '%s': %s where %s is taken", name, fa_dtype_name(inputs[i].dtype), fa_dtype_name(v->dtype));
        if (real) fa_array_to_float(&inputs[i], first * row, n * row, (float *)(void *)to);
        else fa_array_to_int64(&inputs[i], first * row, n * row, (int64_t *)(void *)to);
        size_t bytes = (size_t)row * (real ? sizeof(float) : sizeof(int64_t));
        for (int64_t k = n; k < p->batch; k++) memcpy(to + (size_t)k * bytes, to, bytes);
    }
    return FA_OK;
}

fa_status fa_pass_forward(fa_pass *p, const fa_array *inputs, int64_t first, int64_t n, const int64_t *target, const fa_pass_outputs *outputs)
{
    FA_TRY(copy_in(p, inputs, first, n));
    fa_run_forward(p->run);
    const float *logits = fa_run_value(p->run, p->program->logits)->data;
    float *gradient = fa_run_loss_gradient(p->run);
    p->n = n;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * p->classes;
        for (int64_t k = 0; k < p->classes; k++)
            if (!isfinite(z[k])) return fa_fail(FA_ERR_NOT_FINITE, "input %lld: the model's logit %lld is %s", (long long)(first + i), (long long)k, z[k] != z[k] ? "NaN" : "infinite");
        if (target && (target[i] < 0 || target[i] >= p->classes))
            return fa_fail(FA_ERR_ARGUMENT, "input %lld: target %lld of %lld classes", (long long)(first + i), (long long)target[i], (long long)p->classes);
        fa_loss loss;
        fa_loss_cross_entropy(z, p->classes, target ? target[i] : -1, &loss, gradient ? gradient + i * p->classes : NULL);
        if (outputs && outputs->predicted) outputs->predicted[i] = loss.predicted;
        if (outputs && outputs->confidence) outputs->confidence[i] = (float)loss.confidence;
        if (outputs && outputs->loss) outputs->loss[i] = (float)loss.loss;
    }
    if (gradient) memset(gradient + n * p->classes, 0, (size_t)((p->batch - n) * p->classes) * sizeof *gradient);
    return FA_OK;
}

static void visit_tap(void *user, int32_t index, const fa_run *run, const void *grad)
{
    fa_pass *p = user;
    int32_t layer = p->tap_layer[index];
    fa_tap tap = p->geometry[layer];
    tap.n = p->n;
    tap.a = fa_run_value(run, p->program->graph->node[p->program->layers.node[layer]].in[0])->data;
    tap.d = grad;
    p->visit(p->user, &tap);
}

void fa_pass_backward(fa_pass *p, fa_tap_fn visit, void *user)
{
    p->visit = visit;
    p->user = user;
    fa_run_backward(p->run, visit_tap, p);
}
