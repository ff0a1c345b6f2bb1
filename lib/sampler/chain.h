/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SAMPLER_CHAIN_H
#define FA_SAMPLER_CHAIN_H

#include "base/alloc.h"

#include <fattr/trace.h>

/*
 * Draws of the weights from the local posterior around the trained ones, exp(-nbeta * loss - gamma / 2 * |w - w*|^2), by stochastic gradient Langevin dynamics
 * (Welling and Teh, ICML 2011), with or without the preconditioner of RMSprop (Li et al., arXiv 1512.07666; as arXiv 2604.18970 runs it), or by independent
 * normal numbers. Every random number is a function of seed, chain, step and element (fa_sampler_key() and fa_normal()).
 *
 *   v <- decay v + (1 - decay) g^2, v = 0 before the first step;  G = 1 / (sqrt(v) + epsilon), for FA_SAMPLER_SGLD G = 1
 *   w <- w - step_size / 2 G (nbeta g + gamma (w - w*));  w <- w + sqrt(step_size G) noise N(0, 1)
 */

typedef struct fa_sampler_setup {
    int32_t kind;
    uint64_t seed;
    double step_size, gamma, nbeta, noise;
    double decay, epsilon; /* of the preconditioner */
    int64_t minibatch;     /* inputs per step, > 0, drawn without replacement until fewer are left */
} fa_sampler_setup;

/* What is sampled. */
typedef struct fa_sampler_target {
    void *user;
    int64_t n_weight, n_statistics;
    const float *weights, *statistics; /* trained: where chains start and what gamma pulls to */
    int64_t n_sample;                  /* inputs to take minibatches from, > 0 */
    /* *loss and gradient [n_weight] = mean over inputs index[0 ... n - 1]; may move statistics. `thread`: which of the caller's passes to use. */
    fa_status (*gradient)(void *user, int32_t thread, const float *weights, float *statistics, const int64_t *index, int64_t n, float *gradient, double *loss);
} fa_sampler_target;

/* Everything that a chain is between two steps: what a checkpoint holds. */
typedef struct fa_chain_state {
    float *weights, *second_moment; /* [n_weight]; second_moment stays zero for FA_SAMPLER_SGLD */
    float *statistics;              /* [n_statistics] */
    int64_t step;                   /* steps done, >= 0 */
} fa_chain_state;

typedef struct fa_chain fa_chain;

/* `target` and `setup` are copied; the arrays of the target stay the caller's and must outlive the chain. FA_SAMPLER_GAUSSIAN has no chain. */
fa_status fa_chain_create(fa_context *context, const fa_sampler_setup *setup, const fa_sampler_target *target, uint64_t id, fa_chain **out);
void fa_chain_destroy(fa_chain *chain);
size_t fa_chain_bytes(const fa_sampler_target *target, int64_t minibatch);

/* One step; *loss (or NULL) is the minibatch's before it. FA_ERR_NOT_FINITE when loss, weights or second moments left the numbers: the message names chain
 * and step. A chain whose step failed has not advanced, but what its state holds may be half changed: go on from a checkpoint or not at all. */
fa_status fa_chain_step(fa_chain *chain, int32_t thread, double *loss);

/* To read, and to write when a checkpoint is restored: the chain goes on to the same bits as the one that was saved. */
fa_chain_state *fa_chain_get_state(fa_chain *chain);

/*
 * The inputs of the minibatch of step `step`: index [minibatch]. A function of seed, chain and step alone. Returns how many: all when there are no more than
 * `minibatch`. Epoch e lasts max(1, n_sample / minibatch) steps and takes its minibatches one after the other from a permutation by Fisher and Yates,
 * which swaps i = n_sample - 1 ... 1 with (number i of the epoch) mod (i + 1): number i is words 2 (i mod 2), low, and 2 (i mod 2) + 1, high, of Philox
 * block i / 2 of stream e.
 */
int64_t fa_chain_minibatch(fa_chain *chain, int64_t step, int64_t *index);

/* What a stream of random numbers is for: no two purposes share one. */
#define FA_SAMPLER_NOISE 0     /* stream: the step */
#define FA_SAMPLER_MINIBATCH 1 /* stream: the epoch */
#define FA_SAMPLER_REPLAY 2    /* stream: the draw */

/* Key of the streams of chain `chain` for one purpose: words 0, low, and 1, high, of Philox block (chain, purpose) under the key `seed`. */
uint64_t fa_sampler_key(uint64_t seed, uint64_t chain, uint64_t purpose);

#endif
