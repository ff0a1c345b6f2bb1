/* SPDX-License-Identifier: Apache-2.0 */
#include "score/scorer.h"

#include "base/error.h"

#include <string.h>

/* A response token by token: the sequence's loss is the mean of its tokens', and each of those has a signature of its own. */

static int64_t positions(const fa_scorer *s)
{
    return fa_pass_head(s->current->single.extraction.pass)->positions;
}

/* The tokens that count, in the order of the sequence: output p is held against token p + 1. */
static int64_t list(const fa_scorer *s, fa_token *tokens)
{
    const fa_scorer_plan *plan = s->current;
    int64_t n = 0;
    for (int64_t p = 0; p < positions(s); p++) {
        if (plan->own.target[p] < 0) continue;
        if (tokens) tokens[n] = (fa_token){.position = p + 1, .token = plan->own.target[p], .loss = (double)plan->token_loss[p]};
        n++;
    }
    return n;
}

/* The signature of one token's loss to row 0 of the judge. */
static fa_status sign(fa_scorer *s, int64_t position, const fa_array *target)
{
    fa_judge *j = fa_scorer_whole(s)->judge;
    const int64_t shape[2] = {1, positions(s)};
    float *marks = s->current->token_mask;
    memset(marks, 0, (size_t)shape[1] * sizeof *marks);
    marks[position] = 1;
    const fa_array mask = {.data = marks, .shape = shape, .ndim = 2, .dtype = FA_FLOAT32, .name = FA_ARRAY_MASK};
    FA_TRY(fa_extract(&s->current->single.extraction, s->inputs, 0, 1, &(fa_asked){.target = target, .mask = &mask}, j->blocks, NULL));
    return fa_judge_couple(j, 0, 1);
}

static void judge(fa_scorer *s, fa_token *token, float *couplings, float *weights)
{
    fa_judge *j = fa_scorer_whole(s)->judge;
    const int64_t n = j->body->n_reference;
    fa_scores_result r = {.cone_weight = s->options.score == FA_SCORE_CONE ? weights : NULL, .span_weight = s->options.score == FA_SCORE_SPAN ? weights : NULL};
    fa_judge_score(j, 0, s->want, &r);
    token->score = r.score[s->options.score];
    token->no_signal = !(j->tau[0] > 0);
    if (couplings) memcpy(couplings, j->couplings, (size_t)n * sizeof *couplings);
}

static fa_status run(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count)
{
    const int64_t references = s->sketch->body->n_reference;
    if (s->varied) return fa_fail(FA_ERR_STATE, "fa_score_tokens: tokens are scored by gradients, and this is a trace sketch");
    if (!s->current->token_mask)
        return fa_fail(FA_ERR_STATE, "fa_score_tokens: the sketch was built under the loss '%s', not 'next-token'", fa_loss_name(s->sketch->body->options.loss));
    if (weights && !s->weights) return fa_fail(FA_ERR_ARGUMENT, "fa_score_tokens: the score '%s' has no weights", fa_score_name(s->options.score));
    FA_TRY(fa_scorer_order(s, inputs, n_inputs, 1));
    const fa_asked asked = fa_network_asked(s->network, s->inputs);
    FA_TRY(fa_pass_forward(s->current->single.extraction.pass, s->inputs, 0, 1, &asked, &(fa_pass_outputs){.target = s->current->own.target, .position_loss = s->current->token_loss}));
    const int64_t n = list(s, NULL);
    if (n > capacity) return fa_fail(FA_ERR_LIMIT, "fa_score_tokens: the response has %lld tokens; there is room for %lld", (long long)n, (long long)capacity);
    s->current->single.extraction.forward_ns = s->current->single.extraction.backward_ns = 0;
    list(s, tokens);
    for (int64_t i = 0; i < n; i++) {
        FA_TRY(sign(s, tokens[i].position, asked.target));
        judge(s, &tokens[i], couplings ? couplings + i * references : NULL, weights ? weights + i * references : NULL);
    }
    s->timing.forward_ns = s->current->single.extraction.forward_ns;
    s->timing.backward_ns = s->current->single.extraction.backward_ns;
    s->timing.coupling_ns = s->timing.solve_ns = 0;
    *count = n;
    return FA_OK;
}

typedef struct call {
    fa_scorer *scorer;
    const fa_array *inputs;
    int32_t n_inputs;
    int64_t capacity;
    fa_token *tokens;
    float *couplings, *weights;
    int64_t *count;
} call;

static fa_status run_call(void *user)
{
    const call *c = user;
    return run(c->scorer, c->inputs, c->n_inputs, c->capacity, c->tokens, c->couplings, c->weights, c->count);
}

fa_status fa_scorer_run_tokens(fa_scorer *s, const fa_array *inputs, int32_t n_inputs, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count)
{
    fa_scorer *one = fa_scorer_one(s);
    FA_TRY(fa_scorer_lead(one, 1, run_call, &(call){one, inputs, n_inputs, capacity, tokens, couplings, weights, count}));
    s->timing = one->timing;
    return FA_OK;
}
