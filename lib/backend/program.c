/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/program.h"

#include "base/error.h"
#include "kernels/kernels.h"
#include "ops/table.h"

#include <string.h>

/* The chain of rewrites, each over the one before; all are kept, since each shares data with its base. */
static fa_status rewrite(fa_program *p, const fa_graph *graph)
{
    FA_TRY(fa_rewrite_constants(graph, &fa_op_table_f32, &p->stage[0]));
    FA_TRY(fa_rewrite_batchnorm(p->stage[0], &p->logits, 1, &p->stage[1]));
    p->graph = p->stage[1];
    p->ops = &fa_op_table_f32;
    p->tap_ops = &fa_tap_ops_reference;
    p->kernels = "reference";
    FA_TRY(fa_layers_find(p->graph, &p->arena, &p->layers));
    if (p->kind != FA_KERNELS_FAST) return FA_OK;
    if (!fa_kernels_available()) return fa_fail(FA_ERR_UNSUPPORTED, "there are no fast kernels in this build for this CPU");
    FA_TRY(fa_rewrite_fast(p->graph, p->logits, p->layers.node, p->layers.count, &p->stage[2]));
    p->graph = p->stage[2];
    p->ops = &fa_fast_op_table;
    p->tap_ops = &fa_tap_ops_fast;
    p->kernels = fa_kernels_name();
    return FA_OK;
}

fa_status fa_program_create(const fa_graph *graph, int32_t logits, int32_t kernels, fa_program **out)
{
    fa_context *c = graph->arena.context;
    fa_program *p = fa_new(c, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    p->arena.context = c;
    p->logits = logits;
    p->kind = kernels;
    fa_status status = rewrite(p, graph);
    if (status != FA_OK) {
        fa_program_destroy(p);
        return status;
    }
    *out = p;
    return FA_OK;
}

void fa_program_destroy(fa_program *p)
{
    if (!p) return;
    fa_context *c = p->arena.context;
    for (int i = FA_PROGRAM_STAGES - 1; i >= 0; i--) fa_graph_destroy(p->stage[i]);
    fa_arena_clear(&p->arena);
    fa_delete(c, p);
}

int32_t fa_program_layer_count(const fa_program *p)
{
    return p->layers.count;
}

const fa_layer *fa_program_layer(const fa_program *p, int32_t index)
{
    return &p->layers.layer[index];
}

const fa_tap_ops *fa_program_tap_ops(const fa_program *p)
{
    return p->tap_ops;
}

const char *fa_program_kernels(const fa_program *p)
{
    return p->kernels;
}
