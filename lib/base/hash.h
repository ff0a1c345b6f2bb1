/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_HASH_H
#define FA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* XXH3 (xxhash.com): integrity and identity, not authenticity. */
uint64_t fa_hash64(const void *data, size_t size);

/* The 128-bit hash of several pieces, in the canonical (big-endian) byte order. The state lives on the caller's stack. */
typedef struct fa_hash {
    _Alignas(64) unsigned char state[640];
} fa_hash;

void fa_hash_begin(fa_hash *hash);
void fa_hash_add(fa_hash *hash, const void *data, size_t size);
void fa_hash_add_i64(fa_hash *hash, int64_t value);      /* eight little-endian bytes */
void fa_hash_add_string(fa_hash *hash, const char *text); /* with its length, so that "a" "bc" differs from "ab" "c" */
void fa_hash_end(const fa_hash *hash, uint8_t digest[16]);

#endif
