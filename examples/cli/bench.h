/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_BENCH_H
#define FATTR_CLI_BENCH_H

#include "session.h"

/* Made-up inputs of the shapes that the model declares: the same for the same seed, none zero. Open dimensions are 1, the first is `batch`. */
typedef struct bench_inputs {
    fa_array *array; /* [count] */
    int32_t count;
} bench_inputs;

/* `shape` (of `ndim` dimensions, without the first) replaces the declared shape of the first input; NULL: as declared. */
int bench_inputs_create(const session *s, int64_t batch, const int64_t *shape, int32_t ndim, uint64_t seed, bench_inputs *out);
void bench_inputs_destroy(bench_inputs *inputs);

/* Median times of one batch, in milliseconds. With several threads `score` and `forward` are wall time over batches done by all. */
typedef struct bench_times {
    double forward, score, passes, coupling, solve, draw; /* all but `forward` NaN without a sketch; `draw`: making and setting weights, 0 for gradient sketches */
} bench_times;

/* `draw_cache`: as fa_scorer_options.draw_cache_bytes. */
int bench_run(const session *s, const bench_inputs *inputs, int64_t batch, int32_t threads, uint64_t draw_cache, int32_t signatures, bench_times *out);

/* FLOPs of one input's forward pass, multiplications and additions of the layers with weights. */
int bench_forward_flops(const session *s, const bench_inputs *inputs, int64_t batch, double *out);

#endif
