/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/names.h"

#include <string.h>

/* A leaf holds a name; a branch (name NULL) parts names by one bit, bits being numbered along the path from the root in increasing order. */
struct fa_onnx_name {
    const char *name;
    size_t byte;
    uint8_t mask;
    int32_t number;
    struct fa_onnx_name *child[2];
};
typedef struct fa_onnx_name entry;

/* The leaf that a name would be at, if it is there at all. */
static entry *nearest(entry *e, const char *name)
{
    size_t length = strlen(name);
    while (e && !e->name) {
        uint8_t c = e->byte < length ? (uint8_t)name[e->byte] : 0;
        e = e->child[(c & e->mask) != 0];
    }
    return e;
}

int32_t fa_onnx_names_find(const fa_onnx_names *names, const char *name)
{
    const entry *e = nearest(names->root, name);
    return e && strcmp(e->name, name) == 0 ? e->number : -1;
}

fa_status fa_onnx_names_add(fa_onnx_names *names, const char *name, int32_t number, bool *added)
{
    const entry *near = nearest(names->root, name);
    size_t byte = 0;
    if (near) {
        while (name[byte] && name[byte] == near->name[byte]) byte++;
        if (name[byte] == near->name[byte]) {
            *added = false;
            return FA_OK;
        }
    }
    entry *leaf = fa_arena_new(names->arena, sizeof *leaf);
    if (!leaf) return FA_ERR_MEMORY;
    leaf->name = name;
    leaf->number = number;
    entry **at = &names->root;
    if (near) {
        entry *branch = fa_arena_new(names->arena, sizeof *branch);
        if (!branch) return FA_ERR_MEMORY;
        branch->byte = byte;
        branch->mask = 0x80;
        while (!((name[byte] ^ near->name[byte]) & branch->mask)) branch->mask >>= 1;
        while (!(*at)->name && ((*at)->byte < byte || ((*at)->byte == byte && (*at)->mask > branch->mask))) {
            uint8_t c = (uint8_t)name[(*at)->byte];
            at = &(*at)->child[(c & (*at)->mask) != 0];
        }
        int side = (name[byte] & branch->mask) != 0;
        branch->child[side] = leaf;
        branch->child[!side] = *at;
        *at = branch;
    } else {
        *at = leaf;
    }
    *added = true;
    return FA_OK;
}
