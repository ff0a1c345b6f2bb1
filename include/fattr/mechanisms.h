/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_MECHANISMS_H
#define FATTR_MECHANISMS_H

#include <fattr/score.h>

/**
 * Mechanisms told apart. What no mixture of references explains of an input, its cone residual, is the trace of the mechanism that made the output.
 * Flagged inputs whose residuals are alike share one: a trigger, an attack, a kind of foreign input. See docs/mechanisms.md.
 *
 * An fa_mechanisms knows groups of such inputs (none at first) by their fingerprints, for one sketch. Immutable, reference-counted, any thread:
 * grouping more inputs makes another one.
 */
typedef struct fa_mechanisms fa_mechanisms;

typedef struct fa_mechanisms_options {
    size_t struct_size; /**< sizeof(fa_mechanisms_options) of the caller */
    double linkage;     /**< mean similarity of fingerprints, in (0, 1), down to which average linkage puts inputs together; 0 (default): 0.35 */
    double likeness;    /**< likeness (fa_mechanisms_assign()), in (0, 1], from which clusters and groups are one; higher: more and purer groups; 0 (default): 0.55 */
} fa_mechanisms_options;

/** Fills in the defaults. @param size sizeof(fa_mechanisms_options) of the caller. */
FA_API void fa_mechanisms_options_init(fa_mechanisms_options *options, size_t size);

/**
 * Makes one that knows no group yet. Takes the residuals of up to 512 references, each against all others, as what is ordinary: about as long as scoring them
 * without the network, and a factorisation of fingerprint_length^3 / 3 operations.
 * @param sketch  needed during the call alone; with or without calibration.
 * @param options NULL for the defaults.
 * @param out     owned by the caller; release with fa_mechanisms_release().
 * @return FA_ERR_ARGUMENT, FA_ERR_UNSUPPORTED (a trace sketch), FA_ERR_MEMORY.
 */
FA_API fa_status fa_mechanisms_create(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out);

/** Takes another reference. @return `mechanisms`. */
FA_API fa_mechanisms *fa_mechanisms_retain(const fa_mechanisms *mechanisms);

/** Gives a reference back; NULL is allowed. */
FA_API void fa_mechanisms_release(fa_mechanisms *mechanisms);

/** Numbers in a fingerprint: at most 2048, the same for every input of a sketch. 0 for NULL. */
FA_API int64_t fa_mechanisms_fingerprint_length(const fa_mechanisms *mechanisms);

/** Groups known. 0 for NULL. */
FA_API int64_t fa_mechanisms_count(const fa_mechanisms *mechanisms);

/**
 * The fingerprint of a scored input. Allocates nothing.
 * @param residual `[signature_length]` of a result of this sketch's scorer, made with want_residual and FA_SCORE_CONE.
 * @param out      `[fingerprint_length]` at unit length; the inner product of two is their similarity, 0 on average for inputs that have nothing unusual in common.
 * @return FA_ERR_NOT_FINITE.
 */
FA_API fa_status fa_mechanisms_fingerprint(const fa_mechanisms *mechanisms, const float *residual, float *out);

/**
 * The known group that one input is most like: a first word, before there are more inputs to group. Allocates nothing.
 * @param fingerprint `[fingerprint_length]`.
 * @param group       its number, or -1: like none, something new. Likeness must be 0.1 above that between groups, for a single input's is less sure.
 * @param likeness    how like: mean similarity with the group's members over the geometric mean of what is usual inside the group and inside a group that is
 *                    not known yet (0.5). May be NULL. -infinity where no group is known.
 */
FA_API fa_status fa_mechanisms_assign(const fa_mechanisms *mechanisms, const float *fingerprint, int64_t *group, double *likeness);

/**
 * Groups `n` inputs, without being told how many groups there are: into those known and new ones. The same for any order of inputs and any number of
 * the context's threads. Memory: 16 MiB, 2048 fingerprints, what the groups take, and 40 bytes an input.
 * @param fingerprints `[n, fingerprint_length]` each at unit length.
 * @param group        `[n]` filled in: known groups keep their numbers, new ones follow, the largest first. An input that is like no other is a group of its own.
 * @param out          NULL, or what is known now, owned by the caller.
 * @return FA_ERR_ARGUMENT (a fingerprint that is not at unit length), FA_ERR_NOT_FINITE, FA_ERR_MEMORY.
 */
FA_API fa_status fa_mechanisms_group(const fa_mechanisms *mechanisms, const float *fingerprints, int64_t n, int64_t *group, fa_mechanisms **out);

/** A known group. */
typedef struct fa_mechanism_info {
    char name[16];       /**< twelve hexadecimal digits, given when the group is first found and kept as it grows and is saved */
    int64_t count;       /**< inputs put into it so far */
    double cohesion;     /**< mean similarity among its members, drawn towards 0.5 as if by three more pairs; in (0, 1] */
    const float *center; /**< `[fingerprint_length]` mean of its members' fingerprints; owned by the mechanisms */
} fa_mechanism_info;

FA_API fa_status fa_mechanisms_get(const fa_mechanisms *mechanisms, int64_t index, fa_mechanism_info *info);

/** Writes what is known to a file of its own (docs/mechanisms.md), atomically. @return FA_ERR_IO, FA_ERR_MEMORY. */
FA_API fa_status fa_mechanisms_save_file(const fa_mechanisms *mechanisms, const char *path);

/**
 * Reads such a file.
 * @param sketch the one that it was made with, calibrated in whatever way: FA_ERR_MISMATCH for another one, or of another model.
 * @return FA_ERR_IO, FA_ERR_FORMAT, FA_ERR_CHECKSUM, FA_ERR_VERSION, FA_ERR_MISMATCH, FA_ERR_UNSUPPORTED, FA_ERR_MEMORY.
 */
FA_API fa_status fa_mechanisms_load_file(const fa_sketch *sketch, const char *path, fa_mechanisms **out);

/** The same from `size` bytes at `data` (not kept). */
FA_API fa_status fa_mechanisms_load_memory(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out);

#endif
