/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_OPTIONS_H
#define FA_BASE_OPTIONS_H

#include <fattr/status.h>

/*
 * Options structs start with `size_t struct_size` and only grow at the end. Reading one from a caller built against an older or newer header:
 * `own` (of `own_size` bytes, already holding the defaults) takes the leading bytes that both know. A newer caller's extra bytes must be zero,
 * else FA_ERR_ARGUMENT: it asks for something this library cannot do. `given` NULL leaves the defaults.
 */
fa_status fa_options_read(const char *type, void *own, size_t own_size, const void *given);

/* fa_x_options_init(): the leading bytes of `own` (the defaults) that fit into the caller's `size`, zeros behind, struct_size = size. */
void fa_options_defaults(void *given, size_t size, const void *own, size_t own_size);

/* Filling in a caller's info struct: copies the leading bytes that both know, keeps the caller's struct_size. FA_ERR_ARGUMENT when it is < sizeof(size_t). */
fa_status fa_info_write(const char *type, void *given, const void *own, size_t own_size);

#endif
