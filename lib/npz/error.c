/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

fa_status npz_fail(fa_status status, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fa_error_set(status, text);
}

fa_status npz_fail_at(fa_status status, const char *where)
{
    char text[1024];
    snprintf(text, sizeof text, "%s: %s", where, fa_error_message());
    return fa_error_set(status, text);
}

fa_status npz_fail_io(const char *what, const char *path)
{
    char room[128];
    int error = errno;
    const char *reason = strerror_r(error, room, sizeof room) == 0 ? room : "unknown error";
    return npz_fail(FA_ERR_IO, "cannot %s '%s': %s", what, path, reason);
}
