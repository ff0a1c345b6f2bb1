/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_NAMES_H
#define FA_ONNX_NAMES_H

#include "base/alloc.h"

/* Distinct names, a number for each. A crit-bit tree: no choice of names makes a look-up cost more than the name's own length, which a hash
 * table could not promise for names that come from a hostile file. */
typedef struct fa_onnx_names {
    fa_arena *arena; /* for the tree; the names stay where they are */
    struct fa_onnx_name *root;
} fa_onnx_names;

/* Enters a name. `*added` is false, and nothing changes, when it was there before. FA_ERR_MEMORY. */
fa_status fa_onnx_names_add(fa_onnx_names *names, const char *name, int32_t number, bool *added);

/* The name's number, or -1. */
int32_t fa_onnx_names_find(const fa_onnx_names *names, const char *name);

#endif
