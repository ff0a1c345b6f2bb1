/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/program.h"
#include "base/error.h"
#include "graph/edit.h"

#include <stdio.h>
#include <string.h>

static int64_t offset_of(const fa_parameters *p, int32_t value)
{
    for (int32_t i = 0; i < p->n_statistic; i++)
        if (p->statistic[i] == value) return p->statistic_at[i];
    return -1;
}

static fa_status new_value(fa_edit *e, const char *node, const char *what, int32_t *value)
{
    char text[400];
    snprintf(text, sizeof text, "%.300s.batch-%s", node, what);
    return fa_edit_value(e, text, FA_FLOAT32, value);
}

/* Operator set 15 in training mode; with momentum 0 its running mean and variance are the batch's. */
static fa_status replace(fa_edit *e, int32_t n, fa_batchnorm *norm)
{
    const fa_node *old = &e->graph->node[n];
    const char *name = old->name;
    int32_t made;
    FA_TRY(new_value(e, name, "mean", &norm->mean));
    FA_TRY(new_value(e, name, "variance", &norm->variance));
    FA_TRY(fa_edit_node(e, name, "BatchNormalization", "", 15, 5, 3, 3, &made));
    fa_node *to = &e->graph->node[made];
    old = &e->graph->node[n]; /* nodes move when the edit grows */
    memcpy(to->in, old->in, 5 * sizeof *to->in);
    to->out[0] = old->out[0];
    to->out[1] = norm->mean;
    to->out[2] = norm->variance;
    to->attr[0] = (fa_attr){.name = "epsilon", .kind = FA_ATTR_FLOAT, .f = fa_node_float(old, "epsilon", 1e-5f)};
    to->attr[1] = (fa_attr){.name = "momentum", .kind = FA_ATTR_FLOAT, .f = 0};
    to->attr[2] = (fa_attr){.name = "training_mode", .kind = FA_ATTR_INT, .i = 1};
    norm->name = to->name;
    norm->momentum = (double)fa_node_float(old, "momentum", 0.9f);
    fa_edit_remove_node(e, n);
    return FA_OK;
}

fa_status fa_rewrite_statistics(const fa_graph *graph, const fa_parameters *parameters, fa_arena *arena, fa_batchnorms *norms, fa_graph **out)
{
    fa_edit edit;
    norms->norm = fa_arena_array(arena, (size_t)graph->n_node + 1, sizeof *norms->norm);
    if (!norms->norm) return FA_ERR_MEMORY;
    FA_TRY(fa_edit_begin(graph, &edit));
    for (int32_t n = 0; n < graph->n_node; n++) {
        if (!fa_is_batchnorm(&graph->node[n])) continue;
        const int32_t mean = fa_parameter_source(graph, graph->node[n].in[3]), variance = fa_parameter_source(graph, graph->node[n].in[4]);
        fa_batchnorm norm = {.mean_at = offset_of(parameters, mean), .variance_at = offset_of(parameters, variance)};
        if (norm.mean_at < 0 || norm.variance_at < 0) continue; /* the logits do not depend on it */
        norm.channels = graph->value[mean].view.count;
        const bool fits = graph->value[variance].view.count == norm.channels;
        const fa_status status = fits ? replace(&edit, n, &norm) : fa_fail(FA_ERR_SHAPE, "node '%s': a mean and a variance of different sizes", graph->node[n].name);
        if (status != FA_OK) {
            fa_edit_discard(&edit);
            return status;
        }
        norms->norm[norms->count++] = norm;
    }
    return fa_edit_finish(&edit, out);
}
