/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pass.h"

#include "backend/engine.h"
#include "base/error.h"
#include "graph/array.h"

#include <string.h>

fa_status fa_pass_input_views(fa_pass *p, const fa_pass_request *r, const fa_graph *g, fa_view **out)
{
    fa_view *views = fa_arena_array(&p->arena, (size_t)g->n_input + 1, sizeof *views);
    if (!views) return FA_ERR_MEMORY;
    if (r->n_inputs != g->n_input) return fa_fail(FA_ERR_SHAPE, "%d arrays where the model takes %d inputs", r->n_inputs, g->n_input);
    for (int32_t i = 0; i < g->n_input; i++) {
        const fa_array *a = &r->inputs[i];
        const char *name = g->value[g->input[i]].name;
        if (a->ndim < 1) return fa_fail(FA_ERR_SHAPE, "input '%s': a scalar has no dimension that counts inputs", name);
        int64_t dim[FA_MAX_DIMS] = {p->batch};
        for (int32_t d = 1; d < a->ndim; d++) dim[d] = a->shape[d];
        views[i] = (fa_view){.dtype = g->value[g->input[i]].dtype ? g->value[g->input[i]].dtype : a->dtype};
        if (!fa_view_set_shape(&views[i], a->ndim, dim)) return fa_fail(FA_ERR_LIMIT, "input '%s': too large at batch %lld", name, (long long)p->batch);
        if (views[i].count == 0) return fa_fail(FA_ERR_SHAPE, "input '%s': a dimension is 0", name);
    }
    *out = views;
    return FA_OK;
}

/* Room to look at one input's output. */
static fa_status make_rows(fa_pass *p)
{
    const size_t n = (size_t)p->head.positions;
    p->position = fa_arena_array(&p->arena, n, sizeof *p->position);
    p->target = fa_arena_array(&p->arena, n, sizeof *p->target);
    p->weight = fa_arena_array(&p->arena, n, sizeof *p->weight);
    return p->position && p->target && p->weight ? FA_OK : FA_ERR_MEMORY;
}

/* From here on an arena aligns to FA_ALIGN. */
#define LARGE 4096

fa_status fa_pass_create(const fa_pass_request *request, fa_pass **out)
{
    const fa_program *program = request->program;
    if (request->gradient && !program->parameters.count) return fa_fail(FA_ERR_ARGUMENT, "a gradient is asked of a program without parameters");
    fa_pass *p = fa_new(request->context, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->arena.context = request->context;
    p->program = program;
    p->gradient = request->gradient;
    p->output_gradient = request->output_gradient;
    p->output_gradient_user = request->output_gradient_user;
    fa_status status = program->engine->create(p, request);
    if (status == FA_OK && request->workspace && !p->workspace) {
        p->workspace = fa_arena_new(&p->arena, request->workspace(request->workspace_user, p) + LARGE);
        status = p->workspace ? FA_OK : FA_ERR_MEMORY;
    }
    if (status == FA_OK) status = make_rows(p);
    for (int32_t l = 0; status == FA_OK && request->tapped && l < fa_program_layer_count(program); l++) p->geometry[l].padded = p->head.loss == FA_LOSS_NEXT_TOKEN;
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
    p->program->engine->destroy(p);
    fa_arena_clear(&p->arena);
    fa_delete(c, p);
}

int64_t fa_pass_batch(const fa_pass *p)
{
    return p->batch;
}

const fa_head *fa_pass_head(const fa_pass *p)
{
    return &p->head;
}

const fa_tap *fa_pass_geometry(const fa_pass *p, int32_t layer)
{
    return &p->geometry[layer];
}

const float *fa_pass_logits(const fa_pass *p)
{
    return p->logits;
}

double fa_pass_flops_forward(const fa_pass *p)
{
    return p->flops_forward;
}

size_t fa_pass_bytes(const fa_pass *p)
{
    return p->bytes;
}

void *fa_pass_workspace(const fa_pass *p)
{
    return p->workspace;
}

double fa_pass_flops_backward(const fa_pass *p)
{
    return p->flops_backward;
}

/* Rows `first` ... or index[0] ... of one array, n of them, each of `row` elements; FA_ERR_NOT_FINITE names the element. */
static fa_status copy_rows(const fa_array *from, const char *name, bool real, int64_t first, const int64_t *index, int64_t n, int64_t row, char *to)
{
    const size_t bytes = (size_t)row * (real ? sizeof(float) : sizeof(int64_t));
    for (int64_t k = 0, step; k < n; k += step, to += (size_t)step * bytes) {
        step = index ? 1 : n;
        const int64_t at = (index ? index[k] : first) * row, bad = fa_array_not_finite(from, at, step * row);
        if (bad >= 0) return fa_fail(FA_ERR_NOT_FINITE, "input '%s': element %lld of input %lld is NaN or infinite", name, (long long)(bad % row), (long long)(bad / row));
        if (real) fa_array_to_float(from, at, step * row, (float *)(void *)to);
        else fa_array_to_int64(from, at, step * row, (int64_t *)(void *)to);
    }
    return FA_OK;
}

/* Rows beyond n repeat the first, so that whatever lay there cannot raise exceptions or slow the kernels down. */
static fa_status copy_in(fa_pass *p, const fa_array *inputs, int64_t first, const int64_t *index, int64_t n)
{
    for (int32_t i = 0; i < p->n_input; i++) {
        const char *name = p->input[i].name;
        const fa_view *v = p->input[i].view;
        char *to = p->input[i].to;
        if (!to) continue;
        bool fits = inputs[i].ndim == v->ndim;
        for (int32_t d = 1; fits && d < v->ndim; d++) fits = inputs[i].shape[d] == v->dim[d];
        if (!fits || (!index && inputs[i].shape[0] < first + n)) {
            char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
            int64_t dim[FA_MAX_DIMS];
            memcpy(dim, v->dim, sizeof dim);
            dim[0] = index ? inputs[i].ndim ? inputs[i].shape[0] : n : first + n;
            return fa_fail(FA_ERR_SHAPE, "input '%s': shape %s where %s is taken", name, fa_shape_text(inputs[i].ndim, inputs[i].shape, have, sizeof have),
                           fa_shape_text(v->ndim, dim, want, sizeof want));
        }
        for (int64_t k = 0; index && k < n; k++)
            if (index[k] < 0 || index[k] >= inputs[i].shape[0])
                return fa_fail(FA_ERR_ARGUMENT, "input '%s': row %lld of %lld is asked for", name, (long long)index[k], (long long)inputs[i].shape[0]);
        bool real = fa_dtype_is_real(v->dtype);
        if (!real && fa_dtype_is_real(inputs[i].dtype))
            return fa_fail(FA_ERR_DTYPE, "input '%s': %s where %s is taken", name, fa_dtype_name(inputs[i].dtype), fa_dtype_name(v->dtype));
        int64_t row = v->count / p->batch;
        FA_TRY(copy_rows(&inputs[i], name, real, first, index, n, row, to));
        for (int64_t k = 0; !real && p->input[i].rows && k < n; k++)
            FA_TRY(fa_lookup_check(p->input[i].node, name, p->input[i].rows, (const int64_t *)(const void *)to + k * row, row, row, index ? index[k] : first + k));
        size_t bytes = (size_t)row * (real ? sizeof(float) : sizeof(int64_t));
        for (int64_t k = n; k < p->batch; k++) memcpy(to + (size_t)k * bytes, to, bytes);
    }
    return FA_OK;
}

fa_status fa_pass_run_forward(fa_pass *p, const fa_array *inputs, int64_t first, const int64_t *index, int64_t n)
{
    FA_TRY(copy_in(p, inputs, first, index, n));
    p->n = n;
    return p->program->engine->forward(p);
}

fa_status fa_pass_forward(fa_pass *p, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    return fa_pass_forward_some(p, inputs, NULL, first, n, asked, outputs);
}

fa_status fa_pass_forward_some(fa_pass *p, const fa_array *inputs, const int64_t *index, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs)
{
    FA_TRY(fa_pass_run_forward(p, inputs, first, index, n));
    return fa_pass_judge_outputs(p, inputs, index, first, asked, outputs);
}

fa_status fa_pass_backward(fa_pass *p, fa_tap_fn visit, void *user)
{
    p->visit = visit;
    p->user = user;
    return p->program->engine->backward(p);
}
