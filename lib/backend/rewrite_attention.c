/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pattern.h"
#include "base/error.h"

#include <string.h>

/*
 * softmax(masks + (keep ? scale q k' : fill)) v, as exporters write it: MatMul between a Softmax and another MatMul, with scales on either factor or behind, Where, a factor of the
 * scores and additions in any order that has this meaning; and the transpositions that take heads apart before and join them behind, as long as the numbers of a row stay together.
 */
#define MOST_TERMS 4
#define MOST_NUMBERS 4

/* A value with its axes in another order. */
typedef struct turned {
    int32_t value, axes; /* axes 0: as they lie */
    int64_t perm[FA_MAX_DIMS];
} turned;

typedef struct attention {
    turned q, k, v, y;
    double scale;
    int32_t number[MOST_NUMBERS], n_number; /* that follow from shapes and multiply the scale, or divide it */
    bool divides[MOST_NUMBERS];
    int32_t keep;    /* where scores stay, or what multiplies them; -1: none */
    bool multiplies; /* it is a factor */
    bool fill_first; /* Where takes the scores where `keep` is false */
    double fill;
    int32_t mask[MOST_TERMS], n_mask;
    bool negative[MOST_TERMS], inside[MOST_TERMS]; /* subtracted; added to what `keep` chooses */
} attention;

static bool perm_of(const fa_node *transpose, turned *t)
{
    int64_t count;
    const int64_t *perm = transpose ? fa_node_ints(transpose, "perm", &count) : NULL;
    if (!perm || count < 2 || count > FA_MAX_DIMS) return false;
    for (int64_t i = 0; i < count; i++)
        if (perm[i] < 0 || perm[i] >= count) return false;
    t->value = transpose->in[0];
    t->axes = (int32_t)count;
    memcpy(t->perm, perm, (size_t)count * sizeof *perm);
    return true;
}

/* Axes of a value where the nodes in front of it tell, else -1. */
static int32_t rank_of(const fa_pattern *p, int32_t value, int depth)
{
    const fa_value *v = &p->base->value[value];
    double x;
    turned t;
    if (v->has_shape && v->producer < 0) return v->declared_ndim;
    if (fa_graph_constant(p->base, value)) return v->view.ndim;
    if (perm_of(fa_pattern_made_by(p, value, "Transpose"), &t)) return t.axes;
    if (depth > 4 || v->producer < 0) return -1;
    const fa_node *node = &p->base->node[v->producer];
    const int32_t other = node->domain[0] ? -1 : fa_pattern_beside_scalar(p, node, &x);
    if (other >= 0 && (strcmp(node->op, "Mul") == 0 || strcmp(node->op, "Div") == 0)) return rank_of(p, other, depth + 1);
    return -1;
}

static bool is_one_of(const char *op, const char *const *ops)
{
    while (*ops && strcmp(op, *ops) != 0) ops++;
    return *ops != NULL;
}

/* A single integer that is a constant, as the bounds of a Slice are. */
static bool is_integer(const fa_pattern *p, int32_t value, int64_t *x)
{
    const fa_view *v = fa_graph_constant(p->base, value);
    if (!v || !v->data || v->count != 1 || fa_dtype_is_real(v->dtype)) return false;
    *x = *(const int64_t *)v->data;
    return true;
}

/* A size: an element that Gather or Slice takes out of a shape. */
static bool is_size(const fa_pattern *p, const fa_node *node)
{
    int64_t first, end, step = 1;
    if (!fa_pattern_made_by(p, node->in[0], "Shape")) return false;
    if (strcmp(node->op, "Gather") == 0) return node->n_in == 2 && is_integer(p, node->in[1], &first) && fa_graph_constant(p->base, node->in[1])->ndim <= 1;
    if (strcmp(node->op, "Slice") != 0 || node->n_in < 3 || !is_integer(p, node->in[1], &first) || !is_integer(p, node->in[2], &end)) return false;
    if (node->n_in > 4 && !is_integer(p, node->in[4], &step)) return false;
    return step == 1 && (first == -1 ? end > FA_MAX_DIMS : end == first + 1);
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
    return is_size(p, node);
}

/* A scale taken off `node`, Mul or Div: what is scaled, or -1. */
static int32_t unscaled(const fa_pattern *p, const fa_node *node, attention *a)
{
    double x;
    const bool divides = strcmp(node->op, "Div") == 0;
    if ((!divides && strcmp(node->op, "Mul") != 0) || node->n_in != 2 || fa_node_attr(node, "axis")) return -1;
    for (int i = 1; i >= 0; i--) {
        if (divides && i == 0) break;
        if (fa_pattern_scalar(p, node->in[i], &x) && (!divides || x != 0)) {
            a->scale = divides ? a->scale / x : a->scale * x;
            return node->in[!i];
        }
        if (a->n_number == MOST_NUMBERS || !is_of_shape(p, node->in[i], 0)) continue;
        a->divides[a->n_number] = divides;
        a->number[a->n_number++] = node->in[i];
        return node->in[!i];
    }
    return -1;
}

static const fa_node *maker_of(const fa_pattern *p, int32_t value)
{
    if (value < 0 || p->base->value[value].producer < 0) return NULL;
    const fa_node *node = &p->base->node[p->base->value[value].producer];
    return fa_pattern_made_by(p, value, node->op);
}

/* A computed factor without its scale (`scaled`) and without the transpositions that make it, where they leave the numbers of a row together (`either`: or those of a column). */
static bool factor(const fa_pattern *p, int32_t value, bool scaled, bool either, attention *a, turned *out)
{
    turned at = {.value = value}, step;
    attention scales = *a;
    if (value < 0 || p->base->value[value].is_parameter) return false;
    *out = at;
    for (int depth = 0; depth < 16; depth++) {
        const fa_node *node = maker_of(p, at.value);
        if (!node) break;
        if (strcmp(node->op, "Transpose") == 0 && perm_of(node, &step) && (!at.axes || at.axes == step.axes)) {
            for (int32_t i = 0; i < step.axes; i++) at.perm[i] = at.axes ? step.perm[at.perm[i]] : step.perm[i];
            at.axes = step.axes;
            at.value = step.value;
        } else {
            at.value = scaled ? unscaled(p, node, &scales) : -1;
        }
        if (at.value < 0 || p->base->value[at.value].is_parameter) break;
        const int32_t last = at.axes - 1;
        if (at.axes && at.perm[last] != last && !(either && at.perm[last - 1] == last)) continue;
        *a = scales; /* which `out` may be a part of */
        *out = at;
    }
    return true;
}

static bool is_product(const fa_pattern *p, const fa_node *product, attention *a)
{
    return product->n_in == 2 && factor(p, product->in[0], true, false, a, &a->q) && factor(p, product->in[1], true, true, a, &a->k);
}

static bool is_scores(const fa_pattern *p, int32_t value, attention *a, int depth);

/* The same behind a node of which input `i` leads to the scores; what was found before stays where it does not. */
static bool is_behind(const fa_pattern *p, const fa_node *node, int i, const attention *with, attention *a, int depth)
{
    attention found = *with;
    if (!is_scores(p, node->in[i], &found, depth + 1)) return false;
    *a = found;
    return true;
}

/* A term added to the scores or subtracted from them. */
static bool is_sum(const fa_pattern *p, const fa_node *node, attention *a, int depth)
{
    const bool subtracts = strcmp(node->op, "Sub") == 0;
    if (node->n_in != 2 || fa_node_attr(node, "axis") || a->n_mask == MOST_TERMS || (a->keep >= 0 && a->multiplies)) return false;
    for (int i = 0; i < (subtracts ? 1 : 2); i++) {
        attention with = *a;
        with.negative[with.n_mask] = subtracts;
        with.inside[with.n_mask] = with.keep >= 0;
        with.mask[with.n_mask++] = node->in[!i];
        if (node->in[!i] >= 0 && is_behind(p, node, i, &with, a, depth)) return true;
    }
    return false;
}

static bool is_chosen(const fa_pattern *p, const fa_node *where, attention *a, int depth)
{
    if (where->n_in != 3 || where->in[0] < 0 || a->keep >= 0) return false;
    for (int i = 1; i < 3; i++) {
        attention with = *a;
        with.keep = where->in[0];
        with.fill_first = i == 2;
        if (fa_pattern_scalar(p, where->in[3 - i], &with.fill) && is_behind(p, where, i, &with, a, depth)) return true;
    }
    return false;
}

static bool is_multiplied(const fa_pattern *p, const fa_node *mul, attention *a, int depth)
{
    if (mul->n_in != 2 || fa_node_attr(mul, "axis") || a->keep >= 0) return false;
    for (int i = 0; i < 2; i++) {
        attention with = *a;
        with.keep = mul->in[!i];
        with.multiplies = true;
        if (mul->in[!i] >= 0 && is_behind(p, mul, i, &with, a, depth)) return true;
    }
    return false;
}

/* A Cast between reals, which are floats here. */
static bool is_real_cast(const fa_node *node)
{
    const int64_t to = fa_node_int(node, "to", 0); /* TensorProto.DataType: FLOAT, FLOAT16, DOUBLE, BFLOAT16 */
    return strcmp(node->op, "Cast") == 0 && node->n_in == 1 && (to == 1 || to == 10 || to == 11 || to == 16);
}

/* `value` is scale q k' with what may be done to it; nothing else reads it. A scale is found behind everything else alone. */
static bool is_scores(const fa_pattern *p, int32_t value, attention *a, int depth)
{
    const fa_node *node = value >= 0 && p->readers[value] == 1 && depth < 12 ? maker_of(p, value) : NULL;
    if (!node) return false;
    if (strcmp(node->op, "MatMul") == 0) return is_product(p, node, a);
    attention with = *a;
    const int32_t inner = unscaled(p, node, &with);
    if (inner >= 0) return (is_scores(p, inner, &with, depth + 1) && with.n_mask == a->n_mask && with.keep == a->keep) ? (*a = with, true) : false;
    if (is_real_cast(node)) return is_scores(p, node->in[0], a, depth + 1);
    if (strcmp(node->op, "Where") == 0) return is_chosen(p, node, a, depth);
    if (strcmp(node->op, "Mul") == 0) return is_multiplied(p, node, a, depth);
    return (strcmp(node->op, "Add") == 0 || strcmp(node->op, "Sub") == 0) && is_sum(p, node, a, depth);
}

/* Along the last axis of the scores. */
static bool is_last(const fa_pattern *p, const fa_node *softmax, const attention *a)
{
    const int64_t axis = fa_node_int(softmax, "axis", softmax->opset < 13 ? 1 : -1);
    const int32_t count = a->k.axes ? a->k.axes : rank_of(p, a->k.value, 0);
    if (axis == -1) return true;
    bool last = count >= 2 && axis == count - 1 && (a->q.axes ? a->q.axes : rank_of(p, a->q.value, 0)) <= count;
    for (int32_t i = 0; i < a->n_mask; i++) last &= rank_of(p, a->mask[i], 0) <= count;
    return last && (a->keep < 0 || rank_of(p, a->keep, 0) <= count);
}

static bool find(const fa_pattern *p, const fa_node *node, attention *a)
{
    if (strcmp(node->op, "MatMul") != 0 || node->n_in != 2) return false;
    const fa_node *softmax = node->in[0] >= 0 && p->readers[node->in[0]] == 1 ? maker_of(p, node->in[0]) : NULL;
    while (softmax && is_real_cast(softmax)) softmax = p->readers[softmax->in[0]] == 1 ? maker_of(p, softmax->in[0]) : NULL;
    return softmax && strcmp(softmax->op, "Softmax") == 0 && is_scores(p, softmax->in[0], a, 0) && is_last(p, softmax, a) && factor(p, node->in[1], false, false, a, &a->v);
}

/* A new node of these inputs (-1: of fewer); its output. */
static fa_status compute(fa_pattern *p, const char *name, const char *op, int32_t dtype, int32_t a, int32_t b, int32_t c, int32_t *value)
{
    const int32_t in[] = {a, b, c}, count = c >= 0 ? 3 : b >= 0 ? 2 : 1;
    int32_t node;
    FA_TRY(fa_edit_value(&p->edit, name, dtype, value));
    FA_TRY(fa_edit_node(&p->edit, name, op, "", strcmp(op, "Where") == 0 ? 9 : 13, count, 1, 0, &node));
    memcpy(p->edit.graph->node[node].in, in, (size_t)count * sizeof *in);
    p->edit.graph->node[node].out[0] = *value;
    return FA_OK;
}

/* The terms as one; those inside a choice count where it keeps. */
static fa_status join_masks(fa_pattern *p, const char *name, const attention *a, int32_t keep, int32_t *mask)
{
    int32_t zero = -1;
    void *data;
    *mask = -1;
    for (int32_t i = 0; i < a->n_mask; i++) {
        int32_t term = a->mask[i];
        if (a->negative[i]) FA_TRY(compute(p, name, "Neg", FA_FLOAT32, term, -1, -1, &term));
        if (a->inside[i]) {
            if (zero < 0) FA_TRY(fa_edit_initialiser(&p->edit, name, FA_FLOAT32, 0, NULL, &zero, &data));
            FA_TRY(compute(p, name, "Where", FA_FLOAT32, keep, term, zero, &term));
        }
        if (i) FA_TRY(compute(p, name, "Add", FA_FLOAT32, *mask, term, -1, mask));
        else *mask = term;
    }
    return FA_OK;
}

/* The numbers as one divisor. */
static fa_status join_numbers(fa_pattern *p, const char *name, const attention *a, int32_t *divisor)
{
    *divisor = -1;
    for (int32_t i = 0; i < a->n_number; i++) {
        const char *op = a->divides[i] == a->divides[0] ? "Mul" : "Div";
        if (i) FA_TRY(compute(p, name, op, FA_FLOAT32, *divisor, a->number[i], -1, divisor));
        else *divisor = a->number[i];
    }
    return FA_OK;
}

static fa_status set_perm(fa_pattern *p, fa_node *node, const char *name, const turned *t)
{
    if (!t->axes) return FA_OK;
    int64_t *perm = fa_arena_array(&p->edit.graph->arena, (size_t)t->axes, sizeof *perm);
    if (!perm) return FA_ERR_MEMORY;
    memcpy(perm, t->perm, (size_t)t->axes * sizeof *perm);
    node->attr[node->n_attr++] = (fa_attr){.name = name, .kind = FA_ATTR_INTS, .count = t->axes, .ints = perm};
    return FA_OK;
}

/* A Transpose that alone reads what node `n` makes, where it leaves rows together; or `n`. */
static int32_t behind(const fa_pattern *p, int32_t n, turned *y)
{
    const int32_t made = p->base->node[n].out[0];
    int32_t last = n;
    if (p->readers[made] != 1 || fa_edit_consumers(&p->edit, made, &last) != 1 || last >= p->base->n_node) return n;
    const fa_node *turn = &p->base->node[last];
    if (turn->domain[0] || strcmp(turn->op, "Transpose") != 0 || !perm_of(turn, y) || y->perm[y->axes - 1] != y->axes - 1) {
        y->axes = 0;
        return n;
    }
    return last;
}

fa_status fa_pattern_attention(fa_pattern *p, int32_t n, bool *done)
{
    const fa_node *node = &p->base->node[n];
    attention a = {.scale = 1, .keep = -1};
    if (!find(p, node, &a)) return FA_OK;
    const int32_t last = behind(p, n, &a.y);
    int32_t mask, divisor, weights, keep = a.keep;
    if (keep >= 0 && a.fill_first) FA_TRY(compute(p, node->name, "Not", FA_BOOL, keep, -1, -1, &keep));
    FA_TRY(join_masks(p, node->name, &a, keep, &mask));
    FA_TRY(join_numbers(p, node->name, &a, &divisor));
    FA_TRY(fa_edit_value(&p->edit, node->name, FA_FLOAT32, &weights));
    fa_node *made;
    FA_TRY(fa_pattern_replace(p, last, "Attention", "fattr", 1, 6, 2, 7, &made));
    if (last != n) fa_edit_remove_node(&p->edit, n);
    memcpy(made->in, (int32_t[]){a.q.value, a.k.value, a.v.value, mask, keep, divisor}, 6 * sizeof *made->in);
    made->out[1] = weights;
    made->attr[0] = (fa_attr){.name = "scale", .kind = FA_ATTR_FLOAT, .f = (float)a.scale};
    made->attr[1] = (fa_attr){.name = "fill", .kind = FA_ATTR_FLOAT, .f = (float)a.fill};
    made->attr[2] = (fa_attr){.name = "multiplies", .kind = FA_ATTR_INT, .i = a.n_number && !a.divides[0]};
    made->n_attr = 3;
    FA_TRY(set_perm(p, made, "q_perm", &a.q));
    FA_TRY(set_perm(p, made, "k_perm", &a.k));
    FA_TRY(set_perm(p, made, "v_perm", &a.v));
    FA_TRY(set_perm(p, made, "y_perm", &a.y));
    *done = true;
    return FA_OK;
}
