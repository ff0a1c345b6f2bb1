/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_ARRAY_H
#define FA_GRAPH_ARRAY_H

#include "graph/view.h"

/* The caller's arrays: checked once when they come in, read element by element into what a plan holds. */

size_t fa_dtype_size(int32_t dtype); /* bytes of an element, 0 for a type that is none of FA_FLOAT32, ... */

/* Type, rank, dimensions, size and data of one array; `what` ("input 'x'") begins the message. `*count` is the number of elements. */
fa_status fa_array_check(const fa_array *array, const char *what, int64_t *count);

/* The first of elements [first, first + n) that is not finite as a float, or -1. */
int64_t fa_array_not_finite(const fa_array *array, int64_t first, int64_t n);

/* Elements [first, first + n) of any type as float, or of an integer type as int64. */
void fa_array_to_float(const fa_array *array, int64_t first, int64_t n, float *out);
void fa_array_to_int64(const fa_array *array, int64_t first, int64_t n, int64_t *out);

#endif
