/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_TRACE_H
#define FATTR_TRACE_H

#include <fattr/sketch.h>

/*
 * Trace sketches: the other signature of an input (docs/method.md). The weights are drawn T times from the local posterior around the trained ones, exp(-nbeta loss - gamma / 2
 * |w - w*|^2), and an input's signature is the trace of its loss over the draws (arXiv 2604.18970, 2509.26544). The draws are kept in the sketch or made again from their
 * seed, so that an input that arrives later is scored by T forward passes. A gradient sketch costs one forward and one backward pass; docs/method.md says when to take which.
 *
 *     fa_trace_options trace;  fa_sketch_options options;
 *     fa_sketch_options_init(&options, sizeof options);
 *     fa_trace_options_init(&trace, sizeof trace);
 *     options.trace = &trace;
 *     fa_sketch_build(model, references, calibration, &options, &sketch);
 */

/** How weights are drawn (`fa_trace_options.sampler`). */
#define FA_SAMPLER_GAUSSIAN 0     /**< independent draws w* + N(0, 1 / gamma); default. No chain, no gradient, nothing to store */
#define FA_SAMPLER_RMSPROP_SGLD 1 /**< Langevin dynamics preconditioned by RMSprop: v <- decay v + (1 - decay) g^2, G = 1 / (sqrt(v) + epsilon),
                                   *   w <- w - step_size / 2 G (nbeta g + gamma (w - w*)), w <- w + sqrt(step_size G) noise N(0, 1) (arXiv 2604.18970) */
#define FA_SAMPLER_SGLD 2         /**< the same with G = 1 (Welling and Teh, ICML 2011) */

/** How draws are kept (`fa_trace_options.storage`). P is the number of weights that move. */
#define FA_DRAWS_DEFAULT 0 /**< gaussian: made again from the seed, 0 bytes; chains: FA_DRAWS_BF16 */
#define FA_DRAWS_F32 1     /**< differences from the trained weights, 4 P bytes a draw */
#define FA_DRAWS_BF16 2    /**< 2 P bytes a draw */
#define FA_DRAWS_INT8 3    /**< P bytes a draw and 4 for each row of a weight */

/** What BatchNormalization does while a chain runs (`fa_trace_options.batchnorm`). */
#define FA_BATCHNORM_FROZEN 0     /**< running mean and variance stay as trained; default */
#define FA_BATCHNORM_REESTIMATE 1 /**< they follow the minibatches, as in PyTorch's training mode and in the runs of arXiv 2604.18970; chains only. FA_ERR_ARGUMENT for a
                                   *   model without BatchNormalization (export it with training=TrainingMode.PRESERVE) */

typedef struct fa_trace_options {
    size_t struct_size;     /**< sizeof(fa_trace_options) of the caller */
    int32_t sampler;        /**< FA_SAMPLER_...; default FA_SAMPLER_GAUSSIAN */
    int32_t storage;        /**< FA_DRAWS_...; default FA_DRAWS_DEFAULT */
    int32_t batchnorm;      /**< FA_BATCHNORM_...; default FA_BATCHNORM_FROZEN */
    int32_t chains;         /**< independent chains; default 1, 1 to 1024 */
    int32_t partial;        /**< 1: the references' mean trace is regressed out of every trace (partial correlation); default 0. The concordance scores are then absent */
    int32_t resume;         /**< 1: go on from `checkpoint` where the file exists; default 0: begin anew */
    int64_t draws;          /**< kept draws of each chain; default 100, 2 to 1 000 000 */
    int64_t burn_in;        /**< steps of a chain before the first kept draw; default 250; negative: default. Chains only, as all below but gamma */
    int64_t thinning;       /**< steps between kept draws; default 1 */
    int64_t minibatch;      /**< inputs per step; default 256 (the whole sampling set where that is smaller) */
    double step_size;       /**< default 1e-6; > 0 */
    double gamma;           /**< localisation: strength of the pull to the trained weights, 1 / variance of gaussian draws; > 0; 0 (default): 1e3 for gaussian draws, 1e4 for chains (as
                             *   published). docs/method.md says how to choose another for another network */
    double nbeta;           /**< weight of the mean loss; default 100; negative: default */
    double noise;           /**< scale of the injected noise; default 1; negative: default */
    double decay;           /**< of the second moment in RMSprop; default 0.99; negative: default; below 1 */
    double epsilon;         /**< beside its root; default 0.1; > 0 */
    uint64_t first_chain;   /**< id of the first chain; default 0. Sketches to be merged need other seeds or other ids */
    const char *parameters; /**< which initialisers move: patterns over their names, as `fa_sketch_options.layers`; NULL (default): every weight, bias, scale and shift of a layer */
    const fa_refset *sampling; /**< where minibatches come from, with labels or else the model's own classes; NULL (default): the references */
    const char *checkpoint; /**< a file that the build writes now and then, so that one that was killed can be resumed with the same result; remove it when the sketch is saved.
                             *   NULL (default): none */
    uint64_t checkpoint_ms; /**< between two checkpoints; default 30 000 */
} fa_trace_options;

/** Fills in the defaults. @param size sizeof(fa_trace_options) of the caller. In fields where 0 is no value of its own it means the default too. */
FA_API void fa_trace_options_init(fa_trace_options *options, size_t size);

/**
 * Sets both structs, which have been initialised, to a named configuration.
 * @param name "paper": the configuration of arXiv 2604.18970: rmsprop_sgld, 1 chain, 250 steps burn-in, 1750 draws, minibatch 256, step size 1e-6, gamma 1e4, nbeta 100,
 *             BatchNormalization re-estimated, draws as f32, misclassified references dropped. Its scores are `mean` (MeanCorr), `class` (CLC), `mean_ccc` and `class_ccc`.
 * @return FA_ERR_ARGUMENT for an unknown name (the message lists those there are).
 */
FA_API fa_status fa_trace_options_preset(fa_sketch_options *options, fa_trace_options *trace, const char *name);

/** Whether chains have mixed and draws suffice, from the references' loss traces. Medians are over references. Formulas: Vehtari et al., Bayesian Analysis 16(2), 2021, on
 *  the plain losses. A reference whose loss stood still counts with ess 0, split R-hat 1 and drift 0; all figures are finite. This struct does not grow. */
typedef struct fa_diagnosis {
    double ess;            /**< effective sample size of a loss trace, summed over chains: median */
    double ess_min;        /**< smallest */
    double split_rhat;     /**< near 1 when the halves of all chains agree: median */
    double split_rhat_max; /**< largest */
    double drift;          /**< |mean of the last quarter - mean of the first| over the standard deviation: median, of the chain where it is largest */
    double signal;         /**< standard deviation of the couplings between references over 1 / sqrt(ess), about the sampling error of one: below 2 they are mostly noise */
    double moved;          /**< share of the references whose losses did not stand still */
    int64_t shortest;      /**< draws of the shortest chain */
} fa_diagnosis;

typedef struct fa_trace_info {
    size_t struct_size;       /**< sizeof(fa_trace_info) of the caller, set before the call */
    int32_t sampler, storage, batchnorm, partial, chain_count;
    int32_t parameter_count;  /**< initialisers that move */
    int64_t weight_count;     /**< their elements, P */
    int64_t draw_count;       /**< T, of all chains together */
    uint64_t draw_bytes;      /**< of one stored draw, its statistics included; 0 when draws are made again from the seed */
    int64_t burn_in, thinning, minibatch;
    double step_size, gamma, nbeta, noise, decay, epsilon;
    double loss_before;       /**< mean loss of the references to their own classes at the trained weights, nats */
    double loss_after;        /**< and over the draws */
    fa_diagnosis diagnosis;
    const char *verdict;      /**< the diagnosis in words, with the option to change; static storage */
} fa_trace_info;

/** @return FA_ERR_STATE for a gradient sketch. */
FA_API fa_status fa_sketch_get_trace_info(const fa_sketch *sketch, fa_trace_info *info);

typedef struct fa_chain_info {
    size_t struct_size;    /**< sizeof(fa_chain_info) of the caller, set before the call */
    uint64_t seed, id;     /**< chains are kept in the order of (seed, id) */
    int64_t draws;
    double loss_before;    /**< mean loss of the references to their own classes at the trained weights, nats */
    double loss_after;     /**< and over the last quarter of the chain's draws */
    double distance;       /**< |w - w*| of its last draw */
    fa_diagnosis diagnosis; /**< of this chain alone */
} fa_chain_info;

/** Chain `index` of `chain_count`. */
FA_API fa_status fa_sketch_get_chain(const fa_sketch *sketch, int32_t index, fa_chain_info *info);

/** The references' losses, nats. @param out `[reference_count, draw_count]`, chain after chain. @return FA_ERR_STATE for a gradient sketch. */
FA_API fa_status fa_sketch_get_traces(const fa_sketch *sketch, float *out);

/**
 * Joins trace sketches with different chains over the same model, references, calibration inputs and options into one (gradient sketches over different references:
 * fa_sketch_merge_shards()). Chains are kept in the order of (seed, id) and
 * everything that follows from traces is computed anew, so the result is the same to the bit whatever the order of `sketches`.
 * @param count  at least one.
 * @param out    owned by the caller.
 * @return FA_ERR_ARGUMENT (gradient sketches; a chain that is there twice), FA_ERR_MISMATCH (the message says what differs), FA_ERR_LIMIT (more than
 *         8192 chains), FA_ERR_MEMORY.
 */
FA_API fa_status fa_sketch_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out);

#endif
