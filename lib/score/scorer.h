/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_SCORER_H
#define FA_SCORE_SCORER_H

#include "base/lru.h"
#include "base/pool.h"
#include "score/levels.h"
#include "sketch/extract.h"
#include "sketch/tracer.h"

#include <fattr/score.h>

/* One way to run the network: a pass for so many inputs at a time, for gradients or at drawn weights. */
typedef struct fa_scorer_lane {
    fa_projector *projector; /* NULL: that of a batch, which has the same layout */
    fa_extraction extraction;
    fa_tracer tracer;
    int64_t batch;
} fa_scorer_lane;

#define FA_SCORER_PLANS 4 /* default of plan_cache */

/* The network for inputs of one shape. `many` is empty at max_batch 1. */
typedef struct fa_scorer_plan {
    fa_scorer_lane single, many; /* gradients: in the same memory, since a call uses one of them */
    fa_own own; /* trace sketches: of [max_batch] inputs; fa_score_tokens(): of one, the token that each output is held against, or -1 */
    float *token_loss, *token_mask; /* fa_score_tokens(): [positions]; NULL under losses without it */
} fa_scorer_plan;

struct fa_scorer {
    struct fa_team *team; /* where several threads share the inputs of a batch: who does the work. Nothing below but context, sketch, model, options, pool, timing and FLOPs is then in use */
    fa_pool *pool;        /* whose threads its passes share; NULL: none. Its own, or, with `helps`, that of the scorer it works for */
    bool helps;
    fa_context *context;
    const fa_sketch *sketch; /* retained, as `model`, by the public functions */
    const fa_model *model;
    const fa_network *network;
    fa_scorer_options options; /* defaults filled in */
    uint32_t want;
    int64_t smallest; /* at least 2; fewer go one by one: a batch costs what it costs, full or not, and an input of a full one about as much as a single one */
    fa_lru shapes;           /* of the inputs of each plan */
    fa_scorer_plan *plan;    /* [shapes.slots] */
    fa_scorer_plan *current; /* for the inputs of the current call */
    int64_t *shape;          /* [shapes.length] of the current call */
    bool *tapped;            /* [layers of the program]; NULL in a trace sketch */
    double flops_forward, flops_score; /* of one input of the references' shape */
    fa_levels levels;
    fa_program *varied; /* trace sketches: the network with weights that move */
    float *loss;        /* trace sketches: [max_batch, draws] */
    float *column;      /* trace sketches: [max_batch] losses at one draw */
    int64_t *active;    /* trace sketches: [max_batch] inputs whose verdict is open */
    fa_result *result;  /* trace sketches: [max_batch], until all inputs are settled */
    fa_array *inputs;   /* [n_input + FA_ASIDES] of the current call, in graph order */
    int64_t *predicted; /* [max_batch] */
    float *confidence;  /* [max_batch] */
    float *weights;     /* [max_batch, n_reference], NULL where the score has none */
    float *residual;    /* [max_batch, signature_length], NULL unless asked for */
    fa_score_timing timing;
};

/* The level of the whole sketch. */
static inline const fa_level *fa_scorer_whole(const fa_scorer *s)
{
    return &s->levels.level[s->levels.n - 1];
}

/* `options` are checked for ranges here. The sketch belongs to the network (fa_sketch_match). `pool`: with options of one thread, that of
 * another scorer, or NULL. */
fa_status fa_scorer_make(const fa_sketch *sketch, const fa_network *network, const fa_scorer_options *options, fa_pool *pool, fa_scorer **out);
void fa_scorer_free(fa_scorer *scorer);

/* scorer_plan.c. Makes the plan for the references' shape. */
fa_status fa_scorer_plans_begin(fa_scorer *scorer);
void fa_scorer_plans_end(fa_scorer *scorer);
/* Sets `current` for s->inputs, and allocates only where their shape is not among those kept. A call that fails changes no plan. */
fa_status fa_scorer_plan_for(fa_scorer *scorer);

/* The inputs of a call, n of them, checked, to `inputs`, and the plan for them. */
fa_status fa_scorer_order(fa_scorer *scorer, const fa_array *inputs, int32_t n_inputs, int64_t n);

/* scorer_tokens.c: fa_score_tokens(). */
fa_status fa_scorer_run_tokens(fa_scorer *scorer, const fa_array *inputs, int32_t n_inputs, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count);

/* Scores inputs first ... first + n - 1 of the arrays' `rows`, n in [1, max_batch], for results[0 ... n - 1]; `results` untouched on failure. */
fa_status fa_scorer_run(fa_scorer *scorer, const fa_array *inputs, int32_t n_inputs, int64_t rows, fa_result *results, int64_t first, int64_t n);

/* team.c: what a scorer does by all of its threads. */
bool fa_team_suits(const fa_scorer_options *options); /* whether scorers of one thread each share the inputs of a batch */
fa_status fa_team_begin(fa_scorer *scorer);
void fa_team_end(fa_scorer *scorer);
fa_scorer *fa_scorer_one(fa_scorer *scorer); /* who works on a single input: one of the team, or the scorer itself */
/* fa_scorer_run() of all n inputs. */
fa_status fa_scorer_run_all(fa_scorer *scorer, const fa_array *inputs, int32_t n_inputs, fa_result *results, int64_t n);
/* run(user), within which the passes of fa_scorer_one() share their nodes, if n inputs are worth it. */
fa_status fa_scorer_lead(fa_scorer *one, int64_t n, fa_status (*run)(void *user), void *user);

/* What a scorer at `batch` holds beside its passes and its fa_scores. */
size_t fa_scorer_bytes(const fa_sketch_body *body, int64_t n_reference, int32_t n_input, int64_t batch);

#endif
