/* SPDX-License-Identifier: Apache-2.0 */
#include "score/trace_gather.h"

#include "base/context.h"
#include "base/error.h"
#include "score/calibrate.h"
#include "score/finish.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static fa_status copy_table(const fa_sketch_body *from, fa_sketch_body *b, bool with_draws)
{
    const fa_sketch_trace *of = from->trace;
    fa_arena *a = &b->arena;
    fa_sketch_trace *t = b->trace = fa_arena_new(a, sizeof *t);
    if (!t) return FA_ERR_MEMORY;
    b->options = from->options;
    memcpy(b->library_version, from->library_version, sizeof b->library_version);
    memcpy(b->model_digest, from->model_digest, 16);
    memcpy(b->references_digest, from->references_digest, 16);
    b->logits_node = from->logits_node;
    b->classes = from->classes;
    b->n_input = from->n_input;
    b->n_reference = from->n_reference;
    b->input = fa_arena_array(a, (size_t)b->n_input, sizeof *b->input);
    t->options = of->options;
    t->n_parameter = of->n_parameter;
    t->n_statistics = with_draws ? of->n_statistics : 0;
    t->loss_before = of->loss_before;
    t->parameter = fa_arena_array(a, (size_t)t->n_parameter, sizeof *t->parameter);
    if (!b->input || !t->parameter) return FA_ERR_MEMORY;
    memcpy(b->input, from->input, (size_t)b->n_input * sizeof *b->input);
    if (of->options.parameters && !(t->options.parameters = fa_arena_string(a, of->options.parameters))) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < t->n_parameter; i++) {
        t->parameter[i] = of->parameter[i];
        if (!(t->parameter[i].name = fa_arena_string(a, of->parameter[i].name))) return FA_ERR_MEMORY;
    }
    FA_TRY(fa_trace_lay_out(a, t));
    if (!with_draws) t->draw_bytes = 0;
    return FA_OK;
}

static fa_status new_chains(const fa_trace_piece *pieces, int32_t n, fa_sketch_body *b)
{
    fa_trace_chain *chains = fa_new_array(b->arena.context, (size_t)n, sizeof *chains);
    if (!chains) return FA_ERR_MEMORY;
    for (int32_t c = 0; c < n; c++) {
        chains[c] = pieces[c].from->body->trace->chain[pieces[c].chain];
        chains[c].draws = pieces[c].draws;
    }
    fa_status status = fa_trace_new(b, chains, n);
    fa_delete(b->arena.context, chains);
    return status;
}

/* Rows of losses [n, draws] of a piece's chain into its place. */
static void copy_losses(const fa_trace_piece *p, const float *from, int64_t n, const fa_sketch_body *b, int32_t c, float *to)
{
    const fa_sketch_body *source = p->from->body;
    int64_t all = source->offset[source->n_layer], first = source->offset[p->chain], draws = b->offset[b->n_layer];
    for (int64_t i = 0; i < n; i++) memcpy(to + i * draws + b->offset[c], from + i * all + first, (size_t)p->draws * sizeof *to);
}

static void copy_draws(const fa_trace_piece *p, fa_sketch_body *b, int32_t c)
{
    const fa_sketch_trace *from = p->from->body->trace;
    fa_sketch_trace *t = b->trace;
    size_t first = (size_t)p->from->body->offset[p->chain], at = (size_t)b->offset[c], n = (size_t)p->draws;
    if (t->draw) memcpy(t->draw + at * t->draw_bytes, from->draw + first * t->draw_bytes, n * t->draw_bytes);
    if (t->statistics)
        memcpy(t->statistics + at * (size_t)t->n_statistics, from->statistics + first * (size_t)t->n_statistics, n * (size_t)t->n_statistics * sizeof(float));
}

static fa_status gather(const fa_trace_piece *pieces, int32_t n, bool with_draws, fa_pool *pool, fa_sketch *s)
{
    const fa_sketch *first = pieces[0].from;
    const fa_sketch_body *from = first->body;
    fa_sketch_body *b = s->body;
    FA_TRY(copy_table(from, b, with_draws));
    FA_TRY(new_chains(pieces, n, b));
    size_t names = (size_t)b->n_reference * sizeof(int64_t);
    memcpy(b->id, from->id, names);
    memcpy(b->predicted, from->predicted, names);
    memcpy(b->label, from->label, names);
    if (first->n_calibration) FA_TRY(fa_sketch_new_calibration(s, first->n_calibration));
    memcpy(s->calibration_digest, first->calibration_digest, 16);
    for (int32_t c = 0; c < n; c++) {
        copy_losses(&pieces[c], pieces[c].from->body->trace->loss, b->n_reference, b, c, b->trace->loss);
        if (s->n_calibration) copy_losses(&pieces[c], pieces[c].from->calibration_loss, s->n_calibration, b, c, s->calibration_loss);
        if (with_draws) copy_draws(&pieces[c], b, c);
    }
    fa_trace_sign_references(b);
    FA_TRY(fa_body_finish(b, s->context->kernels, pool));
    if (with_draws) FA_TRY(fa_trace_diagnose(b));
    return s->n_calibration ? fa_calibrate_traces(s, pool) : FA_OK;
}

fa_status fa_trace_gather(const fa_trace_piece *pieces, int32_t n, bool with_draws, fa_pool *pool, fa_sketch **out)
{
    fa_sketch *s;
    FA_TRY(fa_sketch_new(pieces[0].from->context, NULL, &s));
    fa_status status = gather(pieces, n, with_draws, pool, s);
    if (status != FA_OK) {
        fa_sketch_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}

#define DIFFERS(what) fa_fail(FA_ERR_MISMATCH, "sketch %d of the merge differs from the first in %s", i, what)

static bool same_options(const fa_sketch_body *a, const fa_sketch_body *b)
{
    const fa_trace_options *p = &a->trace->options, *q = &b->trace->options;
    bool patterns = !p->parameters == !q->parameters && (!p->parameters || !strcmp(p->parameters, q->parameters));
    bool alike = p->sampler == q->sampler && p->storage == q->storage && p->batchnorm == q->batchnorm && p->partial == q->partial && p->burn_in == q->burn_in &&
                 p->thinning == q->thinning && p->minibatch == q->minibatch && p->step_size == q->step_size && p->gamma == q->gamma && p->nbeta == q->nbeta &&
                 p->noise == q->noise && p->decay == q->decay && p->epsilon == q->epsilon;
    return alike && patterns && a->options.ridge == b->options.ridge && a->options.topk == b->options.topk;
}

/* That sketch i can be joined with the first. */
static fa_status match(const fa_sketch *first, const fa_sketch *s, int32_t i)
{
    const fa_sketch_body *a = first->body, *b = s->body;
    size_t names = (size_t)a->n_reference * sizeof(int64_t);
    if (a->options.loss != b->options.loss) return DIFFERS("its loss");
    if (memcmp(a->model_digest, b->model_digest, 16) || a->logits_node != b->logits_node || a->classes != b->classes) return DIFFERS("its model");
    if (!same_options(a, b)) return DIFFERS("its options");
    if (a->trace->layout.n_weight != b->trace->layout.n_weight || a->trace->n_statistics != b->trace->n_statistics || a->trace->n_parameter != b->trace->n_parameter)
        return DIFFERS("the weights that move");
    if (memcmp(a->references_digest, b->references_digest, 16) || a->n_reference != b->n_reference || memcmp(a->id, b->id, names)) return DIFFERS("its references");
    if (memcmp(a->predicted, b->predicted, names)) return DIFFERS("the classes predicted for its references");
    if (first->n_calibration != s->n_calibration || memcmp(first->calibration_digest, s->calibration_digest, 16)) return DIFFERS("its calibration inputs");
    return FA_OK;
}

static int by_chain(const void *a, const void *b)
{
    const fa_trace_piece *p = a, *q = b;
    const fa_trace_chain *x = &p->from->body->trace->chain[p->chain], *y = &q->from->body->trace->chain[q->chain];
    if (x->seed != y->seed) return x->seed < y->seed ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static fa_status merge(const fa_sketch *const *sketches, int32_t count, fa_trace_piece *pieces, int32_t n, fa_sketch **out)
{
    int32_t at = 0;
    for (int32_t i = 0; i < count; i++)
        for (int32_t c = 0; c < sketches[i]->body->n_layer; c++)
            pieces[at++] = (fa_trace_piece){.from = sketches[i], .chain = c, .draws = sketches[i]->body->trace->chain[c].draws};
    qsort(pieces, (size_t)n, sizeof *pieces, by_chain);
    for (int32_t i = 1; i < n; i++)
        if (!by_chain(&pieces[i - 1], &pieces[i])) {
            const fa_trace_chain *twice = &pieces[i].from->body->trace->chain[pieces[i].chain];
            return fa_fail(FA_ERR_ARGUMENT, "chain %llu of seed %llu is there twice; give each sketch another seed or another first_chain", (unsigned long long)twice->id,
                           (unsigned long long)twice->seed);
        }
    fa_pool *pool;
    fa_context *context = sketches[0]->context;
    FA_TRY(fa_pool_create(context, context->threads, &pool));
    fa_status status = fa_trace_gather(pieces, n, true, pool, out);
    fa_pool_destroy(pool);
    return status;
}

fa_status fa_trace_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out)
{
    int64_t chains = 0;
    for (int32_t i = 0; i < count; i++) {
        FA_TRY(match(sketches[0], sketches[i], i));
        chains += sketches[i]->body->n_layer;
    }
    if (chains > FA_TRACE_CHAINS_MOST) return fa_fail(FA_ERR_LIMIT, "%lld chains; a sketch holds at most %d", (long long)chains, FA_TRACE_CHAINS_MOST);
    fa_context *context = sketches[0]->context;
    fa_trace_piece *pieces = fa_new_array(context, (size_t)chains, sizeof *pieces);
    if (!pieces) return FA_ERR_MEMORY;
    fa_status status = merge(sketches, count, pieces, (int32_t)chains, out);
    fa_delete(context, pieces);
    return status;
}
