/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_ERROR_H
#define FA_BASE_ERROR_H

#include <fattr/status.h>

/* Writes this thread's error text and returns `status`: `return fa_fail(FA_ERR_SHAPE, "node '%s': ...", name);`. */
fa_status fa_fail(fa_status status, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts "where: " before the text that a callee has just written. */
fa_status fa_fail_at(fa_status status, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Out of memory: the same words everywhere. */
fa_status fa_fail_memory(size_t size) __attribute__((cold));

/* Passes a failing status on. */
#define FA_TRY(call)                                                                                                                                     \
    do {                                                                                                                                                 \
        fa_status fa_try_ = (call);                                                                                                                      \
        if (fa_try_ != FA_OK) return fa_try_;                                                                                                            \
    } while (0)

#endif
