/* SPDX-License-Identifier: Apache-2.0 */
#include "score/trace_build.h"

#include "base/context.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "score/build_parts.h"
#include "score/calibrate.h"
#include "score/finish.h"
#include "sketch/checkpoint.h"
#include "sketch/match.h"
#include "sketch/sampling.h"
#include "sketch/trace_crew.h"

#include <stdio.h>
#include <string.h>

/* Inputs whose losses are wanted at every draw. */
typedef struct observed {
    const fa_array *inputs;
    fa_asked asked;
    int64_t n;
    int64_t *predicted;
    fa_own own;
    float *loss; /* [n, draws] of the sketch */
} observed;

typedef struct work {
    const fa_build_request *request;
    const fa_trace_options *options;
    fa_arena arena;
    fa_sketch *sketch;
    fa_program *program;
    fa_trace_crew crew;
    fa_refset *kept; /* the references that were not dropped, or NULL */
    const fa_refset *references;
    observed reference, calibration;
    fa_array *sampling;
    fa_own sampling_own;
    fa_asked sampling_asked;
    fa_checkpoint checkpoint;
    uint64_t next_checkpoint_ns;
} work;

static const fa_refset *sampling_set(const work *w)
{
    return w->options->sampling ? w->options->sampling : w->references;
}

static const fa_head *head(const work *w)
{
    return fa_pass_head(w->crew.tracer[0].pass);
}

static fa_status start(work *w)
{
    const fa_build_request *r = w->request;
    fa_sketch_body *b = w->sketch->body;
    b->trace = fa_arena_new(&b->arena, sizeof *b->trace);
    if (!b->trace) return FA_ERR_MEMORY;
    fa_sketch_trace *t = b->trace;
    t->options = *w->options;
    t->options.sampling = NULL;
    t->options.checkpoint = NULL;
    t->options.resume = 0;
    if (w->options->parameters && !(t->options.parameters = fa_arena_string(&b->arena, w->options->parameters))) return FA_ERR_MEMORY;
    FA_TRY(fa_trace_program(r->network, t, &w->program));
    FA_TRY(fa_trace_describe(w->program, &b->arena, t));
    fa_array *references, *calibration = NULL;
    FA_TRY(fa_build_order(r->network, r->references, &w->arena, "references", &references));
    if (r->calibration) FA_TRY(fa_build_order(r->network, r->calibration, &w->arena, "calibration", &calibration));
    if (w->options->sampling) FA_TRY(fa_build_order(r->network, w->options->sampling, &w->arena, "fa_trace_options.sampling", &w->sampling));
    int64_t n = r->references->n, m = r->calibration ? r->calibration->n : 0, k = w->options->sampling ? w->options->sampling->n : 0, most = n > m ? n : m;
    int64_t units = n * (1 + (r->options->drop_misclassified != 0)) + m + k + w->options->chains * w->options->draws * (n + m) + fa_sampling_units(w->options, k ? k : n);
    FA_TRY(fa_trace_crew_begin(&w->crew, r->network, w->program, r->options, references, most > k ? most : k, units));
    FA_TRY(fa_build_describe(r, fa_head_classes(head(w)), references, b));
    b->options.blocks = FA_BLOCKS_PLAIN;
    if (b->options.loss == FA_LOSS_MARGIN) b->options.loss = FA_LOSS_CROSS_ENTROPY; /* that of its losses */
    b->options.layers = NULL;
    w->reference = (observed){.inputs = references, .asked = fa_network_asked(r->network, references), .n = n};
    if (m) w->calibration = (observed){.inputs = calibration, .asked = fa_network_asked(r->network, calibration), .n = m};
    return FA_OK;
}

static fa_status predict(work *w, observed *o, float *loss)
{
    if (!o->n) return FA_OK;
    o->predicted = fa_arena_array(&w->arena, (size_t)o->n, sizeof *o->predicted);
    if (!o->predicted) return FA_ERR_MEMORY;
    FA_TRY(fa_own_begin(&o->own, w->arena.context, head(w), o->n));
    return fa_trace_crew_predict(&w->crew, o->inputs, o->n, &o->asked,
                                 &(fa_pass_outputs){.predicted = o->predicted, .target = o->own.target, .output = o->own.output, .loss = loss});
}

/* Which references stay, and the room for them. */
static fa_status settle_references(work *w)
{
    const fa_build_request *r = w->request;
    fa_sketch_body *b = w->sketch->body;
    fa_array *inputs;
    w->references = r->references;
    float *loss = fa_arena_array(&w->arena, (size_t)w->reference.n, sizeof *loss);
    if (!loss) return FA_ERR_MEMORY;
    FA_TRY(predict(w, &w->reference, loss));
    if (r->options->drop_misclassified) {
        FA_TRY(fa_build_drop(w->arena.context, r->references, w->reference.predicted, &w->kept));
        w->references = w->kept;
        FA_TRY(fa_build_order(r->network, w->kept, &w->arena, "references", &inputs));
        fa_own_end(&w->reference.own);
        w->reference = (observed){.inputs = inputs, .asked = fa_network_asked(r->network, inputs), .n = w->kept->n};
        FA_TRY(predict(w, &w->reference, loss));
    }
    b->n_reference = w->reference.n;
    double sum = 0;
    for (int64_t i = 0; i < b->n_reference; i++) sum += (double)loss[i];
    b->trace->loss_before = sum / (double)b->n_reference;
    fa_trace_chain *chains = fa_arena_array(&w->arena, (size_t)w->options->chains, sizeof *chains);
    if (!chains) return FA_ERR_MEMORY;
    for (int32_t c = 0; c < w->options->chains; c++)
        chains[c] = (fa_trace_chain){.seed = r->options->seed, .id = w->options->first_chain + (uint64_t)c, .draws = w->options->draws};
    FA_TRY(fa_trace_new(b, chains, w->options->chains));
    memcpy(b->predicted, w->reference.predicted, (size_t)b->n_reference * sizeof *b->predicted);
    fa_build_name_references(w->references, b);
    w->reference.loss = b->trace->loss;
    return FA_OK;
}

static fa_status settle_calibration(work *w, const fa_refset *set)
{
    if (!set) return FA_OK;
    memcpy(w->sketch->calibration_digest, set->digest, 16);
    FA_TRY(fa_sketch_new_calibration(w->sketch, w->calibration.n));
    w->calibration.loss = w->sketch->calibration_loss;
    return predict(w, &w->calibration, NULL);
}

/* What the sampling set is held against: the model's own, and the label in its place where an input has one class. */
static fa_status settle_sampling(work *w)
{
    const fa_refset *set = sampling_set(w);
    fa_own *own = &w->sampling_own;
    FA_TRY(fa_own_begin(own, w->arena.context, head(w), set->n));
    if (set == w->references) {
        const fa_own *known = &w->reference.own;
        w->sampling = (fa_array *)w->reference.inputs;
        memcpy(own->target ? (void *)own->target : own->output, known->target ? (const void *)known->target : known->output, fa_own_bytes(head(w), set->n));
    } else {
        const fa_asked asked = fa_network_asked(w->request->network, w->sampling);
        FA_TRY(fa_trace_crew_predict(&w->crew, w->sampling, set->n, &asked, &(fa_pass_outputs){.target = own->target, .output = own->output}));
    }
    w->sampling_asked = fa_own_asked(own, fa_network_asked(w->request->network, w->sampling).mask);
    if (head(w)->kind->output != FA_OUTPUT_CLASSES) return FA_OK;
    for (int64_t i = 0; set->label && i < set->n; i++) {
        if (set->label[i] < 0) continue;
        if (set->label[i] >= w->sketch->body->classes)
            return fa_fail(FA_ERR_ARGUMENT, "sampling input %lld: label %lld of %lld classes", (long long)i, (long long)set->label[i], (long long)w->sketch->body->classes);
        own->target[i] = set->label[i];
    }
    return FA_OK;
}

static fa_status observe_set(work *w, const observed *o, int64_t draw)
{
    const fa_sketch_body *b = w->sketch->body;
    int64_t draws = b->offset[b->n_layer];
    const fa_asked asked = fa_own_asked(&o->own, o->asked.mask);
    return o->n ? fa_trace_crew_losses(&w->crew, b, draw, o->inputs, o->n, &asked, o->loss + draw, draws) : FA_OK;
}

static fa_status observe(void *user, int64_t draw)
{
    work *w = user;
    FA_TRY(observe_set(w, &w->reference, draw));
    return observe_set(w, &w->calibration, draw);
}

/* A digest of everything that the result depends on. */
static void digest_request(work *w)
{
    const fa_trace_options *o = w->options;
    const fa_sketch_options *s = w->request->options;
    const int64_t integers[] = {o->sampler, o->storage, o->batchnorm, o->chains, o->partial, o->draws, o->burn_in, o->thinning, o->minibatch, (int64_t)o->first_chain,
                                (int64_t)s->seed, s->topk, s->drop_misclassified, s->batch, w->sketch->body->options.loss, w->request->network->logits_node,
                                w->request->calibration != NULL, o->sampling != NULL, o->parameters != NULL};
    const double reals[] = {o->step_size, o->gamma, o->nbeta, o->noise, o->decay, o->epsilon, s->ridge};
    const char *parameters = o->parameters ? o->parameters : "";
    fa_hash h;
    fa_hash_begin(&h);
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) fa_hash_add_i64(&h, integers[i]);
    fa_hash_add(&h, reals, sizeof reals);
    fa_hash_add(&h, parameters, strlen(parameters));
    fa_hash_add(&h, w->request->network->digest, 16);
    fa_hash_add(&h, w->request->references->digest, 16);
    if (w->request->calibration) fa_hash_add(&h, w->request->calibration->digest, 16);
    if (o->sampling) fa_hash_add(&h, o->sampling->digest, 16);
    fa_hash_end(&h, w->checkpoint.request);
}

static fa_status write_checkpoint(void *user, int32_t chain, fa_chain_state *state, int64_t draw)
{
    work *w = user;
    uint64_t now = fa_now_ns();
    if (now < w->next_checkpoint_ns) return FA_OK;
    w->next_checkpoint_ns = fa_later_ns(now, w->options->checkpoint_ms);
    w->checkpoint.chain = chain;
    w->checkpoint.draw = draw;
    w->checkpoint.state = state ? *state : (fa_chain_state){.weights = NULL};
    return fa_checkpoint_write(w->sketch, &w->checkpoint, w->options->checkpoint);
}

static fa_status sample(work *w)
{
    const fa_trace_options *o = w->options;
    fa_sampling s = {.network = w->request->network, .program = w->program, .body = w->sketch->body, .inputs = w->sampling, .n = sampling_set(w)->n,
                     .asked = &w->sampling_asked, .pool = w->crew.pool, .progress = &w->crew.progress, .user = w, .observe = observe};
    if (o->checkpoint) {
        digest_request(w);
        s.pause = write_checkpoint;
        w->next_checkpoint_ns = fa_later_ns(fa_now_ns(), o->checkpoint_ms);
        if (o->resume && fa_file_exists(o->checkpoint)) {
            FA_TRY(fa_checkpoint_read(w->sketch, &w->checkpoint, o->checkpoint, &w->arena));
            s.first_chain = w->checkpoint.chain;
            s.first_draw = w->checkpoint.draw;
            s.state = w->checkpoint.state;
            w->crew.progress.done += s.first_draw * (w->reference.n + w->calibration.n) + fa_sampling_units_done(o, s.n, s.first_chain, s.state.step);
        }
    }
    return fa_sampling_run(&s);
}

static fa_status build(work *w)
{
    fa_sketch_body *b;
    FA_TRY(fa_build_check(w->request));
    const fa_loss_kind *loss = fa_loss_kind_of(w->request->options->loss);
    if (w->request->options->loss == FA_LOSS_HOST) return fa_fail(FA_ERR_UNSUPPORTED, "fa_sketch_options.loss: a host's gradient is no loss at draws: '%s' has no trace sketches", loss->name);
    FA_TRY(fa_sketch_new(w->arena.context, NULL, &w->sketch));
    b = w->sketch->body;
    FA_TRY(start(w));
    FA_TRY(settle_references(w));
    FA_TRY(settle_calibration(w, w->request->calibration));
    FA_TRY(settle_sampling(w));
    FA_TRY(sample(w));
    fa_trace_sign_references(b);
    FA_TRY(fa_body_finish(b, b->arena.context->kernels, w->crew.pool));
    FA_TRY(fa_trace_diagnose(b));
    return w->calibration.n ? fa_calibrate_traces(w->sketch, w->crew.pool) : FA_OK;
}

static void end(work *w)
{
    fa_trace_crew_end(&w->crew);
    fa_own_end(&w->reference.own);
    fa_own_end(&w->calibration.own);
    fa_own_end(&w->sampling_own);
    fa_program_destroy(w->program);
    if (w->kept) fa_refset_free(w->kept);
    fa_arena_clear(&w->arena);
}

fa_status fa_trace_build(const fa_build_request *r, fa_sketch **out)
{
    work w = {.request = r, .options = r->options->trace, .arena.context = r->network->context};
    fa_status status = build(&w);
    end(&w);
    if (status != FA_OK) {
        fa_sketch_free(w.sketch);
        return status;
    }
    *out = w.sketch;
    return FA_OK;
}

static fa_status recalibrate(work *w, const fa_network *n, const fa_refset *set, const fa_sketch_options *options)
{
    const fa_sketch_body *b = w->sketch->body;
    int64_t draws = b->offset[b->n_layer];
    fa_array *inputs;
    FA_TRY(fa_trace_program(n, b->trace, &w->program));
    FA_TRY(fa_build_order(n, set, &w->arena, "calibration", &inputs));
    fa_sketch_options own = *options;
    own.loss = b->options.loss;
    FA_TRY(fa_trace_crew_begin(&w->crew, n, w->program, &own, inputs, set->n, set->n * (draws + 1)));
    w->calibration = (observed){.inputs = inputs, .asked = fa_network_asked(n, inputs), .n = set->n};
    FA_TRY(settle_calibration(w, set));
    for (int64_t t = 0; t < draws; t++) FA_TRY(observe_set(w, &w->calibration, t));
    return fa_calibrate_traces(w->sketch, w->crew.pool);
}

fa_status fa_trace_recalibrate(const fa_sketch *sketch, const fa_network *n, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out)
{
    work w = {.arena.context = n->context};
    FA_TRY(fa_sketch_new(sketch->context, sketch->body, &w.sketch));
    fa_status status = calibration ? recalibrate(&w, n, calibration, options) : FA_OK;
    end(&w);
    if (status != FA_OK) {
        fa_sketch_free(w.sketch);
        return status;
    }
    *out = w.sketch;
    return FA_OK;
}
