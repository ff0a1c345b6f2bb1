/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_NPZ_H
#define FATTR_NPZ_H

/* NumPy files for hosts that have none of their own: a library beside libfattr (pkg-config fattr-npz), so that the core needs no zip reader.
 * Errors are reported as everywhere, through fa_error_message(); memory comes from the C library. */

#include <fattr/array.h>
#include <fattr/context.h>
#include <fattr/refset.h>

/** The arrays of one .npz file, or the single array of a .npy file. Immutable: safe from many threads. */
typedef struct fa_npz fa_npz;

/**
 * Reads a .npz archive (stored or deflated) or a .npy file, told apart by content. Either byte order, C order or Fortran order (transposed on
 * reading); bool, (u)int8 to (u)int64, float16, float32, float64. Arrays of other types or of more than FA_MAX_DIMS dimensions are listed but
 * cannot be viewed; members of an archive that are no arrays are passed over. At most 64 GiB of elements, and no more than the file's size allows.
 * @return FA_ERR_IO, FA_ERR_FORMAT (with the member's name), FA_ERR_LIMIT, FA_ERR_MEMORY.
 */
FA_API fa_status fa_npz_load_file(const char *path, fa_npz **out);

/** The same from memory, which is not kept. */
FA_API fa_status fa_npz_load_memory(const void *data, size_t size, fa_npz **out);

/** Releases the file's arrays; NULL is allowed. */
FA_API void fa_npz_release(fa_npz *npz);

/** Number of arrays; 0 for NULL. */
FA_API int32_t fa_npz_count(const fa_npz *npz);

/** Name of array `index`, without ".npy"; "x" for a .npy file; NULL for an index that is none. Valid as long as the file. */
FA_API const char *fa_npz_name(const fa_npz *npz, int32_t index);

/** Array `index`, with its name. Valid as long as the file. @return FA_ERR_DTYPE for a type without FA_ number, FA_ERR_LIMIT for too many dimensions. */
FA_API fa_status fa_npz_get(const fa_npz *npz, int32_t index, fa_array *view);

/** Array by name. @return FA_ERR_ARGUMENT when there is none, with the names there are. */
FA_API fa_status fa_npz_find(const fa_npz *npz, const char *name, fa_array *view);

/**
 * Writes `count` >= 1 named arrays to a .npz archive, stored: a full disk or a kill leaves the old file, and the same arrays give the same bytes.
 * @param arrays of FA_FLOAT32, FA_FLOAT64, FA_INT64, FA_INT32, FA_UINT8, FA_BOOL; names distinct and not empty.
 * @return FA_ERR_ARGUMENT, FA_ERR_DTYPE, FA_ERR_SHAPE, FA_ERR_IO, FA_ERR_MEMORY.
 */
FA_API fa_status fa_npz_save_file(const char *path, const fa_array *arrays, int32_t count);

/**
 * Makes a reference set of a file: `x` float32 or uint8 (cast without scaling) `[n, ...]`, tokens int64 or int32 `[n, t]`, or for a model with several inputs one array per
 * input name; optionally `y` labels `[n]` and `id` ids `[n]`, integers that fit int64, and `target` and `mask` (fattr/array.h) where the model has no input of that name.
 * @param scale multiplies every element of every input array (the products are float32), not of `target` and `mask`; 1 leaves the arrays as they are.
 * @param names `[name_count]` the model's input names; with one name, `x` or that name is taken.
 * @return what fa_npz_load_file() and fa_refset_create() return; FA_ERR_ARGUMENT for a missing array, FA_ERR_SHAPE and FA_ERR_DTYPE for `y` and `id`.
 */
FA_API fa_status fa_npz_load_refset(fa_context *context, const char *path, double scale, const char *const *names, int32_t name_count, fa_refset **out);

#endif
