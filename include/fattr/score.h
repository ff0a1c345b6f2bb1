/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_SCORE_H
#define FATTR_SCORE_H

#include <fattr/sketch.h>

/** Scores inputs: one thread's arena over a shared sketch and model. Not for two threads at once; make one per thread. */
typedef struct fa_scorer fa_scorer;

/** How the references' signatures are read for couplings, which read all of them for every input (or once for a few of a batch). Integers are a copy beside the sketch, which all its scorers share,
 *  made by the first of them; their products with the input, in 16-bit integers too, are summed without rounding. */
#define FA_SIGNATURES_INT16 0 /**< 16-bit integers with a scale for each layer of each reference; a coupling is wrong by 3e-6 to 9e-6 (root mean square). Default */
#define FA_SIGNATURES_F32 1   /**< as the sketch has them: twice the memory traffic, no copy */
#define FA_SIGNATURES_INT8 2  /**< 8-bit integers: half the traffic and the copy of FA_SIGNATURES_INT16, and 100 times its error */

typedef struct fa_scorer_options {
    size_t struct_size; /**< sizeof(fa_scorer_options) of the caller */
    int32_t max_batch;  /**< inputs that share one pass in fa_score_batch(); default 1, 1 to 4096; memory grows with it */
    int32_t score;      /**< FA_SCORE_... that p-value and verdict refer to; default FA_SCORE_CONE */
    int32_t all_scores; /**< 1: fill in every entry of `fa_result.scores`; 0 (default): `score` and those that cost nothing more */
    double alpha;       /**< false positive rate to hold, in (0, 1); 0 (default): 0.05, without calibration no verdict */
    int32_t want_residual; /**< 1: fill in `fa_result.residual` (only with FA_SCORE_CONE or FA_SCORE_SPAN); default 0 */
    double confidence;     /**< trace sketches: stop before the last draw once the verdict is settled with this probability, in (0, 1), e.g. 0.99 (docs/method.md, "Stopping
                            *   early"); needs calibration; 0 (default): every draw is used. Each level of draws takes the memory of a small sketch */
    uint64_t draw_cache_bytes; /**< trace sketches: memory, in each scorer, to keep the first draws' weights ready to run instead of making them again in every call: worth it for
                                *   single inputs, where making them takes as long as running them. Bytes; default 0 */
    fa_output_gradient output_gradient; /**< for a sketch of FA_LOSS_HOST, and only then: the gradient at the output; NULL (default): none */
    void *output_gradient_user;         /**< handed to output_gradient */
    int64_t plan_cache;        /**< shapes of inputs (beyond the leading dimension) that the scorer is ready for at the same time; 1 to 1024, default 4. The references' shape is the first;
                                *   another one, where the model leaves its dimensions open, is planned by the first call that brings it, in the place of the shape not used for longest.
                                *   Each holds what the model's values and gradients take at that shape for max_batch inputs, and the sketch's projections as the
                                *   kernels want them; for a trace sketch the weights as well. The model's own weights are shared by all */
    int32_t threads;           /**< gradient sketches: threads that share what a call does, the calling one included (or calls of fa_context_options.parallel_for). Where max_batch is at least
                                *   2 threads, inputs of a batch are shared, and each thread has memory as a scorer of max_batch / threads; single inputs, and batches of a scorer with a
                                *   smaller max_batch, are shared node by node: rows or channels of each layer, which takes workspaces of the kernels for each thread. The same bits for
                                *   any number. Threads without work look for some for a tenth of a millisecond within a call and half of that after it, then they sleep. What takes less
                                *   than about 0.4 milliseconds is done by the caller alone. 1 to 256; default 1. An output_gradient is called from any of them */
    int32_t signatures;        /**< gradient sketches: FA_SIGNATURES_..., default FA_SIGNATURES_INT16. What it changes is in docs/method.md; cone, span and residual take the sketch's own
                                *   signatures for what references share among themselves */
} fa_scorer_options;

/** Fills in the defaults. @param size sizeof(fa_scorer_options) of the caller. */
FA_API void fa_scorer_options_init(fa_scorer_options *options, size_t size);

/** One input's result. The arrays belong to the scorer and hold until its next call. */
typedef struct fa_result {
    double score;   /**< the chosen score; higher = more anomalous; 1 (cone, span) or 0 (others) for an input without signal */
    double p_value; /**< (1 + #{calibration scores >= score}) / (1 + m), in (0, 1]; NaN without calibration */
    int32_t flagged;   /**< 1: p_value <= alpha; 0: not; -1: no calibration */
    int32_t no_signal; /**< 1: the signature is zero; p_value is then 1 / (1 + m) */
    int64_t predicted; /**< the model's class, argmax of the logits; fattr/loss.h says what it is, or -1, under other losses */
    double confidence; /**< its softmax probability; fattr/loss.h says what it is, or NaN, under other losses */
    double scores[FA_SCORE_COUNT]; /**< by FA_SCORE_...; NaN where not computed */
    const float *couplings; /**< `[reference_count]` cosine with every reference, in [-1, 1] */
    const float *weights;   /**< `[reference_count]` what explains the input: >= 0 for cone; NULL for scores without weights */
    const float *residual;  /**< `[signature_length]` the unexplained part of the unit signature; NULL unless asked for */
    int64_t reference_count;
    int64_t signature_length;
    int64_t draws;   /**< trace sketches: draws that were used. When fewer than all, score, p_value and the arrays are those of the draws used, and signature_length is theirs;
                      *   `flagged` is the verdict that all of them would give. 0 for gradient sketches */
} fa_result;

/**
 * Makes a scorer. Everything that scoring inputs of the references' shape needs is allocated here.
 * @param sketch,model must belong together (FA_ERR_MISMATCH); both are retained.
 * @return FA_ERR_STATE when alpha is given explicitly without calibration or a sketch of FA_LOSS_HOST finds no output_gradient, FA_ERR_ARGUMENT when alpha (the default too) < 1 / (1 + m), FA_ERR_MEMORY.
 */
FA_API fa_status fa_scorer_create(const fa_sketch *sketch, const fa_model *model, const fa_scorer_options *options, fa_scorer **out);

/** Destroys the scorer; NULL is allowed. */
FA_API void fa_scorer_destroy(fa_scorer *scorer);

/**
 * Scores one input: one forward pass, one backward pass to the earliest tapped layer, couplings, score. Allocates nothing, unless the inputs have a shape that is not
 * among the `plan_cache` last ones: then a plan for it is made first (time as for fa_scorer_create() without the sketch), and kept. The result does not depend on
 * which shapes came before. On failure the scorer is as it was.
 * @param inputs `[1, ...]` per model input, of any size that the model takes: longer sequences or larger images than the references' are as good.
 *               FA_ARRAY_TARGET and FA_ARRAY_MASK may stand beside them.
 * @param result filled in on success.
 * @return FA_ERR_SHAPE (a shape the model does not take; the message names the input or the node), FA_ERR_DTYPE, FA_ERR_NOT_FINITE, FA_ERR_ARGUMENT; for a new shape FA_ERR_MEMORY
 *         and FA_ERR_LIMIT.
 */
FA_API fa_status fa_score(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *result);

/**
 * Scores `n` inputs `[n, ...]` in one pass; fewer than three quarters of max_batch go one by one, which is then cheaper. Allocates nothing but for a new
 * shape, as fa_score().
 * Equal to `n` calls of fa_score() within 1e-5.
 * @param results `[n]`, filled in on success; their arrays hold until the next call.
 * @param n       1 to max_batch; beyond that FA_ERR_LIMIT.
 * @return as fa_score(); messages count inputs from 0.
 */
FA_API fa_status fa_score_batch(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *results, int64_t n);

/** A token of a response (FA_LOSS_NEXT_TOKEN). */
typedef struct fa_token {
    int64_t position;  /**< in the sequence, from 1 on: the output at position - 1 predicts it */
    int64_t token;
    double loss;       /**< its negative log-likelihood, nats */
    double score;      /**< the scorer's score of this token's loss alone; no p-value goes with it, calibration inputs are whole sequences */
    int32_t no_signal; /**< 1: the token's signature is zero */
} fa_token;

/**
 * Scores one sequence token by token of its response: which references explain which token. Each token's loss has a signature of its own, by a forward and a backward pass of its own
 * (the gradient of one token reaches every position before it, so positions of one backward pass would not do). Allocates nothing but a plan where the size is new to the scorer.
 * @param inputs    `[1, ...]` as for fa_score(), FA_ARRAY_MASK marking the response.
 * @param capacity  tokens there is room for; a response has fewer than the sequence has positions. A longer one is FA_ERR_LIMIT.
 * @param tokens    `[capacity]`, in the order of the sequence.
 * @param couplings `[capacity, reference_count]` cosine of each token with every reference, or NULL.
 * @param weights   `[capacity, reference_count]` what explains each token, or NULL; FA_ERR_ARGUMENT for a score without weights.
 * @param count     set to the number of tokens on success; what the arrays hold on failure is not defined.
 * @return as fa_score(); FA_ERR_STATE for a sketch of another loss and for a trace sketch.
 */
FA_API fa_status fa_score_tokens(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count);

/** Where the time of the last call went, in nanoseconds. */
typedef struct fa_score_timing {
    size_t struct_size;   /**< sizeof(fa_score_timing) of the caller, set before the call */
    uint64_t forward_ns;  /**< forward pass */
    uint64_t backward_ns; /**< backward pass and projections */
    uint64_t coupling_ns; /**< couplings */
    uint64_t solve_ns;    /**< cone or span, p-value */
    uint64_t draw_ns;     /**< trace sketches: making or decoding draws and setting weights; not part of forward_ns */
} fa_score_timing;

FA_API fa_status fa_scorer_get_timing(const fa_scorer *scorer, fa_score_timing *timing);

/** FLOPs of one input of the references' shape, as planned: forward, and the whole score without couplings and solver. Either pointer may be NULL. */
FA_API fa_status fa_scorer_get_flops(const fa_scorer *scorer, double *forward, double *score);

#endif
