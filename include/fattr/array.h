/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_ARRAY_H
#define FATTR_ARRAY_H

#include <fattr/status.h>

#define FA_MAX_DIMS 8

/** Element types, numbered as in ONNX's TensorProto.DataType. */
#define FA_FLOAT32 1
#define FA_UINT8 2
#define FA_INT8 3
#define FA_UINT16 4
#define FA_INT16 5
#define FA_INT32 6
#define FA_INT64 7
#define FA_BOOL 9
#define FA_FLOAT16 10
#define FA_FLOAT64 11
#define FA_UINT32 12
#define FA_UINT64 13
#define FA_BFLOAT16 16

/**
 * Names of two arrays that may be given beside a model's inputs wherever those are given (sets, scoring), for models with an output at every position of a sequence or image. A
 * model's own input of that name comes first. Where they are not wanted (fa_model_run(), losses of a single position) they must not be given or are passed over.
 */
#define FA_ARRAY_TARGET "target" /**< `[n, positions]` integers: the class that the loss takes at each position, negative where there is none; default: the model's own output, and
                                  *   with FA_LOSS_NEXT_TOKEN the tokens themselves */
#define FA_ARRAY_MASK "mask"     /**< `[n, positions]` numbers: what each position counts in the loss, 0 for nothing; with FA_LOSS_NEXT_TOKEN 1 where a token belongs to the response;
                                  *   default: every position counts */

/**
 * A dense, C-contiguous array that the caller owns; libfattr reads it during the call and keeps no pointer to it.
 * As a model input the first dimension counts inputs: `[n, ...]`.
 */
typedef struct fa_array {
    const void *data;     /**< `shape[0] * ... * shape[ndim - 1]` elements; may be NULL only when that product is 0 */
    const int64_t *shape; /**< `ndim` dimensions, each >= 0 */
    int32_t ndim;         /**< 0 to FA_MAX_DIMS */
    int32_t dtype;        /**< FA_FLOAT32, FA_UINT8, ...; integer arrays given to a float input are cast without scaling */
    const char *name;     /**< the model input this is for; NULL: by position */
} fa_array;

/** An array that the library made and the caller releases. Immutable: safe from many threads. */
typedef struct fa_tensor fa_tensor;

/**
 * Looks at a tensor.
 * @param view set to point into the tensor, with `name` the value's name; valid until the tensor is released.
 * @return FA_ERR_ARGUMENT for a null pointer.
 */
FA_API fa_status fa_tensor_view(const fa_tensor *tensor, fa_array *view);

/** Releases the tensor; NULL is allowed. */
FA_API void fa_tensor_release(fa_tensor *tensor);

#endif
