/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pattern.h"
#include "base/error.h"
#include "backend/rewrite.h"

#include <math.h>
#include <string.h>

const fa_node *fa_pattern_made_by(const fa_pattern *p, int32_t value, const char *op)
{
    if (value < 0 || p->base->value[value].producer < 0) return NULL;
    const fa_node *node = &p->base->node[p->base->value[value].producer];
    if (node->domain[0] || strcmp(node->op, op) != 0 || node->n_in < 1 || node->in[0] < 0 || node->out[0] != value) return NULL;
    for (int32_t o = 1; o < node->n_out; o++)
        if (node->out[o] >= 0) return NULL;
    return node;
}

const fa_node *fa_pattern_inner(const fa_pattern *p, int32_t value, const char *op)
{
    return value >= 0 && p->readers[value] == 1 ? fa_pattern_made_by(p, value, op) : NULL;
}

bool fa_pattern_scalar(const fa_pattern *p, int32_t value, double *x)
{
    const fa_view *v = fa_graph_constant(p->base, value);
    if (!v || p->base->value[value].varies || v->count != 1 || !fa_dtype_is_real(v->dtype)) return false;
    *x = v->dtype == FA_FLOAT64 ? *(const double *)v->data : (double)*(const float *)v->data;
    return v->ndim <= 1; /* of higher rank it would widen what it meets */
}

bool fa_pattern_is(double x, double number)
{
    return fabs(x - number) <= 1e-6 * fabs(number);
}

int32_t fa_pattern_beside_scalar(const fa_pattern *p, const fa_node *node, double *x)
{
    if (node->n_in != 2 || node->in[0] < 0 || node->in[1] < 0 || fa_node_attr(node, "axis")) return -1;
    if (fa_pattern_scalar(p, node->in[1], x)) return node->in[0];
    return fa_pattern_scalar(p, node->in[0], x) ? node->in[1] : -1;
}

static void add_factors(const fa_pattern *p, int32_t value, bool root, fa_factors *f)
{
    double x;
    const fa_node *mul = root ? fa_pattern_made_by(p, value, "Mul") : fa_pattern_inner(p, value, "Mul"),
                  *div = root ? fa_pattern_made_by(p, value, "Div") : fa_pattern_inner(p, value, "Div");
    if (f->count > FA_PATTERN_FACTORS) return;
    if (fa_pattern_scalar(p, value, &x)) {
        f->scale *= x;
    } else if (mul && mul->n_in == 2 && !fa_node_attr(mul, "axis")) {
        for (int i = 0; i < 2; i++) add_factors(p, mul->in[i], false, f);
    } else if (div && div->n_in == 2 && !fa_node_attr(div, "axis") && fa_pattern_scalar(p, div->in[1], &x) && x != 0) {
        f->scale /= x;
        add_factors(p, div->in[0], false, f);
    } else {
        if (f->count < FA_PATTERN_FACTORS) f->factor[f->count] = value;
        f->count++;
    }
}

fa_factors fa_pattern_product(const fa_pattern *p, int32_t value)
{
    fa_factors f = {.scale = 1};
    add_factors(p, value, true, &f);
    return f;
}

bool fa_pattern_reduces_last(const fa_pattern *p, const fa_node *node)
{
    int64_t count;
    const int64_t *axes = fa_node_ints(node, "axes", &count);
    if (!axes && node->n_in == 2) {
        const fa_view *v = fa_graph_constant(p->base, node->in[1]);
        if (!v || fa_dtype_is_real(v->dtype) || !v->data) return false;
        axes = v->data;
        count = v->count;
    }
    return axes && count == 1 && axes[0] == -1 && fa_node_int(node, "keepdims", 1);
}

fa_status fa_pattern_replace(fa_pattern *p, int32_t n, const char *op, const char *domain, int32_t opset, int32_t n_in, int32_t n_out, int32_t n_attr, fa_node **node)
{
    int32_t made;
    FA_TRY(fa_edit_node(&p->edit, p->base->node[n].name, op, domain, opset, n_in, n_out, n_attr, &made));
    *node = &p->edit.graph->node[made];
    (*node)->out[0] = p->base->node[n].out[0];
    fa_edit_remove_node(&p->edit, n);
    return FA_OK;
}

/* `shapes`: also what reads a value's shape alone. */
static void count_readers(const fa_graph *g, bool shapes, int32_t *readers)
{
    for (int32_t n = 0; n < g->n_node; n++)
        for (int32_t i = 0; g->node[n].op && (shapes || !fa_node_reads_shape(&g->node[n])) && i < g->node[n].n_in; i++)
            if (g->node[n].in[i] >= 0) readers[g->node[n].in[i]]++;
}

/* What was inside a group goes: base's nodes that had a reader and have none any more. */
static fa_status sweep(fa_pattern *p, const int32_t *keep, int32_t n_keep)
{
    fa_graph *g = p->edit.graph;
    int32_t *left = fa_arena_array(&p->work, (size_t)g->n_value + 1, sizeof *left);
    if (!left) return FA_ERR_MEMORY;
    count_readers(g, true, left);
    for (int32_t i = 0; i < n_keep; i++) left[keep[i]]++;
    for (int32_t i = 0; i < g->n_output; i++) left[g->output[i]]++;
    for (int32_t n = p->base->n_node - 1; n >= 0; n--) {
        bool had = false, read = false;
        for (int32_t o = 0; g->node[n].op && o < g->node[n].n_out; o++) {
            const int32_t v = g->node[n].out[o];
            had |= v >= 0 && p->readers[v] > 0;
            read |= v >= 0 && left[v] > 0;
        }
        if (!had || read) continue;
        for (int32_t i = 0; i < g->node[n].n_in; i++)
            if (g->node[n].in[i] >= 0) left[g->node[n].in[i]]--;
        fa_edit_remove_node(&p->edit, n);
    }
    return FA_OK;
}

static fa_status replace_all(fa_pattern *p)
{
    static fa_status (*const rules[])(fa_pattern *, int32_t, bool *) = {fa_pattern_layernorm, fa_pattern_rmsnorm, fa_pattern_gelu, fa_pattern_attention};
    for (int32_t n = 0; n < p->base->n_node; n++) {
        const fa_node *node = &p->base->node[n];
        bool done = node->domain[0] || node->n_out < 1 || node->out[0] < 0 || p->base->value[node->out[0]].is_parameter;
        for (size_t r = 0; r < sizeof rules / sizeof *rules && !done; r++) FA_TRY(rules[r](p, n, &done));
    }
    return FA_OK;
}

fa_status fa_rewrite_patterns(const fa_graph *graph, const int32_t *keep, int32_t n_keep, fa_graph **out)
{
    fa_pattern p = {.base = graph, .work = {.context = graph->arena.context}};
    p.readers = fa_arena_array(&p.work, (size_t)graph->n_value + 1, sizeof *p.readers);
    fa_status status = p.readers ? fa_edit_begin(graph, &p.edit) : FA_ERR_MEMORY;
    if (status == FA_OK) {
        count_readers(graph, false, p.readers);
        for (int32_t i = 0; i < n_keep; i++) p.readers[keep[i]]++;
        for (int32_t i = 0; i < graph->n_output; i++) p.readers[graph->output[i]]++;
        status = replace_all(&p);
        if (status == FA_OK) status = sweep(&p, keep, n_keep);
        if (status == FA_OK) status = fa_edit_finish(&p.edit, out);
        else fa_edit_discard(&p.edit);
    }
    fa_arena_clear(&p.work);
    return status;
}
