/* SPDX-License-Identifier: Apache-2.0 */
#include "score/build.h"

#include "base/context.h"
#include "base/error.h"
#include "score/calibrate.h"
#include "score/finish.h"
#include "sketch/fit.h"
#include "sketch/match.h"

#include <fattr/version.h>
#include <stdio.h>
#include <string.h>

/* A set's arrays in graph order. */
static fa_status order(const fa_network *n, const fa_refset *set, fa_arena *arena, const char *what, fa_array **out)
{
    fa_array *ordered = fa_arena_array(arena, (size_t)n->n_input, sizeof *ordered);
    if (!ordered) return FA_ERR_MEMORY;
    fa_status status = fa_network_order(n, set->input, set->n_input, ordered);
    if (status != FA_OK) return fa_fail_at(status, "%s", what);
    *out = ordered;
    return FA_OK;
}

static fa_status describe_inputs(fa_sketch_body *b, const fa_network *n, const fa_array *inputs)
{
    b->n_input = n->n_input;
    b->input = fa_arena_array(&b->arena, (size_t)n->n_input, sizeof *b->input);
    if (!b->input) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < n->n_input; i++) {
        fa_sketch_input *in = &b->input[i];
        *in = (fa_sketch_input){.dtype = inputs[i].dtype, .ndim = inputs[i].ndim - 1};
        for (int32_t d = 0; d < in->ndim; d++) in->dim[d] = inputs[i].shape[d + 1];
    }
    return FA_OK;
}

static fa_status begin_body(const fa_build_request *r, const fa_crew *crew, const fa_array *inputs, fa_sketch_body *b)
{
    b->options = *r->options;
    b->options.progress = NULL;
    b->options.progress_user = NULL;
    b->options.timeout_ms = 0;
    if (r->options->layers && !(b->options.layers = fa_arena_string(&b->arena, r->options->layers))) return FA_ERR_MEMORY;
    snprintf(b->library_version, sizeof b->library_version, "%s", fa_version_string());
    memcpy(b->model_digest, r->network->digest, 16);
    memcpy(b->references_digest, r->references->digest, 16);
    b->logits_node = r->network->logits_node;
    b->classes = fa_pass_classes(crew->member[0].pass);
    return describe_inputs(b, r->network, inputs);
}

/* The references that the model classifies as their labels say; those without a label are kept. */
static fa_status drop_misclassified(fa_crew *crew, const fa_refset *set, const fa_array *inputs, fa_refset **out)
{
    int64_t kept = 0, *predicted = fa_new_array(crew->context, (size_t)set->n, sizeof *predicted);
    bool *keep = predicted ? fa_new_array(crew->context, (size_t)set->n, sizeof *keep) : NULL;
    fa_status status = keep ? fa_predict(crew, inputs, set->n, predicted) : FA_ERR_MEMORY;
    if (status == FA_OK) {
        for (int64_t i = 0; i < set->n; i++) kept += keep[i] = set->label[i] < 0 || set->label[i] == predicted[i];
        if (kept < 2)
            status = fa_fail(FA_ERR_ARGUMENT, "the model classifies %lld of %lld references as their labels say; at least two are needed",
                             (long long)kept, (long long)set->n);
        else status = fa_refset_select(crew->context, set, keep, out);
    }
    fa_delete(crew->context, keep);
    fa_delete(crew->context, predicted);
    return status;
}

static fa_status fit(fa_crew *crew, const fa_blocks *blocks, const fa_refset *set, const fa_array *inputs, fa_sketch_body *b)
{
    FA_TRY(fa_fit(crew, blocks, inputs, set->n, b));
    for (int64_t i = 0; i < set->n; i++) {
        b->id[i] = set->id[i];
        b->label[i] = set->label ? set->label[i] : -1;
    }
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
    return r->options->drop_misclassified != 0;
}

/* Everything that can be said before the first pass is planned. */
static fa_status prepare(const fa_build_request *r, parts *p)
{
    const fa_refset *refs = r->references, *cal = r->calibration;
    if (refs->n < 2) return fa_fail(FA_ERR_ARGUMENT, "%lld reference; a sketch needs at least two", (long long)refs->n);
    if (filters(r) && !refs->label) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.drop_misclassified: the references have no labels");
    FA_TRY(fa_blocks_choose(r->network->program, r->options, &p->arena, &p->blocks));
    FA_TRY(order(r->network, refs, &p->arena, "references", &p->references));
    if (cal) FA_TRY(order(r->network, cal, &p->arena, "calibration", &p->calibration));
    p->most = cal && cal->n > refs->n ? cal->n : refs->n;
    p->units = refs->n * (filters(r) ? 3 : 2) + 2 * p->blocks.count + (cal ? cal->n : 0);
    return FA_OK;
}

static fa_status build(const fa_build_request *r, parts *p, fa_crew *crew, fa_sketch *s)
{
    fa_crew_request request = {.network = r->network, .options = r->options, .inputs = p->references, .tapped = p->blocks.tapped, .most = p->most,
                               .units = p->units};
    FA_TRY(fa_crew_begin(crew, &request));
    FA_TRY(begin_body(r, crew, p->references, s->body));
    if (filters(r)) {
        fa_refset *kept = NULL;
        fa_array *inputs;
        FA_TRY(drop_misclassified(crew, r->references, p->references, &kept));
        fa_status status = order(r->network, kept, &p->arena, "references", &inputs);
        if (status == FA_OK) status = fit(crew, &p->blocks, kept, inputs, s->body);
        fa_refset_free(kept);
        FA_TRY(status);
    } else {
        FA_TRY(fit(crew, &p->blocks, r->references, p->references, s->body));
    }
    return r->calibration ? fa_calibrate(crew, s, p->calibration, r->calibration->n) : FA_OK;
}

fa_status fa_build(const fa_build_request *r, fa_sketch **out)
{
    parts p = {.arena.context = r->network->context};
    fa_crew crew = {0};
    fa_sketch *s = NULL;
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
    FA_TRY(order(n, set, arena, "calibration", &inputs));
    fa_crew_request request = {.network = n, .options = options, .inputs = inputs, .tapped = tapped, .most = set->n, .units = set->n};
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
