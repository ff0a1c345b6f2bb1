/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_COMPACT_H
#define FA_SCORE_COMPACT_H

#include "base/alloc.h"
#include "score/space.h"

/* Copies of references' blocks in fewer bits, for fa_rows.compact. Blocks are of unit length, so bfloat16 is wrong by 2^-9 of each element, integers by 1/254 of the block's largest. */
fa_status fa_compact_create(fa_context *context, const fa_space *space, const fa_rows *rows, int32_t format, fa_compact **out);
void fa_compact_destroy(fa_context *context, fa_compact *compact);

#endif
