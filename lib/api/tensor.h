/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_TENSOR_H
#define FA_API_TENSOR_H

#include "base/alloc.h"

#include <fattr/array.h>

/* One block: the struct, the name and behind them, aligned, the elements. */
struct fa_tensor {
    fa_context *context;
    const char *name;
    int32_t dtype, ndim;
    int64_t shape[FA_MAX_DIMS];
    void *data;
};

/* A tensor with room for `count` elements of `element` bytes, uncleared; the caller fills in `data`. */
fa_status fa_tensor_new(fa_context *context, const char *name, int32_t dtype, int32_t ndim, const int64_t *shape, fa_tensor **out);

#endif
