/* SPDX-License-Identifier: Apache-2.0 */
#include "base/options.h"

#include "base/error.h"

#include <string.h>

#define LARGEST 4096 /* no struct of this library comes near it: a larger struct_size was never initialised */

static fa_status size_of(const char *type, const void *given, size_t *size)
{
    memcpy(size, given, sizeof *size);
    if (*size < sizeof(size_t) || *size > LARGEST)
        return fa_fail(FA_ERR_ARGUMENT, "%s: struct_size %zu is not the size of any version of it; was it initialised?", type, *size);
    return FA_OK;
}

fa_status fa_options_read(const char *type, void *own, size_t own_size, const void *given)
{
    if (!given) return FA_OK;
    size_t size;
    FA_TRY(size_of(type, given, &size));
    for (size_t i = own_size; i < size; i++)
        if (((const char *)given)[i])
            return fa_fail(FA_ERR_ARGUMENT, "%s: byte %zu is set, but this library knows only %zu bytes of it: it is older than the caller", type, i, own_size);
    memcpy(own, given, size < own_size ? size : own_size);
    memcpy(own, &own_size, sizeof own_size);
    return FA_OK;
}

void fa_options_defaults(void *given, size_t size, const void *own, size_t own_size)
{
    if (!given || size < sizeof size) return;
    memset(given, 0, size);
    memcpy(given, own, size < own_size ? size : own_size);
    memcpy(given, &size, sizeof size);
}

fa_status fa_info_write(const char *type, void *given, const void *own, size_t own_size)
{
    if (!given) return fa_fail(FA_ERR_ARGUMENT, "%s: the pointer is NULL", type);
    size_t size;
    FA_TRY(size_of(type, given, &size));
    memcpy((char *)given + sizeof size, (const char *)own + sizeof size, (size < own_size ? size : own_size) - sizeof size);
    return FA_OK;
}
