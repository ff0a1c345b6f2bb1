/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/program.h"
#include "base/error.h"

#include <string.h>

static bool passes_on(const fa_node *node)
{
    return fa_node_moves(node) || (!node->domain[0] && strcmp(node->op, "Cast") == 0);
}

int64_t fa_lookup_rows(const fa_graph *g, const fa_plan *plan, int32_t input, const char **node)
{
    int64_t least = 0;
    for (int32_t n = 0; n < g->n_node; n++) {
        const fa_node *gather = &g->node[n];
        if (gather->domain[0] || strcmp(gather->op, "Gather") != 0 || gather->n_in < 2 || gather->in[0] < 0 || !g->value[gather->in[0]].is_parameter) continue;
        int32_t index = gather->in[1];
        while (index >= 0 && g->value[index].producer >= 0 && passes_on(&g->node[g->value[index].producer])) index = g->node[g->value[index].producer].in[0];
        const fa_view *table = index == g->input[input] ? fa_plan_value(plan, gather->in[0]) : NULL;
        int64_t axis = fa_node_int(gather, "axis", 0);
        if (table && axis < 0) axis += table->ndim;
        if (!table || axis < 0 || axis >= table->ndim || (least && table->dim[axis] >= least)) continue;
        least = table->dim[axis];
        *node = gather->name;
    }
    return least;
}

fa_status fa_lookup_check(const char *node, const char *input, int64_t rows, const int64_t *x, int64_t n, int64_t row, int64_t first)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] < -rows || x[i] >= rows)
            return fa_fail(FA_ERR_ARGUMENT, "node '%s': element %lld of input %lld of '%s' is %lld; the table has rows 0 to %lld", node, (long long)(i % row), (long long)(first + i / row),
                           input, (long long)x[i], (long long)rows - 1);
    return FA_OK;
}
