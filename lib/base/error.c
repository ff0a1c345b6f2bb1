/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Room for the one message that lists every unsupported node of a large model. */
static _Thread_local char error_text[16384];

fa_status fa_fail(fa_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error_text, sizeof error_text, format, args);
    va_end(args);
    return status;
}

fa_status fa_fail_at(fa_status status, const char *format, ...)
{
    char where[256];
    va_list args;
    va_start(args, format);
    vsnprintf(where, sizeof where - 2, format, args);
    va_end(args);
    strcat(where, ": ");
    size_t n = strlen(where), m = strlen(error_text);
    if (m > sizeof error_text - 1 - n) m = sizeof error_text - 1 - n;
    memmove(error_text + n, error_text, m);
    memcpy(error_text, where, n);
    error_text[n + m] = '\0';
    return status;
}

fa_status fa_fail_memory(size_t size)
{
    return fa_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", size);
}

const char *fa_error_message(void)
{
    return error_text;
}

fa_status fa_error_set(fa_status status, const char *message)
{
    if (message == error_text) return status; /* the host keeps the words and changes the code */
    return fa_fail(status, "%s", message ? message : "");
}

const char *fa_status_name(fa_status status)
{
    switch (status) {
#define NAME(code)                                                                                                                                       \
    case code: return #code
        NAME(FA_OK);
        NAME(FA_ERR_ARGUMENT);
        NAME(FA_ERR_MEMORY);
        NAME(FA_ERR_IO);
        NAME(FA_ERR_FORMAT);
        NAME(FA_ERR_CHECKSUM);
        NAME(FA_ERR_VERSION);
        NAME(FA_ERR_UNSUPPORTED);
        NAME(FA_ERR_SHAPE);
        NAME(FA_ERR_DTYPE);
        NAME(FA_ERR_NOT_FINITE);
        NAME(FA_ERR_MISMATCH);
        NAME(FA_ERR_NO_SIGNAL);
        NAME(FA_ERR_CANCELLED);
        NAME(FA_ERR_LIMIT);
        NAME(FA_ERR_STATE);
        NAME(FA_ERR_INTERNAL);
#undef NAME
    default: return "unknown";
    }
}
