/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_BESIDE_H
#define FA_SKETCH_BESIDE_H

#include "sketch/fields.h"
#include "sketch/tensors.h"

/* What the files that are kept beside a sketch have in common: fields of `__metadata__` that are plain strings, checks in one order. */

/* A number as a string that reads back as the same number under every locale. */
void fa_beside_put_real(fa_json_writer *writer, const char *key, double value);

/* Opens the header's root and `__metadata__` and puts in format, its version and the library's. */
void fa_beside_begin(fa_json_writer *writer, const char *format, int64_t version);

/* Opens a file, checks format and version (FA_ERR_FORMAT, FA_ERR_VERSION), reads the tensors' table and verifies all checksums. `what` is it in words, for
 * messages: "a file of ...". */
fa_status fa_beside_open(fa_context *context, const void *data, size_t size, const char *format, int64_t version, const char *what, fa_st_file *file);

/* FA_ERR_FORMAT, naming the key, when it is no number in [least, most]. */
fa_status fa_beside_int(const fa_st_file *file, const char *key, int64_t least, int64_t most, int64_t *out);
fa_status fa_beside_real(fa_st_file *file, const char *key, double least, double most, double *out);

#endif
