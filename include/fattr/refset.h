/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_REFSET_H
#define FATTR_REFSET_H

#include <fattr/array.h>
#include <fattr/context.h>

/** A set of trusted inputs: the references a sketch is made of, or held-out inputs for calibration. Immutable, reference-counted, any thread. */
typedef struct fa_refset fa_refset;

typedef struct fa_refset_options {
    size_t struct_size;    /**< sizeof(fa_refset_options) of the caller */
    const int64_t *labels; /**< `[n]` true classes, -1 where unknown, or NULL (default) when none is known; copied */
    const int64_t *ids;    /**< `[n]` the caller's stable, distinct ids, or NULL (default): 0 to n - 1; copied */
} fa_refset_options;

/** Fills in the defaults. @param size sizeof(fa_refset_options) of the caller. */
FA_API void fa_refset_options_init(fa_refset_options *options, size_t size);

/**
 * Copies `n` inputs into a set.
 * @param inputs one array `[n, ...]` per model input, all with the same n >= 1; names as in fa_model_run(). FA_ARRAY_TARGET and FA_ARRAY_MASK may stand beside them.
 * @return FA_ERR_ARGUMENT (empty set, duplicate ids), FA_ERR_SHAPE (different n), FA_ERR_DTYPE, FA_ERR_NOT_FINITE (which input, which element), FA_ERR_MEMORY.
 */
FA_API fa_status fa_refset_create(fa_context *context, const fa_array *inputs, int32_t input_count, const fa_refset_options *options, fa_refset **out);

/** Takes another reference. @return `refset`. */
FA_API fa_refset *fa_refset_retain(const fa_refset *refset);

/** Gives a reference back; NULL is allowed. */
FA_API void fa_refset_release(fa_refset *refset);

/** Number of inputs; 0 for NULL. */
FA_API int64_t fa_refset_count(const fa_refset *refset);

/** Number of arrays, one per model input and those beside them; 0 for NULL. */
FA_API int32_t fa_refset_input_count(const fa_refset *refset);

/** Looks at array `index` of the set, `[n, ...]`; valid as long as the set. */
FA_API fa_status fa_refset_get_input(const fa_refset *refset, int32_t index, fa_array *view);

/** The id of input `index`. @param id set on success. */
FA_API fa_status fa_refset_get_id(const fa_refset *refset, int64_t index, int64_t *id);

/** The true class of input `index`. @return FA_ERR_STATE for a set without labels. */
FA_API fa_status fa_refset_get_label(const fa_refset *refset, int64_t index, int64_t *label);

/** Writes the digest (XXH3-128) over shapes, types, elements, labels and ids; 16 bytes. */
FA_API fa_status fa_refset_digest(const fa_refset *refset, uint8_t digest[16]);

#endif
