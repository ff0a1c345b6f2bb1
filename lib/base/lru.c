/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lru.h"

#include <string.h>

fa_status fa_lru_begin(fa_lru *l, fa_context *context, int32_t slots, int32_t length)
{
    *l = (fa_lru){.context = context, .slots = slots, .length = length};
    l->used = fa_new_array(context, (size_t)slots, sizeof *l->used);
    l->key = l->used ? fa_new_array(context, (size_t)slots * (size_t)length, sizeof *l->key) : NULL;
    return l->key ? FA_OK : FA_ERR_MEMORY;
}

void fa_lru_end(fa_lru *l)
{
    if (!l->context) return;
    fa_delete(l->context, l->used);
    fa_delete(l->context, l->key);
    *l = (fa_lru){.context = NULL};
}

static int64_t *key_of(const fa_lru *l, int32_t slot)
{
    return l->key + (size_t)slot * (size_t)l->length;
}

int32_t fa_lru_find(fa_lru *l, const int64_t *key)
{
    for (int32_t i = 0; i < l->slots; i++)
        if (l->used[i] && !memcmp(key_of(l, i), key, (size_t)l->length * sizeof *key)) {
            l->used[i] = ++l->clock;
            return i;
        }
    return -1;
}

int32_t fa_lru_oldest(const fa_lru *l)
{
    int32_t oldest = 0;
    for (int32_t i = 1; i < l->slots; i++)
        if (l->used[i] < l->used[oldest]) oldest = i;
    return oldest;
}

void fa_lru_set(fa_lru *l, int32_t slot, const int64_t *key)
{
    memcpy(key_of(l, slot), key, (size_t)l->length * sizeof *key);
    l->used[slot] = ++l->clock;
}

void fa_lru_drop(fa_lru *l, int32_t slot)
{
    l->used[slot] = 0;
}
