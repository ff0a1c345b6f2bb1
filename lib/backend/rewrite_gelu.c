/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/pattern.h"
#include "base/error.h"

#include <math.h>

/* 0.5 x (1 + erf(x / sqrt(2))) and 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the factors in any order. */

/* `value` is number + something; -1 when it is not. */
static int32_t added_to(const fa_pattern *p, int32_t value, double number)
{
    double x;
    const fa_node *add = fa_pattern_inner(p, value, "Add");
    const int32_t other = add ? fa_pattern_beside_scalar(p, add, &x) : -1;
    return other >= 0 && fa_pattern_is(x, number) ? other : -1;
}

static bool is_scaled(const fa_pattern *p, int32_t value, double scale, int32_t x)
{
    const fa_factors f = fa_pattern_product(p, value);
    return p->readers[value] == 1 && f.count == 1 && f.factor[0] == x && fa_pattern_is(f.scale, scale);
}

static bool is_cube(const fa_pattern *p, int32_t value, int32_t x)
{
    double e;
    const fa_factors f = fa_pattern_product(p, value);
    if (p->readers[value] != 1 || !fa_pattern_is(f.scale, 0.044715)) return false;
    if (f.count == 3) return f.factor[0] == x && f.factor[1] == x && f.factor[2] == x;
    const fa_node *power = f.count == 1 ? fa_pattern_inner(p, f.factor[0], "Pow") : NULL;
    return power && power->n_in == 2 && power->in[0] == x && fa_pattern_scalar(p, power->in[1], &e) && e == 3;
}

static bool is_angle(const fa_pattern *p, int32_t value, int32_t x)
{
    const fa_factors f = fa_pattern_product(p, value);
    if (value < 0 || p->readers[value] != 1 || f.count != 1 || !fa_pattern_is(f.scale, sqrt(2 / 3.14159265358979323846))) return false;
    const fa_node *sum = fa_pattern_inner(p, f.factor[0], "Add");
    if (!sum || sum->n_in != 2 || fa_node_attr(sum, "axis")) return false;
    return (sum->in[0] == x && is_cube(p, sum->in[1], x)) || (sum->in[1] == x && is_cube(p, sum->in[0], x));
}

fa_status fa_pattern_gelu(fa_pattern *p, int32_t n, bool *done)
{
    const fa_factors f = fa_pattern_product(p, p->base->node[n].out[0]);
    if (f.count != 2 || !fa_pattern_is(f.scale, 0.5)) return FA_OK;
    for (int i = 0; i < 2; i++) {
        const int32_t x = f.factor[!i], inside = added_to(p, f.factor[i], 1);
        const fa_node *erf = fa_pattern_inner(p, inside, "Erf"), *tanh = fa_pattern_inner(p, inside, "Tanh");
        const bool by_erf = erf && is_scaled(p, erf->in[0], sqrt(0.5), x), by_tanh = !by_erf && tanh && is_angle(p, tanh->in[0], x);
        if (!by_erf && !by_tanh) continue;
        fa_node *gelu;
        FA_TRY(fa_pattern_replace(p, n, "Gelu", "", 20, 1, 1, 1, &gelu));
        gelu->in[0] = x;
        gelu->attr[0] = (fa_attr){.name = "approximate", .kind = FA_ATTR_STRING, .count = 4, .s = by_tanh ? "tanh" : "none"};
        *done = true;
        return FA_OK;
    }
    return FA_OK;
}
