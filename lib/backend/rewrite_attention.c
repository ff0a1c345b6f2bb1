/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pattern.h"
#include "base/error.h"

#include <string.h>

/*
 * softmax(mask + (keep ? scale q k' : fill)) v, as exporters write it: MatMul, a scale on either factor or behind, Where, Add, Softmax, MatMul; and the transpositions that
 * take heads apart before and join them behind, as long as the numbers of a row stay together.
 */
typedef struct attention {
    int32_t q, k, v, mask, keep, divisor; /* values; the last three -1: none */
    bool fill_first;                      /* Where takes the scores where `keep` is false */
    bool multiplies;                      /* the divisor is a factor */
    double scale, fill;
    const fa_node *q_turn, *k_turn, *v_turn, *y_turn; /* Transpose nodes that are taken in, or NULL */
} attention;

static const int64_t *perm_of(const fa_node *transpose, int64_t *count)
{
    return transpose ? fa_node_ints(transpose, "perm", count) : NULL;
}

/* Axes of a value where the nodes in front of it tell, else -1. */
static int32_t rank_of(const fa_pattern *p, int32_t value, int depth)
{
    const fa_value *v = &p->base->value[value];
    int64_t count;
    double x;
    if (v->has_shape && v->producer < 0) return v->declared_ndim;
    if (fa_graph_constant(p->base, value)) return v->view.ndim;
    const fa_node *made = fa_pattern_made_by(p, value, "Transpose");
    if (perm_of(made, &count)) return (int32_t)count;
    if (depth > 4 || v->producer < 0) return -1;
    const fa_node *node = &p->base->node[v->producer];
    const int32_t other = node->domain[0] ? -1 : fa_pattern_beside_scalar(p, node, &x);
    if (other >= 0 && (strcmp(node->op, "Mul") == 0 || strcmp(node->op, "Div") == 0)) return rank_of(p, other, depth + 1);
    return -1;
}

/* A computed factor without its scale and without the transposition that makes it, where that leaves the numbers of a row together (`either`: or those of a column). */
static bool factor(const fa_pattern *p, int32_t value, bool either, double *scale, int32_t *from, const fa_node **turn)
{
    const fa_factors f = fa_pattern_product(p, value);
    int64_t n;
    if (f.count != 1 || p->base->value[value].is_parameter || p->base->value[f.factor[0]].is_parameter) return false;
    *scale *= f.scale;
    *from = f.factor[0];
    *turn = fa_pattern_made_by(p, *from, "Transpose");
    const int64_t *perm = perm_of(*turn, &n);
    if (perm && n >= 2 && (perm[n - 1] == n - 1 || (either && perm[n - 2] == n - 1))) *from = (*turn)->in[0];
    else *turn = NULL;
    return true;
}

static bool is_one_of(const char *op, const char *const *ops)
{
    while (*ops && strcmp(op, *ops) != 0) ops++;
    return *ops != NULL;
}

/* One number that follows from the shape of something: a size, its root. It is known when the network is planned. */
static bool is_of_shape(const fa_pattern *p, int32_t value, int depth)
{
    static const char *const alone[] = {"Sqrt", "Cast", "Reciprocal", "Identity", "Squeeze", "Unsqueeze", NULL}, *const pairs[] = {"Pow", "Div", "Mul", NULL};
    const fa_view *constant = fa_graph_constant(p->base, value);
    if (constant) return constant->count == 1 && constant->ndim <= 1 && !p->base->value[value].varies;
    if (value < 0 || p->base->value[value].producer < 0 || depth > 12) return false;
    const fa_node *node = &p->base->node[p->base->value[value].producer];
    if (node->domain[0] || node->n_in < 1 || node->out[0] != value) return false;
    if (is_one_of(node->op, alone)) return is_of_shape(p, node->in[0], depth + 1);
    if (is_one_of(node->op, pairs)) return node->n_in == 2 && is_of_shape(p, node->in[0], depth + 1) && is_of_shape(p, node->in[1], depth + 1);
    if (strcmp(node->op, "Gather") != 0 || node->n_in != 2 || !fa_pattern_made_by(p, node->in[0], "Shape")) return false;
    const fa_view *index = fa_graph_constant(p->base, node->in[1]);
    return index && index->count == 1 && index->ndim <= 1;
}

/* Scores divided or multiplied by such a number: the scores. */
static int32_t unscaled(const fa_pattern *p, int32_t value, attention *a)
{
    const fa_node *div = fa_pattern_inner(p, value, "Div"), *mul = fa_pattern_inner(p, value, "Mul"), *node = div ? div : mul;
    double x;
    a->divisor = -1;
    if (!node || node->n_in != 2 || fa_node_attr(node, "axis") || fa_pattern_beside_scalar(p, node, &x) >= 0) return value;
    for (int i = 1; i >= 0; i--) {
        if ((div && i == 0) || !is_of_shape(p, node->in[i], 0)) continue;
        a->divisor = node->in[i];
        a->multiplies = mul != NULL;
        return node->in[!i];
    }
    return value;
}

/* `value` is scale q k'. */
static bool is_scores(const fa_pattern *p, int32_t value, attention *a)
{
    if (value < 0 || p->readers[value] != 1) return false;
    value = unscaled(p, value, a);
    const fa_factors f = fa_pattern_product(p, value);
    const fa_node *product = f.count == 1 ? fa_pattern_inner(p, f.factor[0], "MatMul") : NULL;
    a->scale = f.scale;
    return product && product->n_in == 2 && factor(p, product->in[0], false, &a->scale, &a->q, &a->q_turn) && factor(p, product->in[1], true, &a->scale, &a->k, &a->k_turn);
}

/* keep ? scores : fill, or the scores themselves. */
static bool is_kept(const fa_pattern *p, int32_t value, attention *a)
{
    const fa_node *where = fa_pattern_inner(p, value, "Where");
    a->keep = -1;
    if (!where) return is_scores(p, value, a);
    for (int i = 1; i < 3 && where->n_in == 3; i++) {
        if (!fa_pattern_scalar(p, where->in[i == 1 ? 2 : 1], &a->fill) || !is_scores(p, where->in[i], a)) continue;
        a->keep = where->in[0];
        a->fill_first = i == 2;
        return true;
    }
    return false;
}

static bool is_masked(const fa_pattern *p, int32_t value, attention *a)
{
    const fa_node *add = fa_pattern_inner(p, value, "Add");
    a->mask = -1;
    if (is_kept(p, value, a)) return true;
    for (int i = 0; add && i < 2 && add->n_in == 2 && !fa_node_attr(add, "axis"); i++) {
        if (!is_kept(p, add->in[i], a)) continue;
        a->mask = add->in[!i];
        return true;
    }
    return false;
}

/* Along the last axis of `value`. */
static bool is_last(const fa_pattern *p, const fa_node *softmax, const attention *a)
{
    const int64_t axis = fa_node_int(softmax, "axis", softmax->opset < 13 ? 1 : -1);
    int64_t count = 0;
    if (perm_of(a->k_turn, &count) == NULL) count = rank_of(p, a->k, 0);
    return axis == -1 || (count >= 2 && axis == count - 1 && (a->q_turn || rank_of(p, a->q, 0) <= count) && rank_of(p, a->mask < 0 ? a->k : a->mask, 0) <= count);
}

static bool find(const fa_pattern *p, const fa_node *node, attention *a)
{
    const fa_node *softmax = strcmp(node->op, "MatMul") == 0 && node->n_in == 2 ? fa_pattern_inner(p, node->in[0], "Softmax") : NULL;
    double scale = 1;
    if (!softmax || node->in[1] < 0 || !is_masked(p, softmax->in[0], a) || !is_last(p, softmax, a) || !factor(p, node->in[1], false, &scale, &a->v, &a->v_turn)) return false;
    if (scale == 1) return true;
    a->v = node->in[1];
    a->v_turn = NULL;
    return true;
}

static fa_status invert(fa_pattern *p, const char *name, int32_t *keep)
{
    int32_t node, value;
    FA_TRY(fa_edit_value(&p->edit, name, FA_BOOL, &value));
    FA_TRY(fa_edit_node(&p->edit, name, "Not", "", 1, 1, 1, 0, &node));
    p->edit.graph->node[node].in[0] = *keep;
    p->edit.graph->node[node].out[0] = *keep = value;
    return FA_OK;
}

static void set_perm(fa_node *node, const char *name, const fa_node *turn)
{
    if (!turn) return;
    const fa_attr *perm = fa_node_attr(turn, "perm");
    fa_attr *to = &node->attr[node->n_attr++];
    *to = *perm;
    to->name = name;
}

fa_status fa_pattern_attention(fa_pattern *p, int32_t n, bool *done)
{
    const fa_node *node = &p->base->node[n];
    attention a;
    int64_t count;
    memset(&a, 0, sizeof a);
    if (!find(p, node, &a)) return FA_OK;
    int32_t last = n, weights;
    if (p->readers[node->out[0]] == 1 && fa_edit_consumers(&p->edit, node->out[0], &last) == 1 && last < p->base->n_node) {
        const fa_node *turn = &p->base->node[last];
        const int64_t *perm = !turn->domain[0] && strcmp(turn->op, "Transpose") == 0 ? perm_of(turn, &count) : NULL;
        if (perm && count >= 2 && perm[count - 1] == count - 1) a.y_turn = turn;
    }
    if (!a.y_turn) last = n;
    if (a.keep >= 0 && a.fill_first) FA_TRY(invert(p, node->name, &a.keep));
    FA_TRY(fa_edit_value(&p->edit, node->name, FA_FLOAT32, &weights));
    fa_node *made;
    FA_TRY(fa_pattern_replace(p, last, "Attention", "fattr", 1, 6, 2, 7, &made));
    if (last != n) fa_edit_remove_node(&p->edit, n);
    memcpy(made->in, (int32_t[]){a.q, a.k, a.v, a.mask, a.keep, a.divisor}, 6 * sizeof *made->in);
    made->out[1] = weights;
    made->attr[0] = (fa_attr){.name = "scale", .kind = FA_ATTR_FLOAT, .f = (float)a.scale};
    made->attr[1] = (fa_attr){.name = "fill", .kind = FA_ATTR_FLOAT, .f = (float)a.fill};
    made->attr[2] = (fa_attr){.name = "multiplies", .kind = FA_ATTR_INT, .i = a.multiplies};
    made->n_attr = 3;
    set_perm(made, "q_perm", a.q_turn);
    set_perm(made, "k_perm", a.k_turn);
    set_perm(made, "v_perm", a.v_turn);
    set_perm(made, "y_perm", a.y_turn);
    *done = true;
    return FA_OK;
}
