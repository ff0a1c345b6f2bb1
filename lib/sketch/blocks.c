/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "sketch/moments.h"
#include "sketch/select.h"

#include <stdio.h>

/* Every layer's name, for a pattern that matches none. */
static fa_status fail_selection(const fa_program *program, const char *patterns)
{
    char names[2048];
    size_t at = 0;
    int32_t layers = fa_program_layer_count(program), l = 0;
    names[0] = '\0';
    for (; l < layers && at + 64 < sizeof names; l++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%.*s", l ? ", " : "", 60, fa_program_layer(program, l)->name);
    return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.layers: '%.200s' selects none of the model's %d layers: %s%s", patterns, layers, names,
                   l < layers ? ", ..." : "");
}

static fa_status set_side(fa_side *s, int64_t n, int32_t k, bool one_hot, fa_blocks *b)
{
    size_t square, triangle;
    *s = (fa_side){.n = n, .k = k < n ? k : (int32_t)n, .random = one_hot || n > FA_SIDE_MAX, .partial_at = b->partial_floats, .total_at = b->total_doubles};
    if (s->random) return FA_OK;
    square = (size_t)n * (size_t)n;
    triangle = (square + (size_t)n) / 2;
    if (!fa_add_size(b->partial_floats, square, &b->partial_floats) || !fa_add_size(b->total_doubles, triangle, &b->total_doubles))
        return fa_fail_memory(SIZE_MAX);
    if (n > b->longest) b->longest = n;
    return FA_OK;
}

fa_status fa_blocks_choose(const fa_program *program, const fa_sketch_options *o, const bool *allowed, fa_arena *arena, fa_blocks *out)
{
    int32_t layers = fa_program_layer_count(program);
    if (layers == 0) return fa_fail(FA_ERR_NO_SIGNAL, "the model has no layer with weights: there is nothing to attribute to");
    fa_blocks b = {.block = fa_arena_array(arena, (size_t)layers, sizeof *b.block),
                   .of_layer = fa_arena_array(arena, (size_t)layers, sizeof *b.of_layer),
                   .tapped = fa_arena_array(arena, (size_t)layers, sizeof *b.tapped)};
    if (!b.block || !b.of_layer || !b.tapped) return FA_ERR_MEMORY;
    /* A shared weight is tapped at every use when the pattern selects any of them: its gradient is the sum. */
    for (int32_t l = 0; l < layers; l++)
        if ((!allowed || allowed[l]) && fa_layer_selected(o->layers, fa_program_layer(program, l)->name)) b.tapped[fa_block_first(program, l)] = true;
    for (int32_t l = 0; l < layers; l++) {
        int32_t first = fa_block_first(program, l);
        b.of_layer[l] = -1;
        b.tapped[l] = b.tapped[first];
        if (!b.tapped[l]) continue;
        if (first < l) {
            b.of_layer[l] = b.of_layer[first];
            continue;
        }
        const fa_layer *layer = fa_program_layer(program, l);
        fa_block *block = &b.block[b.count];
        block->layer = l;
        FA_TRY(set_side(&block->side[0], layer->in, o->k_in, layer->lookup, &b));
        FA_TRY(set_side(&block->side[1], layer->out, o->k_out, false, &b));
        b.of_layer[l] = b.count++;
    }
    if (b.count == 0) return fail_selection(program, o->layers);
    *out = b;
    return FA_OK;
}
