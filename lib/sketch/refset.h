/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_REFSET_H
#define FA_SKETCH_REFSET_H

#include "base/alloc.h"

#include <fattr/refset.h>
#include <stdatomic.h>

/* Inputs as they came: copied, in their own element type. */
struct fa_refset {
    atomic_int references;
    fa_arena arena; /* holds this struct's arrays; arena.context is retained by the public functions */
    int64_t n;
    int32_t n_input;
    fa_array *input;      /* [n_input], shapes [n, ...] */
    const int64_t *label; /* [n] or NULL */
    const int64_t *id;    /* [n] distinct */
    uint8_t digest[16];
};

/* Checks and copies. `options` as fa_refset_options, already read. */
fa_status fa_refset_make(fa_context *context, const fa_array *inputs, int32_t n_input, const fa_refset_options *options, fa_refset **out);

/* The inputs whose `keep` is true, at least one. */
fa_status fa_refset_select(fa_context *context, const fa_refset *set, const bool *keep, fa_refset **out);

/* The sets behind each other, which have the same arrays (names, types and shapes of an input) and distinct ids; a label is -1 where a set has none
 * and another has. FA_ERR_MISMATCH, FA_ERR_ARGUMENT for an id that is there twice. */
fa_status fa_refset_join(fa_context *context, const fa_refset *const *sets, int32_t count, fa_refset **out);

void fa_refset_free(fa_refset *set);

/* Bytes of an input over all arrays, ids and labels: for memory estimates. */
size_t fa_refset_row_bytes(const fa_refset *set);

#endif
