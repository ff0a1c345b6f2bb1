/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL /* the header holds the whole of it: no library to link, no symbol to clash with a host's copy */
#include "base/hash.h"

#include <string.h>
#include <xxhash.h>

_Static_assert(sizeof(XXH3_state_t) <= sizeof(fa_hash), "fa_hash is too small for this version of xxHash");

uint64_t fa_hash64(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

void fa_hash_begin(fa_hash *hash)
{
    XXH3_128bits_reset((XXH3_state_t *)(void *)hash);
}

void fa_hash_add(fa_hash *hash, const void *data, size_t size)
{
    if (size) XXH3_128bits_update((XXH3_state_t *)(void *)hash, data, size);
}

void fa_hash_add_i64(fa_hash *hash, int64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
    fa_hash_add(hash, bytes, sizeof bytes);
}

void fa_hash_add_string(fa_hash *hash, const char *text)
{
    size_t n = strlen(text);
    fa_hash_add_i64(hash, (int64_t)n);
    fa_hash_add(hash, text, n);
}

void fa_hash_end(const fa_hash *hash, uint8_t digest[16])
{
    XXH128_canonical_t c;
    XXH128_canonicalFromHash(&c, XXH3_128bits_digest((const XXH3_state_t *)(const void *)hash));
    memcpy(digest, c.digest, 16);
}
