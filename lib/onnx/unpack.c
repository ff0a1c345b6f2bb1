/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/unpack.h"

#include "base/error.h"
#include "onnx/scan.h"

/* The dearest honest encoding, a list of small numbers each with its own tag, takes 2 bytes in the file and 88 while it is unpacked. */
#define BYTES_PER_BYTE 64
#define BYTES_MORE (1 << 20)

typedef struct budget {
    fa_arena *arena;
    size_t left;
    fa_status status;
} budget;

static void *take(void *user, size_t size)
{
    budget *b = user;
    size_t whole;
    if (!fa_add_size(size, 16, &whole) || whole > b->left) {
        b->status = FA_ERR_LIMIT;
        return NULL;
    }
    void *p = fa_arena_new(b->arena, size);
    if (p) b->left -= whole;
    else b->status = FA_ERR_MEMORY;
    return p;
}

/* Blocks go with the arena: this also makes protobuf-c's own clearing up after a failure harmless. */
static void keep(void *user, void *block)
{
    (void)user;
    (void)block;
}

fa_status fa_onnx_unpack(fa_arena *arena, const ProtobufCMessageDescriptor *type, const void *data, size_t size, ProtobufCMessage **out)
{
    FA_TRY(fa_onnx_scan(type, data, size));
    budget b = {.arena = arena};
    if (!fa_mul_size(size, BYTES_PER_BYTE, &b.left) || !fa_add_size(b.left, BYTES_MORE, &b.left)) b.left = SIZE_MAX;
    ProtobufCAllocator allocator = {take, keep, &b};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, size, data);
    if (message) {
        *out = message;
        return FA_OK;
    }
    if (b.status == FA_ERR_MEMORY) return FA_ERR_MEMORY;
    if (b.status == FA_ERR_LIMIT)
        return fa_fail(FA_ERR_LIMIT, "unpacking %zu bytes takes more than %d bytes of memory for each, as no honest file does", size, BYTES_PER_BYTE);
    return fa_fail(FA_ERR_LIMIT, "a message has more fields than protobuf-c can unpack");
}
