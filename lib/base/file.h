/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_FILE_H
#define FA_BASE_FILE_H

#include "base/alloc.h"

/* Reads a whole regular file; `*data` (aligned to FA_ALIGN, one NUL behind it) is freed with fa_delete(). A folder, a pipe or a device is FA_ERR_IO. */
fa_status fa_file_read(fa_context *context, const char *path, void **data, size_t *size);

/* Whether there is something of that name. */
bool fa_file_exists(const char *path);

/* FA_ERR_IO, "cannot <what> '<path>': " and errno's words. */
fa_status fa_fail_io(const char *what, const char *path) __attribute__((cold));

/* Writes a file so that `path` holds either what it held before or all of the new content: a temporary file beside it, fsync, rename. */
typedef struct fa_file_writer fa_file_writer;
fa_status fa_file_writer_open(fa_context *context, const char *path, fa_file_writer **out);
fa_status fa_file_writer_write(fa_file_writer *writer, const void *data, size_t size);
fa_status fa_file_writer_commit(fa_file_writer *writer);  /* ends the writer, whatever it returns */
void fa_file_writer_discard(fa_file_writer *writer);      /* ends the writer and removes the temporary file */

#endif
