/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/fast_rewrite.h"

#include <string.h>

/*
 * A Chain that one layer alone reads has its gradient taken by that layer: what its data-gradient writes is multiplied by the derivative while it is in registers or the first-level cache, and
 * goes to memory once. The chain itself becomes a node that no gradient passes, and its input an input of the layer.
 */

/* Who makes and who reads the values of the new graph. */
typedef struct ends {
    int32_t *maker, *readers;
} ends;

static fa_status find_ends(fa_fast *f, ends *e)
{
    const fa_graph *g = f->edit.graph;
    e->maker = fa_arena_array(&f->work, (size_t)g->n_value + 1, sizeof *e->maker);
    e->readers = fa_arena_array(&f->work, (size_t)g->n_value + 1, sizeof *e->readers);
    if (!e->maker || !e->readers) return FA_ERR_MEMORY;
    for (int32_t v = 0; v < g->n_value; v++) e->maker[v] = -1;
    for (int32_t n = 0; n < g->n_node; n++) {
        if (fa_edit_is_removed(&f->edit, n)) continue;
        for (int32_t i = 0; i < g->node[n].n_in; i++)
            if (g->node[n].in[i] >= 0) e->readers[g->node[n].in[i]]++;
        for (int32_t o = 0; o < g->node[n].n_out; o++)
            if (g->node[n].out[o] >= 0) e->maker[g->node[n].out[o]] = n;
    }
    return FA_OK;
}

static bool is(const fa_node *node, const char *op)
{
    return strcmp(node->domain, FA_FAST_DOMAIN) == 0 && strcmp(node->op, op) == 0;
}

/* Only one node reads it, and nobody outside. */
static bool is_read_once(const fa_fast *f, const ends *e, int32_t value)
{
    return e->readers[value] == 1 && !(value < f->base->n_value && f->kept[value]);
}

fa_status fa_fast_pass_chains(fa_fast *f)
{
    ends e;
    FA_TRY(find_ends(f, &e));
    for (int32_t n = 0; n < f->edit.graph->n_node; n++) {
        fa_node *layer = &f->edit.graph->node[n];
        if (fa_edit_is_removed(&f->edit, n) || (!is(layer, "ConvNhwc") && !is(layer, "GemmFast"))) continue;
        const int32_t x = layer->in[FA_FAST_X], maker = x >= 0 ? e.maker[x] : -1;
        if (maker < 0 || !is_read_once(f, &e, x)) continue;
        fa_node *chain = &f->edit.graph->node[maker];
        if (!is(chain, "Chain") || !is_read_once(f, &e, chain->in[0])) continue;
        layer->attr[layer->n_attr++] = *fa_node_attr(chain, "functions"); /* for which fa_fast_conv() and fa_fast_gemm() left room */
        layer->attr[layer->n_attr++] = *fa_node_attr(chain, "numbers");
        layer->in[FA_FAST_BEFORE] = chain->in[0];
        chain->op = "ChainPassed";
    }
    return FA_OK;
}
