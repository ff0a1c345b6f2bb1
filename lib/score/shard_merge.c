/* SPDX-License-Identifier: Apache-2.0 */
#include "score/shard_merge.h"

#include "base/error.h"
#include "sketch/match.h"

#include <stdlib.h>
#include <string.h>

typedef struct shard {
    const fa_sketch *sketch;
    const fa_refset *references;
} shard;

/* The option that shards must have in common and have not, or NULL. */
static const char *differing_option(const fa_sketch_options *a, const fa_sketch_options *b)
{
    if (a->k_in != b->k_in) return "k_in";
    if (a->k_out != b->k_out) return "k_out";
    if (a->beta != b->beta) return "beta";
    if (a->damping != b->damping) return "damping";
    if (a->ridge != b->ridge) return "ridge";
    if (a->blocks != b->blocks) return "blocks";
    if (a->loss != b->loss) return "loss";
    if (a->topk != b->topk) return "topk";
    if (a->seed != b->seed) return "seed";
    if (a->drop_misclassified != b->drop_misclassified) return "drop_misclassified";
    if (a->max_forwards != b->max_forwards) return "max_forwards";
    if (a->subset != b->subset) return "subset";
    if (!a->layers != !b->layers || (a->layers && strcmp(a->layers, b->layers))) return "layers";
    return NULL;
}

/* That sketch i is one of this network, has its moments, goes with its references and can be joined with the first. */
static fa_status match(const fa_shard_merge_request *r, int32_t i)
{
    const fa_sketch_body *b = r->sketches[i]->body;
    fa_status status = fa_sketch_match(b, r->network);
    if (status != FA_OK) return fa_fail_at(status, "sketch %d of the merge", i);
    if (b->precision != fa_program_precision(r->network->program)) return fa_fail(FA_ERR_MISMATCH, "sketch %d of the merge was built in another precision than the model's", i);
    if (!b->options.keep_moments) return fa_fail(FA_ERR_STATE, "sketch %d of the merge has no moments; build it with fa_sketch_options.keep_moments", i);
    if (memcmp(b->references_digest, r->references[i]->digest, 16)) return fa_fail(FA_ERR_MISMATCH, "sketch %d of the merge was built from other references than those given with it", i);
    const char *option = differing_option(&r->sketches[0]->body->options, &b->options);
    return option ? fa_fail(FA_ERR_MISMATCH, "sketch %d of the merge differs from the first in the option '%s'", i, option) : FA_OK;
}

static int by_references(const void *a, const void *b)
{
    return memcmp(((const shard *)a)->references->digest, ((const shard *)b)->references->digest, 16);
}

/* The shards' options, and what the caller says about this run. */
static fa_sketch_options joint_options(const fa_shard_merge_request *r)
{
    fa_sketch_options o = r->sketches[0]->body->options;
    o.batch = r->options->batch;
    o.keep_moments = r->options->keep_moments;
    o.output_gradient = r->options->output_gradient;
    o.output_gradient_user = r->options->output_gradient_user;
    o.progress = r->options->progress;
    o.progress_user = r->options->progress_user;
    o.timeout_ms = r->options->timeout_ms;
    return o;
}

static fa_status join(const fa_shard_merge_request *r, fa_arena *arena, fa_sketch **out)
{
    size_t n = (size_t)r->count;
    shard *shards = fa_arena_array(arena, n, sizeof *shards);
    const fa_sketch_body **bodies = fa_arena_array(arena, n, sizeof *bodies);
    const fa_refset **sets = fa_arena_array(arena, n, sizeof *sets);
    if (!shards || !bodies || !sets) return FA_ERR_MEMORY;
    for (size_t i = 0; i < n; i++) shards[i] = (shard){r->sketches[i], r->references[i]};
    qsort(shards, n, sizeof *shards, by_references);
    for (size_t i = 0; i < n; i++) {
        bodies[i] = shards[i].sketch->body;
        sets[i] = shards[i].references;
    }
    fa_refset *all;
    fa_status status = fa_refset_join(r->network->context, sets, r->count, &all);
    if (status != FA_OK) return fa_fail_at(status, "references of all %d sketches", r->count);
    fa_sketch_options options = joint_options(r);
    status = fa_build(&(fa_build_request){.network = r->network, .references = all, .calibration = r->calibration, .options = &options,
                                          .shards = &(fa_shards){bodies, r->count}}, out);
    fa_refset_free(all);
    return status;
}

fa_status fa_shard_merge(const fa_shard_merge_request *r, fa_sketch **out)
{
    fa_arena arena = {.context = r->network->context};
    for (int32_t i = 0; i < r->count; i++) FA_TRY(match(r, i));
    fa_status status = join(r, &arena, out);
    fa_arena_clear(&arena);
    return status;
}
