/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pattern.h"
#include "base/error.h"

#include <string.h>

/* (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias along the last axis, as exporters write it below operator set 17; and x / sqrt(mean(x^2) + epsilon) * scale, as
 * they write RMSNormalization below 23. */

/* `value` is x less its mean: x, or -1. Some exporters subtract twice, so that the difference may have any number of readers. */
static int32_t centred(const fa_pattern *p, int32_t value)
{
    const fa_node *sub = fa_pattern_made_by(p, value, "Sub");
    const fa_node *mean = sub && sub->n_in == 2 && !fa_node_attr(sub, "axis") ? fa_pattern_made_by(p, sub->in[1], "ReduceMean") : NULL;
    return mean && mean->in[0] == sub->in[0] && fa_pattern_reduces_last(p, mean) ? sub->in[0] : -1;
}

static bool is_square(const fa_pattern *p, int32_t value, int32_t x, bool raw)
{
    double e;
    const fa_node *power = fa_pattern_inner(p, value, "Pow"), *product = fa_pattern_inner(p, value, "Mul");
    int32_t base = -1;
    if (power && power->n_in == 2 && fa_pattern_scalar(p, power->in[1], &e) && e == 2) base = power->in[0];
    if (product && product->n_in == 2 && product->in[0] == product->in[1]) base = product->in[0];
    return base >= 0 && (raw ? base : centred(p, base)) == x;
}

/* Of x from its mean, or (`raw`) from 0. */
static bool is_deviation(const fa_pattern *p, int32_t value, int32_t x, bool raw, double *epsilon)
{
    const fa_node *root = fa_pattern_inner(p, value, "Sqrt"), *sum = root ? fa_pattern_inner(p, root->in[0], "Add") : NULL;
    const int32_t variance = sum ? fa_pattern_beside_scalar(p, sum, epsilon) : -1;
    const fa_node *mean = fa_pattern_inner(p, variance, "ReduceMean");
    return mean && *epsilon >= 0 && fa_pattern_reduces_last(p, mean) && is_square(p, mean->in[0], x, raw);
}

/* `value` is x brought to mean 0 and variance 1: x, or -1. */
static int32_t normalised(const fa_pattern *p, int32_t value, double *epsilon)
{
    const fa_node *quotient = fa_pattern_inner(p, value, "Div");
    const int32_t x = quotient && quotient->n_in == 2 && !fa_node_attr(quotient, "axis") ? centred(p, quotient->in[0]) : -1;
    return x >= 0 && is_deviation(p, quotient->in[1], x, false, epsilon) ? x : -1;
}

/* 1 / something: that, or -1. */
static int32_t inverted(const fa_pattern *p, int32_t value)
{
    double one;
    const fa_node *reciprocal = fa_pattern_inner(p, value, "Reciprocal"), *div = fa_pattern_inner(p, value, "Div");
    if (reciprocal) return reciprocal->in[0];
    return div && div->n_in == 2 && !fa_node_attr(div, "axis") && fa_pattern_scalar(p, div->in[0], &one) && one == 1 ? div->in[1] : -1;
}

/* `value` is x brought to mean square 1: x, or -1. */
static int32_t levelled(const fa_pattern *p, int32_t value, double *epsilon)
{
    const fa_node *quotient = fa_pattern_inner(p, value, "Div"), *product = fa_pattern_inner(p, value, "Mul");
    if (quotient && quotient->n_in == 2 && !fa_node_attr(quotient, "axis")) return is_deviation(p, quotient->in[1], quotient->in[0], true, epsilon) ? quotient->in[0] : -1;
    for (int i = 0; product && i < 2 && product->n_in == 2; i++)
        if (is_deviation(p, inverted(p, product->in[!i]), product->in[i], true, epsilon)) return product->in[i];
    return -1;
}

/* A row of weights of `count` elements, or (negative) of several. */
static bool is_row(const fa_pattern *p, int32_t value, int64_t count)
{
    const fa_view *v = fa_graph_constant(p->base, value);
    return v && fa_dtype_is_real(v->dtype) && v->ndim == 1 && (count < 0 ? v->count > 1 : v->count == count);
}

/* The input of `node`, one of two, that is not such a row; -1 when none is one. */
static int32_t beside_row(const fa_pattern *p, const fa_node *node, int64_t count, int32_t *row)
{
    if (node->n_in != 2 || fa_node_attr(node, "axis")) return -1;
    for (int i = 0; i < 2; i++)
        if (is_row(p, node->in[i], count)) {
            *row = node->in[i];
            return node->in[!i];
        }
    return -1;
}

fa_status fa_pattern_layernorm(fa_pattern *p, int32_t n, bool *done)
{
    const fa_node *add = &p->base->node[n];
    int32_t scale, bias;
    double epsilon;
    const int32_t scaled = strcmp(add->op, "Add") == 0 ? beside_row(p, add, -1, &bias) : -1;
    const fa_node *mul = fa_pattern_inner(p, scaled, "Mul");
    const int32_t z = mul ? beside_row(p, mul, fa_graph_constant(p->base, bias)->count, &scale) : -1, x = z >= 0 ? normalised(p, z, &epsilon) : -1;
    if (x < 0) return FA_OK;
    fa_node *norm;
    FA_TRY(fa_pattern_replace(p, n, "LayerNormalization", "", 17, 3, 1, 2, &norm));
    norm->in[0] = x;
    norm->in[1] = scale;
    norm->in[2] = bias;
    norm->attr[0] = (fa_attr){.name = "axis", .kind = FA_ATTR_INT, .i = -1};
    norm->attr[1] = (fa_attr){.name = "epsilon", .kind = FA_ATTR_FLOAT, .f = (float)epsilon};
    *done = true;
    return FA_OK;
}

fa_status fa_pattern_rmsnorm(fa_pattern *p, int32_t n, bool *done)
{
    const fa_node *mul = &p->base->node[n];
    int32_t scale;
    double epsilon;
    const int32_t z = strcmp(mul->op, "Mul") == 0 ? beside_row(p, mul, -1, &scale) : -1, x = z >= 0 ? levelled(p, z, &epsilon) : -1;
    if (x < 0 || centred(p, x) >= 0) return FA_OK; /* LayerNormalization, up to its bias */
    fa_node *norm;
    FA_TRY(fa_pattern_replace(p, n, "RMSNormalization", "", 23, 2, 1, 2, &norm));
    norm->in[0] = x;
    norm->in[1] = scale;
    norm->attr[0] = (fa_attr){.name = "axis", .kind = FA_ATTR_INT, .i = -1};
    norm->attr[1] = (fa_attr){.name = "epsilon", .kind = FA_ATTR_FLOAT, .f = (float)epsilon};
    *done = true;
    return FA_OK;
}
