/* SPDX-License-Identifier: Apache-2.0 */
#include "score/build.h"

#include "base/context.h"
#include "base/error.h"
#include "score/build_parts.h"
#include "score/calibrate.h"
#include "score/finish.h"
#include "score/trace_build.h"
#include "sketch/fit.h"
#include "sketch/match.h"

/* The references that the model classifies as their labels say; those without a label are kept. */
static fa_status drop_misclassified(fa_crew *crew, const fa_refset *set, const fa_array *inputs, fa_refset **out)
{
    int64_t *predicted = fa_new_array(crew->context, (size_t)set->n, sizeof *predicted);
    if (!predicted) return FA_ERR_MEMORY;
    fa_status status = fa_predict(crew, inputs, set->n, predicted);
    if (status == FA_OK) status = fa_build_drop(crew->context, set, predicted, out);
    fa_delete(crew->context, predicted);
    return status;
}

static fa_status fit(fa_crew *crew, const fa_blocks *blocks, const fa_shards *shards, const fa_refset *set, const fa_array *inputs, fa_sketch_body *b)
{
    FA_TRY(fa_fit(crew, blocks, shards, inputs, set->n, b));
    fa_build_name_references(set, b);
    FA_TRY(fa_body_finish(b, crew->context->kernels, crew->pool));
    return fa_progress_add(&crew->progress, "couplings", 0);
}

typedef struct parts {
    fa_arena arena;
    fa_blocks blocks;
    fa_array *references, *calibration; /* in graph order */
    int64_t most, units;
} parts;

static bool filters(const fa_build_request *r)
{
    return r->shards ? fa_shards_references(r->shards) != r->references->n : r->options->drop_misclassified != 0;
}

/* Passes over the references: predictions when some may be dropped, second moments, signatures. */
static int64_t passes(const fa_build_request *r)
{
    return r->shards ? 1 : filters(r) ? 3 : 2;
}

/* Everything that can be said before the first pass is planned. */
static fa_status prepare(const fa_build_request *r, parts *p)
{
    const fa_refset *refs = r->references, *cal = r->calibration;
    FA_TRY(fa_build_check(r));
    FA_TRY(fa_build_order(r->network, refs, &p->arena, "references", &p->references));
    FA_TRY(fa_blocks_afford(r->network, r->network->context, r->options, p->references, &p->arena, &p->blocks));
    if (cal) FA_TRY(fa_build_order(r->network, cal, &p->arena, "calibration", &p->calibration));
    p->most = cal && cal->n > refs->n ? cal->n : refs->n;
    p->units = refs->n * passes(r) + 2 * p->blocks.count + (cal ? cal->n : 0);
    return FA_OK;
}

static fa_status build(const fa_build_request *r, parts *p, fa_crew *crew, fa_sketch *s)
{
    fa_crew_request request = {.network = r->network, .options = r->options, .inputs = p->references, .tapped = p->blocks.tapped, .most = p->most,
                               .units = p->units};
    FA_TRY(fa_crew_begin(crew, &request));
    FA_TRY(fa_build_describe(r, fa_head_classes(fa_pass_head(crew->member[0].pass)), p->references, s->body));
    if (filters(r)) {
        fa_refset *kept = NULL;
        fa_array *inputs;
        FA_TRY(r->shards ? fa_shards_select(crew->context, r->shards, r->references, &kept) : drop_misclassified(crew, r->references, p->references, &kept));
        fa_status status = fa_build_order(r->network, kept, &p->arena, "references", &inputs);
        if (status == FA_OK) status = fit(crew, &p->blocks, r->shards, kept, inputs, s->body);
        fa_refset_free(kept);
        FA_TRY(status);
    } else {
        FA_TRY(fit(crew, &p->blocks, r->shards, r->references, p->references, s->body));
    }
    return r->calibration ? fa_calibrate(crew, s, p->calibration, r->calibration->n) : FA_OK;
}

fa_status fa_build(const fa_build_request *r, fa_sketch **out)
{
    parts p = {.arena.context = r->network->context};
    fa_crew crew = {0};
    fa_sketch *s = NULL;
    if (r->options->trace) return fa_trace_build(r, out);
    fa_status status = prepare(r, &p);
    if (status == FA_OK) status = fa_sketch_new(r->network->context, NULL, &s);
    if (status == FA_OK) status = build(r, &p, &crew, s);
    fa_crew_end(&crew);
    fa_arena_clear(&p.arena);
    if (status != FA_OK) {
        fa_sketch_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}

static fa_status recalibrate(fa_crew *crew, fa_arena *arena, const fa_network *n, const fa_refset *set, const fa_sketch_options *options,
                             fa_sketch *s)
{
    const fa_program *program = n->program;
    fa_array *inputs;
    bool *tapped = fa_arena_array(arena, (size_t)fa_program_layer_count(program) + 1, sizeof *tapped);
    if (!tapped) return FA_ERR_MEMORY;
    fa_body_taps(program, s->body, tapped);
    FA_TRY(fa_build_order(n, set, arena, "calibration", &inputs));
    fa_sketch_options own = *options;
    own.loss = s->body->options.loss;
    fa_crew_request request = {.network = n, .options = &own, .inputs = inputs, .tapped = tapped, .most = set->n, .units = set->n};
    FA_TRY(fa_crew_begin(crew, &request));
    FA_TRY(fa_crew_project(crew, s->body));
    return fa_calibrate(crew, s, inputs, set->n);
}

fa_status fa_build_recalibrate(const fa_sketch *sketch, const fa_network *n, const fa_refset *calibration, const fa_sketch_options *options,
                               fa_sketch **out)
{
    fa_arena arena = {.context = n->context};
    fa_crew crew = {0};
    fa_sketch *s;
    FA_TRY(fa_sketch_match(sketch->body, n));
    if (sketch->body->trace) return fa_trace_recalibrate(sketch, n, calibration, options, out);
    FA_TRY(fa_sketch_new(sketch->context, sketch->body, &s));
    fa_status status = calibration ? recalibrate(&crew, &arena, n, calibration, options, s) : FA_OK;
    fa_crew_end(&crew);
    fa_arena_clear(&arena);
    if (status != FA_OK) {
        fa_sketch_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}
