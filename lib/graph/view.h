/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_VIEW_H
#define FA_GRAPH_VIEW_H

#include <fattr/array.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * A dense tensor in memory that somebody else owns. Element storage depends on the declared type alone:
 *   real types (float16, bfloat16, float32, float64): `fa_real` inside a plan (float, or double in the build for gradient checks); in a graph's
 *   initialisers float, or double where the declared type is float64;
 *   every other type, bool included: int64_t.
 */
typedef struct fa_view {
    void *data; /* NULL while only the shape is known */
    int64_t dim[FA_MAX_DIMS];
    int64_t count; /* product of dim */
    int32_t ndim;
    int32_t dtype; /* FA_FLOAT32, ... as declared by the model */
} fa_view;

static inline bool fa_dtype_is_real(int32_t dtype)
{
    return dtype == FA_FLOAT32 || dtype == FA_FLOAT64 || dtype == FA_FLOAT16 || dtype == FA_BFLOAT16;
}

/* Name of an element type for messages: "float32"; "type 42" is "unknown". */
const char *fa_dtype_name(int32_t dtype);

/* Sets dim and count. False when ndim is out of range, a dimension is negative, or the product passes FA_MAX_ELEMENTS. */
#define FA_MAX_ELEMENTS (INT64_C(1) << 40)
bool fa_view_set_shape(fa_view *view, int32_t ndim, const int64_t *dim);

/* "[2, 3]" into `text`, for messages. Returns `text`. */
const char *fa_shape_text(int32_t ndim, const int64_t *dim, char *text, size_t size);
#define FA_SHAPE_TEXT 200

#endif
