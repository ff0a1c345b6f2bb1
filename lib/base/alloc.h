/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_ALLOC_H
#define FA_BASE_ALLOC_H

#include <fattr/context.h>
#include <stdbool.h>

#define FA_ALIGN 64

/* Memory of a context: counted, held against its limit, aligned to FA_ALIGN. `fa_new` zeroes. All return NULL (with the error text set) or a
 * block for fa_delete(). The size is kept in front of the block, so that freeing needs no size. */
void *fa_new(fa_context *context, size_t size) __attribute__((malloc));
void *fa_new_array(fa_context *context, size_t count, size_t size) __attribute__((malloc));
void *fa_new_uncleared(fa_context *context, size_t size) __attribute__((malloc));
void fa_delete(fa_context *context, void *block);

/* Checked size arithmetic: false when the result would not fit. */
bool fa_mul_size(size_t a, size_t b, size_t *out);
bool fa_add_size(size_t a, size_t b, size_t *out);
bool fa_mul_i64(int64_t a, int64_t b, int64_t *out);

/* An arena: many small blocks that live and die together. Zeroed, aligned to 16 (64 from 4 KiB up). A zero-initialised arena with `context`
 * set is empty and ready; NULL means out of memory, with the error text set. */
typedef struct fa_arena {
    fa_context *context;
    struct fa_arena_chunk *chunks;
} fa_arena;

#define FA_ARENA_SLACK 17408 /* bytes an arena of a dozen blocks may hold beyond the sum of their sizes: for memory estimates */

void *fa_arena_new(fa_arena *arena, size_t size);
void *fa_arena_array(fa_arena *arena, size_t count, size_t size);
char *fa_arena_string(fa_arena *arena, const char *text);
char *fa_arena_bytes(fa_arena *arena, const void *data, size_t size); /* a copy with a NUL behind it */
/* Gives one block back before the others, if it is of the arena and large (4 KiB); else nothing happens and the answer is false. */
bool fa_arena_release(fa_arena *arena, const void *block);
void fa_arena_clear(fa_arena *arena);

#endif
