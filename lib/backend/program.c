/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/engine.h"

#include "base/error.h"
#include "graph/unroll.h"
#include "kernels/kernels.h"
#include "ops/table.h"

#include <string.h>

/* Ends a stage of rewrites, which all are kept: each shares data with its base. */
static const fa_graph *keep(fa_program *p, fa_graph *stage)
{
    return p->stage[p->n_stage++] = stage;
}

/* The layers of a canonical graph, and the graph on the kernels of the program. `packings`: NULL where gradients are always wanted. */
static fa_status finish(fa_program *p, const fa_graph *canonical, fa_packings *packings, fa_program_graph *out)
{
    fa_graph *fast;
    FA_TRY(fa_layers_find(canonical, &p->arena, &out->layers));
    if (p->kind == FA_KERNELS_FAST) {
        if (packings && !(packings->packing = fa_arena_array(&p->arena, (size_t)canonical->n_node + 1, sizeof *packings->packing))) return FA_ERR_MEMORY;
        FA_TRY(fa_rewrite_fast(canonical, p->logits, out->layers.node, out->layers.count, p->source, packings, p->packing == FA_PACKING_ONCE, &fast));
        canonical = keep(p, fast);
    }
    out->graph = canonical;
    return FA_OK;
}

static fa_status choose_kernels(fa_program *p)
{
    const bool fast = p->kind == FA_KERNELS_FAST;
    if (fast && !fa_kernels_available()) return fa_fail(FA_ERR_UNSUPPORTED, "there are no fast kernels in this build for this CPU");
    p->ops = fast ? &fa_fast_op_table : &fa_op_table_f32;
    p->tap_ops = fast ? &fa_tap_ops_fast : &fa_tap_ops_reference;
    p->kernels = fast ? fa_kernels_name() : "reference";
    return FA_OK;
}

static fa_status rewrite(fa_program *p, const fa_graph *graph, const fa_varied_options *varied)
{
    fa_graph *made;
    FA_TRY(choose_kernels(p));
    p->source = graph;
    FA_TRY(fa_unroll(graph, p->arena.context, &fa_op_table_f32, NULL, &p->logits, 1, &p->unrolled));
    if (p->unrolled) graph = p->unrolled;
    if (varied) {
        FA_TRY(fa_rewrite_literals(graph, &made));
        graph = keep(p, made);
        FA_TRY(fa_rewrite_unpacked(graph, &fa_op_table_f32, &made));
        graph = keep(p, made);
        FA_TRY(fa_parameters_find(graph, p->logits, varied, &p->arena, &p->parameters));
        FA_TRY(fa_rewrite_vary(graph, &p->parameters, &made));
        graph = keep(p, made);
    }
    FA_TRY(fa_rewrite_constants(graph, &fa_op_table_f32, &made));
    const fa_graph *constants = keep(p, made);
    if (p->kind == FA_KERNELS_FAST) {
        FA_TRY(fa_rewrite_einsums(constants, &made));
        constants = keep(p, made);
        FA_TRY(fa_rewrite_patterns(constants, &p->logits, 1, &made));
        constants = keep(p, made);
    }
    FA_TRY(fa_rewrite_batchnorm(constants, &p->logits, 1, &made));
    if (p->precision == FA_PRECISION_BF16) fa_mark_bf16(made);
    FA_TRY(finish(p, keep(p, made), &p->packings, &p->evaluation));
    if (!varied || !varied->reestimate) return FA_OK;
    FA_TRY(fa_rewrite_statistics(constants, &p->parameters, &p->arena, &p->norms, &made));
    return finish(p, keep(p, made), NULL, &p->training);
}

/* `restored`: NULL or `graph`, which the program then takes over, also on failure. */
static fa_status create(const fa_graph *graph, fa_graph *restored, int32_t logits, int32_t kernels, int32_t precision, int32_t packing, const fa_varied_options *varied,
                        fa_program **out)
{
    fa_context *c = graph->arena.context;
    fa_program *p = fa_new(c, sizeof *p);
    if (!p) {
        fa_graph_destroy(restored);
        return FA_ERR_MEMORY;
    }
    p->arena.context = c;
    p->engine = &fa_engine_graph;
    p->restored = restored;
    p->logits = logits;
    p->kind = kernels;
    p->precision = precision;
    p->packing = packing;
    fa_status status = rewrite(p, graph, varied);
    if (status == FA_OK) status = fa_program_trim(p);
    if (status == FA_OK) status = fa_program_late_create(p);
    if (status != FA_OK) {
        fa_program_destroy(p);
        return status;
    }
    *out = p;
    return FA_OK;
}

fa_status fa_program_create(const fa_graph *graph, int32_t logits, int32_t kernels, fa_program **out)
{
    return create(graph, NULL, logits, kernels, FA_PRECISION_F32, FA_PACKING_FAST, NULL, out);
}

fa_status fa_program_create_in(const fa_graph *graph, int32_t logits, int32_t kernels, int32_t precision, int32_t packing, fa_program **out)
{
    return create(graph, NULL, logits, kernels, precision, packing, NULL, out);
}

fa_status fa_program_create_varied(const fa_graph *graph, int32_t logits, int32_t kernels, const fa_varied_options *options, fa_program **out)
{
    return create(graph, NULL, logits, kernels, FA_PRECISION_F32, FA_PACKING_FAST, options, out);
}

fa_status fa_program_vary_graph(const fa_program *program, const fa_varied_options *options, fa_program **out)
{
    fa_graph *restored;
    FA_TRY(fa_program_restore(program, &restored));
    return create(restored ? restored : program->source, restored, program->logits, program->kind, FA_PRECISION_F32, FA_PACKING_FAST, options, out);
}

fa_status fa_program_create_tail(const fa_program *program, int32_t end, int32_t kernels, fa_program **out)
{
    fa_graph *restored;
    FA_TRY(fa_program_restore(program, &restored));
    return create(restored ? restored : program->source, restored, end, kernels, program->precision, program->packing, NULL, out);
}

void fa_program_destroy(fa_program *p)
{
    if (!p) return;
    fa_context *c = p->arena.context;
    fa_program_late_destroy(p);
    while (p->n_stage) fa_graph_destroy(p->stage[--p->n_stage]);
    fa_unroll_destroy(p->unrolled, p->source);
    fa_graph_destroy(p->restored);
    fa_arena_clear(&p->arena);
    fa_delete(c, p);
}

int32_t fa_program_layer_count(const fa_program *p)
{
    return p->evaluation.layers.count;
}

const fa_layer *fa_program_layer(const fa_program *p, int32_t index)
{
    return &p->evaluation.layers.layer[index];
}

const fa_tap_ops *fa_program_tap_ops(const fa_program *p)
{
    return p->tap_ops;
}

int32_t fa_program_precision(const fa_program *p)
{
    return p->precision;
}

const char *fa_program_kernels(const fa_program *p)
{
    return p->kernels;
}
