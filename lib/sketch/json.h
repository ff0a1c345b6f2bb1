/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_JSON_H
#define FA_SKETCH_JSON_H

#include "base/alloc.h"

#include <jansson.h>

/* jansson's allocator is the process's and is left alone. When it fails, jansson 2.14 may say nothing and drop characters, on reading out of a
 * token and on writing a key. What these two give is what was asked for, or nothing. */

/* FA_ERR_FORMAT with jansson's words, FA_ERR_MEMORY. */
fa_status fa_json_parse(const char *text, size_t size, json_t **out);

/* Compact text with a NUL behind it, for fa_delete(); NULL when memory ran out. */
char *fa_json_text(fa_context *context, const json_t *value, size_t *size);

#endif
