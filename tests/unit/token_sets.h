/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TOKEN_SETS_H
#define TEST_TOKEN_SETS_H

#include "../data/oracle_tokens.h"
#include "small_models.h"

#include <stdio.h>

/* The decoders and sequences of tests/data/make_oracle_tokens.py. */

#define FIRST (TOKENS_REFERENCES + TOKENS_CALIBRATION)

static inline fa_context *token_context(int32_t kernels)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.kernels = kernels;
    o.threads = 2;
    fa_context *context;
    OK(fa_context_create(&o, &context));
    return context;
}

static inline fa_model *decoder(fa_context *context, bool tied)
{
    char path[1024];
    fa_model *m;
    snprintf(path, sizeof path, "%s/tests/data/oracle_tokens_%s.onnx", FA_SOURCE_ROOT, tied ? "tied" : "untied");
    OK(fa_model_load_file(context, path, NULL, &m));
    return m;
}

/* Sequences `first` and following with their masks, `length` tokens of each: more than TOKENS_LENGTH is padding, fewer cuts. */
typedef struct sequences {
    int64_t *x, shape[2];
    uint8_t *mask;
    fa_array array[2];
} sequences;

static inline void take(int64_t first, int64_t n, int64_t length, sequences *s)
{
    *s = (sequences){.x = calloc((size_t)(n * length), sizeof *s->x), .mask = calloc((size_t)(n * length), 1), .shape = {n, length}};
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < length && t < TOKENS_LENGTH; t++) {
            s->x[i * length + t] = tokens_x[(first + i) * TOKENS_LENGTH + t];
            s->mask[i * length + t] = (uint8_t)tokens_mask[(first + i) * TOKENS_LENGTH + t];
        }
    s->array[0] = (fa_array){s->x, s->shape, 2, FA_INT64, NULL};
    s->array[1] = (fa_array){s->mask, s->shape, 2, FA_UINT8, FA_ARRAY_MASK};
}

static inline void drop(sequences *s)
{
    free(s->x);
    free(s->mask);
}

static inline fa_refset *token_set(fa_context *context, int64_t first, int64_t n)
{
    sequences s;
    fa_refset *set;
    take(first, n, TOKENS_LENGTH, &s);
    OK(fa_refset_create(context, s.array, 2, NULL, &set));
    drop(&s);
    return set;
}

static inline fa_sketch_options token_options(void)
{
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.k_in = TOKENS_K_IN;
    o.k_out = TOKENS_K_OUT;
    o.topk = TOKENS_TOPK;
    o.ridge = TOKENS_RIDGE;
    o.seed = TOKENS_SEED;
    o.batch = 3;
    o.loss = FA_LOSS_NEXT_TOKEN;
    return o;
}

static inline fa_sketch *token_sketch(fa_context *context, const fa_model *m, const fa_sketch_options *o)
{
    fa_refset *references = token_set(context, 0, TOKENS_REFERENCES), *calibration = token_set(context, TOKENS_REFERENCES, TOKENS_CALIBRATION);
    fa_sketch *s;
    OK(fa_sketch_build(m, references, calibration, o, &s));
    fa_refset_release(references);
    fa_refset_release(calibration);
    return s;
}

static inline fa_scorer *token_scorer(const fa_sketch *s, const fa_model *m, int32_t max_batch)
{
    fa_scorer_options o;
    fa_scorer *scorer;
    fa_scorer_options_init(&o, sizeof o);
    o.max_batch = max_batch;
    o.all_scores = 1;
    o.alpha = 0.1;
    OK(fa_scorer_create(s, m, &o, &scorer));
    return scorer;
}

#endif
