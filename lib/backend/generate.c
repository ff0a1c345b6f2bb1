/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/generate.h"

#include "backend/engine.h"
#include "base/error.h"
#include "graph/array.h"

#include <math.h>
#include <string.h>

/* What an input is filled with. */
typedef enum kind { TOKENS, ONES, PLACES, OTHER } kind;

typedef struct writer {
    const fa_generation *g;
    int64_t n, length, batch;
    int64_t *x, *end, *made; /* [n, length], then where the next token of each row goes and how many are new */
    uint8_t *mask;
    int32_t n_input;
    fa_array *inputs;
    int64_t shape[2];        /* [batch, length], of every input */
    int64_t *ones, *places;  /* [batch, length] */
    fa_pass *pass;
} writer;

static const fa_graph *graph_of(const fa_generation *g)
{
    return g->program->evaluation.graph;
}

static kind kind_of(const fa_generation *g, const fa_value *tokens, int32_t input)
{
    const fa_value *v = &graph_of(g)->value[graph_of(g)->input[input]];
    return v == tokens ? TOKENS : strcmp(v->name, "attention_mask") == 0 ? ONES : strcmp(v->name, "position_ids") == 0 ? PLACES : OTHER;
}

/* The input of the prompts' name, or the first of integers that nothing else is known of; NULL: there is none. */
static const fa_value *tokens_of(const fa_generation *g)
{
    for (int32_t i = 0; i < graph_of(g)->n_input; i++) {
        const fa_value *v = &graph_of(g)->value[graph_of(g)->input[i]];
        if (g->prompts->name ? strcmp(g->prompts->name, v->name) == 0 : kind_of(g, NULL, i) == OTHER && !fa_dtype_is_real(v->dtype)) return v;
    }
    return NULL;
}

static fa_status find_tokens(const fa_generation *g, const fa_value **out)
{
    const fa_value *found = tokens_of(g);
    if (!found) return fa_fail(FA_ERR_ARGUMENT, "the model has no input of tokens%s%s", g->prompts->name ? " called " : "", g->prompts->name ? g->prompts->name : "");
    for (int32_t i = 0; i < graph_of(g)->n_input; i++)
        if (kind_of(g, found, i) == OTHER)
            return fa_fail(FA_ERR_UNSUPPORTED, "input '%s' is not the tokens, attention_mask or position_ids: it cannot be made up", graph_of(g)->value[graph_of(g)->input[i]].name);
    if (found->has_shape && found->declared_ndim != 2) return fa_fail(FA_ERR_UNSUPPORTED, "input '%s' has %d dimensions; tokens are [n, length]", found->name, found->declared_ndim);
    *out = found;
    return FA_OK;
}

static int64_t length_of(const fa_generation *g, int64_t i)
{
    return g->lengths ? g->lengths[i] : g->prompts->shape[1];
}

fa_status fa_generation_length(const fa_generation *g, int64_t *length)
{
    const fa_value *tokens;
    FA_TRY(find_tokens(g, &tokens));
    const int64_t declared = tokens->has_shape && tokens->declared[1] > 0 ? tokens->declared[1] : 0;
    int64_t most = 0;
    for (int64_t i = 0; i < g->prompts->shape[0]; i++) {
        const int64_t whole = length_of(g, i) + g->tokens;
        if (declared && whole > declared)
            return fa_fail(FA_ERR_LIMIT, "prompt %lld: %lld tokens and %lld more; input '%s' takes %lld", (long long)i, (long long)length_of(g, i), (long long)g->tokens, tokens->name,
                           (long long)declared);
        if (whole > most) most = whole;
    }
    *length = declared ? declared : most;
    return FA_OK;
}

static void begin_rows(writer *w)
{
    const int64_t t = w->g->prompts->shape[1];
    memset(w->mask, 0, (size_t)(w->n * w->length));
    for (int64_t i = 0; i < w->n; i++) {
        int64_t *row = w->x + i * w->length;
        w->end[i] = length_of(w->g, i);
        fa_array_to_int64(w->g->prompts, i * t, w->end[i], row);
        for (int64_t k = w->end[i]; k < w->length; k++) row[k] = w->g->pad;
    }
    for (int64_t k = 0; k < w->batch * w->length; k++) {
        w->ones[k] = 1;
        w->places[k] = k % w->length;
    }
}

static bool is_done(const writer *w, int64_t i)
{
    return w->made[i] == w->g->tokens || (w->made[i] && w->g->stop >= 0 && w->x[i * w->length + w->end[i] - 1] == w->g->stop);
}

/* The next token of row i, which is number k of the pass. */
static fa_status append(writer *w, int64_t i, int64_t k)
{
    const fa_head *h = fa_pass_head(w->pass);
    const float *z = fa_pass_logits(w->pass) + k * h->outputs + (w->end[i] - 1) * h->position_step;
    int64_t best = 0;
    for (int64_t c = 0; c < h->channels; c++) {
        if (!isfinite(z[c * h->channel_step])) return fa_fail(FA_ERR_NOT_FINITE, "prompt %lld: logit %lld behind its token %lld is not finite", (long long)i, (long long)c, (long long)w->end[i] - 1);
        if (z[c * h->channel_step] > z[best * h->channel_step]) best = c;
    }
    w->mask[i * w->length + w->end[i]] = 1;
    w->x[i * w->length + w->end[i]++] = best;
    w->made[i]++;
    return FA_OK;
}

/* Prompts first ... first + n - 1, until all of them are done. */
static fa_status write_rows(writer *w, int64_t first, int64_t n)
{
    const fa_value *tokens = tokens_of(w->g);
    w->shape[0] = n;
    for (int32_t i = 0; i < w->n_input; i++) {
        const kind k = kind_of(w->g, tokens, i);
        w->inputs[i] = (fa_array){.data = k == TOKENS ? w->x + first * w->length : k == ONES ? w->ones : w->places, .shape = w->shape, .ndim = 2, .dtype = FA_INT64};
    }
    for (bool open = true; open;) {
        open = false;
        int64_t settled = 0;
        fa_status status = fa_pass_run_forward(w->pass, w->inputs, 0, NULL, n);
        if (status != FA_OK) return fa_fail_at(status, "prompts from %lld on", (long long)first);
        for (int64_t i = first; i < first + n; i++) {
            if (is_done(w, i)) continue;
            FA_TRY(append(w, i, i - first));
            settled += is_done(w, i) ? w->g->tokens - w->made[i] + 1 : 1;
            open |= !is_done(w, i);
        }
        if (w->g->step) FA_TRY(w->g->step(w->g->user, settled));
    }
    return FA_OK;
}

static fa_status plan(writer *w, fa_arena *arena)
{
    const fa_generation *g = w->g;
    w->n_input = graph_of(g)->n_input;
    w->inputs = fa_arena_array(arena, (size_t)w->n_input + 1, sizeof *w->inputs);
    w->end = fa_arena_array(arena, (size_t)w->n, sizeof *w->end);
    w->made = fa_arena_array(arena, (size_t)w->n, sizeof *w->made);
    if (!w->inputs || !w->end || !w->made) return FA_ERR_MEMORY;
    w->shape[0] = 1;
    w->shape[1] = w->length;
    for (int32_t i = 0; i < w->n_input; i++) w->inputs[i] = (fa_array){.shape = w->shape, .ndim = 2, .dtype = FA_INT64};
    FA_TRY(fa_pass_create(&(fa_pass_request){.program = g->program, .context = g->context, .inputs = w->inputs, .n_inputs = w->n_input,
                                             .batch = w->n < g->batch ? w->n : g->batch, .loss = FA_LOSS_NEXT_TOKEN}, &w->pass));
    if (fa_pass_head(w->pass)->positions != w->length)
        return fa_fail(FA_ERR_SHAPE, "the model has outputs at %lld positions for %lld tokens", (long long)fa_pass_head(w->pass)->positions, (long long)w->length);
    w->batch = fa_pass_batch(w->pass);
    w->ones = fa_arena_array(arena, 2 * (size_t)(w->batch * w->length), sizeof *w->ones);
    if (!w->ones) return FA_ERR_MEMORY;
    w->places = w->ones + w->batch * w->length;
    return FA_OK;
}

fa_status fa_generation_run(const fa_generation *g, int64_t length, int64_t *x, uint8_t *mask)
{
    fa_arena arena = {.context = g->context};
    writer w = {.g = g, .n = g->prompts->shape[0], .length = length, .x = x, .mask = mask};
    fa_status status = plan(&w, &arena);
    if (status == FA_OK) begin_rows(&w);
    for (int64_t i = 0; i < w.n && status == FA_OK; i += w.batch) status = write_rows(&w, i, w.n - i < w.batch ? w.n - i : w.batch);
    fa_pass_destroy(w.pass);
    fa_arena_clear(&arena);
    return status;
}
