/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "base/error.h"
#include "graph/edit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A real initialiser, or a value that varies, of `count` elements (any number when negative), or NULL. */
static const fa_view *constant(const fa_graph *g, int32_t value, int64_t count)
{
    const fa_view *v = fa_graph_constant(g, value);
    return v && fa_dtype_is_real(v->dtype) && (count < 0 || v->count == count) ? v : NULL;
}

static double element(const fa_view *v, int64_t i)
{
    return v->dtype == FA_FLOAT64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

/* One BatchNormalization and the layer in front of it. */
typedef struct pair {
    int32_t layer, norm;
    const fa_view *weight, *bias; /* bias NULL: none */
    const fa_view *scale, *shift, *mean, *variance;
    int64_t out;                  /* channels */
    int64_t step, run;            /* element e of the weight belongs to channel e / step % out; `run` elements in all */
} pair;

static bool layer_fits(const fa_graph *g, const fa_node *n, pair *p)
{
    if (n->domain[0] || n->n_in < 2 || !(p->weight = constant(g, n->in[1], -1)) || p->weight->count == 0) return false;
    const fa_view *w = p->weight;
    if (strcmp(n->op, "Conv") == 0 && w->ndim >= 3) {
        p->out = w->dim[0];
        p->step = w->count / p->out;
    } else if (strcmp(n->op, "Gemm") == 0 && w->ndim == 2) {
        bool transposed = fa_node_int(n, "transB", 0) != 0;
        if (fa_node_float(n, "alpha", 1) != 1 || fa_node_float(n, "beta", 1) != 1) return false;
        p->out = w->dim[transposed ? 0 : 1];
        p->step = transposed ? w->dim[1] : 1;
    } else {
        return false;
    }
    p->run = w->count;
    p->bias = NULL;
    if (n->n_in < 3 || n->in[2] < 0) return true;
    p->bias = constant(g, n->in[2], p->out);
    return p->bias && (p->bias->ndim == 1 || p->bias->dim[p->bias->ndim - 1] == p->out);
}

static bool is_kept(const fa_graph *g, int32_t value, const int32_t *keep, int32_t n_keep)
{
    for (int32_t i = 0; i < n_keep; i++)
        if (keep[i] == value) return true;
    for (int32_t i = 0; i < g->n_output; i++)
        if (g->output[i] == value) return true;
    return false;
}

static bool find_pair(const fa_edit *e, int32_t norm, const int32_t *keep, int32_t n_keep, pair *p)
{
    const fa_graph *g = e->graph;
    const fa_node *n = &g->node[norm];
    int32_t reader;
    if (!n->op || strcmp(n->op, "BatchNormalization") != 0 || n->domain[0] || n->n_in != 5 || n->n_out != 1 || fa_node_int(n, "training_mode", 0)) return false;
    p->norm = norm;
    p->layer = n->in[0] < 0 ? -1 : g->value[n->in[0]].producer;
    if (p->layer < 0 || is_kept(g, n->in[0], keep, n_keep) || fa_edit_consumers(e, n->in[0], &reader) != 1) return false;
    if (!layer_fits(g, &g->node[p->layer], p)) return false;
    p->scale = constant(g, n->in[1], p->out);
    p->shift = constant(g, n->in[2], p->out);
    p->mean = constant(g, n->in[3], p->out);
    p->variance = constant(g, n->in[4], p->out);
    return p->scale && p->shift && p->mean && p->variance;
}

static fa_status new_initialiser(fa_edit *e, int32_t old, const fa_view *like, int32_t *value, float **data)
{
    char name[512];
    void *elements;
    snprintf(name, sizeof name, "%.500s.folded", e->graph->value[old].name);
    FA_TRY(fa_edit_initialiser(e, name, FA_FLOAT32, like->ndim, like->dim, value, &elements));
    *data = elements;
    /* The folded weight goes by the name that the model's file knows. */
    fa_value *from = &e->graph->value[old], *to = &e->graph->value[*value];
    const char *given = from->name;
    from->name = to->name;
    to->name = given;
    return FA_OK;
}

/* The layer takes the folded weight and bias, and makes what the normalisation made. */
static void replace(fa_edit *e, const pair *p, int32_t weight, int32_t bias)
{
    fa_node *layer = &e->graph->node[p->layer];
    layer->in[1] = weight;
    layer->in[2] = bias; /* an edit's nodes have room for one input more */
    layer->n_in = 3;
    layer->out[0] = e->graph->node[p->norm].out[0];
    e->graph->value[layer->out[0]].producer = p->layer; /* a second normalisation behind this one folds too */
    fa_edit_remove_node(e, p->norm);
}

static bool varies(const fa_graph *g, const pair *p)
{
    const fa_node *layer = &g->node[p->layer], *norm = &g->node[p->norm];
    bool any = g->value[layer->in[1]].varies || (p->bias && g->value[layer->in[2]].varies);
    for (int32_t i = 1; i < 5; i++) any |= g->value[norm->in[i]].varies;
    return any;
}

/* Where something varies, the folding is left to a node that runs once per set of weights. */
static fa_status fold_later(fa_edit *e, const pair *p)
{
    const fa_node *layer = &e->graph->node[p->layer], *norm = &e->graph->node[p->norm];
    int32_t in[6] = {layer->in[1], p->bias ? layer->in[2] : -1}, weight, bias;
    memcpy(in + 2, norm->in + 1, 4 * sizeof *in);
    const fa_view like = *p->weight; /* the values move when the edit grows */
    const char *weight_name = e->graph->value[in[0]].name, *bias_name = e->graph->value[in[3]].name;
    const float epsilon = fa_node_float(norm, "epsilon", 1e-5f);
    FA_TRY(fa_edit_varying(e, weight_name, like.ndim, like.dim, &weight));
    FA_TRY(fa_edit_varying(e, bias_name, 1, &p->out, &bias));
    FA_TRY(fa_fold_batchnorm(e, norm->name, in, p->step, epsilon, weight, bias));
    replace(e, p, weight, bias);
    return FA_OK;
}

fa_status fa_fold_batchnorm(fa_edit *e, const char *name, const int32_t in[6], int64_t step, float epsilon, int32_t weight, int32_t bias)
{
    int32_t node;
    FA_TRY(fa_edit_node(e, name, "FoldBatchNorm", "fattr", 1, 6, 2, 2, &node));
    fa_node *fold = &e->graph->node[node];
    memcpy(fold->in, in, 6 * sizeof *in);
    fold->out[0] = weight;
    fold->out[1] = bias;
    fold->attr[0] = (fa_attr){.name = "step", .kind = FA_ATTR_INT, .i = step};
    fold->attr[1] = (fa_attr){.name = "epsilon", .kind = FA_ATTR_FLOAT, .f = epsilon};
    return FA_OK;
}

static fa_status fold(fa_edit *e, const pair *p)
{
    int32_t weight, bias;
    float *w, *b;
    const fa_view flat = {.ndim = 1, .dim = {p->out}};
    double epsilon = (double)fa_node_float(&e->graph->node[p->norm], "epsilon", 1e-5f);
    FA_TRY(new_initialiser(e, e->graph->node[p->layer].in[1], p->weight, &weight, &w));
    FA_TRY(new_initialiser(e, e->graph->node[p->norm].in[2], &flat, &bias, &b));
    for (int64_t i = 0; i < p->run; i++) {
        int64_t o = i / p->step % p->out;
        w[i] = (float)(element(p->weight, i) * (element(p->scale, o) / sqrt(element(p->variance, o) + epsilon)));
    }
    for (int64_t o = 0; o < p->out; o++) {
        double factor = element(p->scale, o) / sqrt(element(p->variance, o) + epsilon);
        b[o] = (float)(((p->bias ? element(p->bias, o) : 0) - element(p->mean, o)) * factor + element(p->shift, o));
    }
    replace(e, p, weight, bias);
    return FA_OK;
}

fa_status fa_rewrite_batchnorm(const fa_graph *graph, const int32_t *keep, int32_t n_keep, fa_graph **out)
{
    fa_edit edit;
    FA_TRY(fa_edit_begin(graph, &edit));
    for (int32_t n = 0; n < graph->n_node; n++) {
        pair p;
        if (!find_pair(&edit, n, keep, n_keep, &p)) continue;
        fa_status status = varies(edit.graph, &p) ? fold_later(&edit, &p) : fold(&edit, &p);
        if (status != FA_OK) {
            fa_edit_discard(&edit);
            return status;
        }
    }
    return fa_edit_finish(&edit, out);
}
