/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

#define CHUNK 16384
#define LARGE 4096

typedef struct fa_arena_chunk {
    struct fa_arena_chunk *next;
    size_t at, size; /* of the room behind this header */
    bool own;        /* one block's alone */
} chunk;

#define HEAD ((sizeof(chunk) + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN)

static chunk *chunk_new(fa_arena *arena, size_t room)
{
    size_t whole;
    if (!fa_add_size(room, HEAD, &whole)) {
        fa_fail_memory(room);
        return NULL;
    }
    chunk *c = fa_new(arena->context, whole);
    if (c) c->size = room;
    return c;
}

void *fa_arena_new(fa_arena *arena, size_t size)
{
    size_t want;
    if (!fa_add_size(size ? size : 1, 15, &want)) {
        fa_fail_memory(size);
        return NULL;
    }
    want &= ~(size_t)15;
    chunk *c = arena->chunks;
    if (want >= LARGE) { /* a chunk of its own, behind the one being filled */
        chunk *own = chunk_new(arena, want);
        if (!own) return NULL;
        own->at = want;
        own->own = true;
        if (c) {
            own->next = c->next;
            c->next = own;
        } else {
            arena->chunks = own;
        }
        return (char *)own + HEAD;
    }
    if (!c || c->size - c->at < want) {
        c = chunk_new(arena, CHUNK);
        if (!c) return NULL;
        c->next = arena->chunks;
        arena->chunks = c;
    }
    void *p = (char *)c + HEAD + c->at;
    c->at += want;
    return p;
}

void *fa_arena_array(fa_arena *arena, size_t count, size_t size)
{
    size_t whole;
    if (!fa_mul_size(count, size, &whole)) {
        fa_fail_memory(SIZE_MAX);
        return NULL;
    }
    return fa_arena_new(arena, whole);
}

char *fa_arena_bytes(fa_arena *arena, const void *data, size_t size)
{
    size_t whole;
    if (!fa_add_size(size, 1, &whole)) {
        fa_fail_memory(size);
        return NULL;
    }
    char *p = fa_arena_new(arena, whole);
    if (p && size) memcpy(p, data, size);
    return p;
}

char *fa_arena_string(fa_arena *arena, const char *text)
{
    return fa_arena_bytes(arena, text, strlen(text));
}

bool fa_arena_release(fa_arena *arena, const void *block)
{
    for (chunk **c = &arena->chunks; *c; c = &(*c)->next)
        if ((*c)->own && (const char *)*c + HEAD == block) {
            chunk *gone = *c;
            *c = gone->next;
            fa_delete(arena->context, gone);
            return true;
        }
    return false;
}

void fa_arena_clear(fa_arena *arena)
{
    for (chunk *c = arena->chunks; c;) {
        chunk *next = c->next;
        fa_delete(arena->context, c);
        c = next;
    }
    arena->chunks = NULL;
}
