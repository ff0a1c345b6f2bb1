/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_PNG_H
#define FATTR_CLI_PNG_H

#include <stdint.h>
#include <stdio.h>

/* Writes pixels (`channels` 1 or 3 bytes each, row by row) as a PNG in a data: URI. 0, or -1 when memory runs out. */
int png_write_uri(FILE *to, const uint8_t *pixels, int32_t width, int32_t height, int32_t channels);

#endif
