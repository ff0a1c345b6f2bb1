/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_LRU_H
#define FA_BASE_LRU_H

#include "base/alloc.h"

/* A bounded number of slots found by keys, of which the least recently used one is given to the next key. Keys are `length` numbers; what a slot holds is its owner's. */
typedef struct fa_lru {
    fa_context *context;
    int32_t slots, length;
    uint64_t clock;
    uint64_t *used; /* [slots] when last; 0: empty */
    int64_t *key;   /* [slots, length] */
} fa_lru;

/* `lru` is zeroed; fa_lru_end() in any case. */
fa_status fa_lru_begin(fa_lru *lru, fa_context *context, int32_t slots, int32_t length);
void fa_lru_end(fa_lru *lru);

/* The slot of a key, which is now the last used; -1: none. */
int32_t fa_lru_find(fa_lru *lru, const int64_t *key);
/* The slot that the next key takes: an empty one, or the least recently used. */
int32_t fa_lru_oldest(const fa_lru *lru);
/* Gives a slot to a key, as the last used; its owner has emptied it. */
void fa_lru_set(fa_lru *lru, int32_t slot, const int64_t *key);
/* Empties a slot. */
void fa_lru_drop(fa_lru *lru, int32_t slot);

#endif
