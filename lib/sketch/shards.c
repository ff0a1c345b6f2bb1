/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/shards.h"

#include "base/error.h"

static const fa_sketch_layer *layer_of(const fa_sketch_body *b, int32_t index)
{
    for (int32_t i = 0; i < b->n_layer + b->n_dropped; i++)
        if (b->layer[i].index == index) return &b->layer[i];
    return NULL;
}

/* A file may say that moments are kept and list other layers than its options select. */
static bool has_moments(const fa_sketch_layer *l, const fa_block *block)
{
    if (!l) return false;
    for (int e = 0; e < 2; e++)
        if (!l->moment[e] != block->side[e].random || (e ? l->out : l->in) != block->side[e].n) return false;
    return true;
}

fa_status fa_shards_sum(const fa_shards *s, const fa_program *program, const fa_blocks *b, double *total)
{
    for (int32_t j = 0; j < s->count; j++)
        for (int32_t i = 0; i < b->count; i++) {
            const fa_block *block = &b->block[i];
            const fa_sketch_layer *l = layer_of(s->body[j], block->layer);
            if (!has_moments(l, block))
                return fa_fail(FA_ERR_MISMATCH, "layer '%.100s': a sketch of the merge has not its moments", fa_program_layer(program, block->layer)->name);
            for (int e = 0; e < 2; e++) {
                double *to = total + block->side[e].total_at;
                for (int64_t k = 0; k < fa_layer_moment(l, e); k++) to[k] += l->moment[e][k];
            }
        }
    return FA_OK;
}

int64_t fa_shards_references(const fa_shards *s)
{
    int64_t n = 0;
    for (int32_t j = 0; j < s->count; j++) n += s->body[j]->n_reference;
    return n;
}

fa_status fa_shards_select(fa_context *context, const fa_shards *s, const fa_refset *all, fa_refset **out)
{
    bool *keep = fa_new_array(context, (size_t)all->n, sizeof *keep);
    if (!keep) return FA_ERR_MEMORY;
    int64_t at = 0;
    fa_status status = FA_OK;
    for (int32_t j = 0; j < s->count && status == FA_OK; j++)
        for (int64_t i = 0; i < s->body[j]->n_reference && status == FA_OK; i++) {
            while (at < all->n && all->id[at] != s->body[j]->id[i]) at++;
            if (at < all->n) keep[at++] = true;
            else status = fa_fail(FA_ERR_MISMATCH, "reference %lld of a sketch is not among those given", (long long)s->body[j]->id[i]);
        }
    if (status == FA_OK) status = fa_refset_select(context, all, keep, out);
    fa_delete(context, keep);
    return status;
}
