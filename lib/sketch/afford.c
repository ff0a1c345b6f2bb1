/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "sketch/moments.h"

/* A score's FLOPs over those of a forward pass, without couplings and solver. */
static fa_status forwards(const fa_pass_request *request, const fa_blocks *blocks, double *out)
{
    const fa_program *program = request->program;
    fa_pass_request r = *request;
    fa_pass *pass;
    r.tapped = blocks->tapped;
    FA_TRY(fa_pass_create(&r, &pass));
    double forward = fa_pass_flops_forward(pass), all = forward + fa_pass_flops_backward(pass);
    for (int32_t l = 0; l < fa_program_layer_count(program); l++) {
        const fa_tap *geometry = blocks->of_layer[l] < 0 ? NULL : fa_pass_geometry(pass, l);
        if (!geometry || !geometry->n) continue;
        const fa_block *b = &blocks->block[blocks->of_layer[l]];
        all += fa_program_tap_ops(program)->flops(geometry, b->side[0].k, b->side[1].k);
    }
    fa_pass_destroy(pass);
    *out = all / forward;
    return FA_OK;
}

fa_status fa_blocks_afford(const fa_network *network, fa_context *context, const fa_sketch_options *o, const fa_array *inputs, fa_arena *arena, fa_blocks *out)
{
    const fa_program *program = network->program;
    int32_t layers = fa_program_layer_count(program);
    fa_blocks all, chosen = {.count = 0};
    FA_TRY(fa_blocks_choose(program, o, NULL, arena, &all));
    if (!(o->max_forwards > 0)) {
        *out = all;
        return FA_OK;
    }
    fa_pass_request request = {.program = program, .context = context, .inputs = inputs, .n_inputs = network->n_input, .batch = 1, .loss = o->loss,
                               .output_gradient = o->output_gradient, .output_gradient_user = o->output_gradient_user};
    bool *allowed = fa_arena_array(arena, (size_t)layers, sizeof *allowed);
    if (!allowed) return FA_ERR_MEMORY;
    /* A weight that is used at several places joins with its first use, which is where the backward pass has to go. */
    for (int32_t l = layers - 1; l >= 0; l--) {
        if (all.of_layer[l] < 0 || fa_block_first(program, l) != l) continue;
        fa_blocks more;
        double cost;
        allowed[l] = true;
        FA_TRY(fa_blocks_choose(program, o, allowed, arena, &more));
        FA_TRY(forwards(&request, &more, &cost));
        if (cost > o->max_forwards && !chosen.count)
            return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.max_forwards: the layer '%.100s' alone takes %.3g forward passes, not %.3g", fa_program_layer(program, l)->name, cost,
                           o->max_forwards);
        if (cost > o->max_forwards) break;
        chosen = more;
    }
    *out = chosen;
    return FA_OK;
}
