/* SPDX-License-Identifier: Apache-2.0 */
#include "png.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct bytes {
    uint8_t *p;
    size_t n;
} bytes;

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_chunk(bytes *b, const char *type, const uint8_t *data, size_t n)
{
    put32(b->p + b->n, (uint32_t)n);
    memcpy(b->p + b->n + 4, type, 4);
    if (n) memcpy(b->p + b->n + 8, data, n);
    put32(b->p + b->n + 8 + n, (uint32_t)crc32(crc32(0, NULL, 0), b->p + b->n + 4, (uInt)(n + 4)));
    b->n += n + 12;
}

static void write_base64(FILE *to, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '='};
        fwrite(out, 1, 4, to);
    }
}

int png_write_uri(FILE *to, const uint8_t *pixels, int32_t width, int32_t height, int32_t channels)
{
    size_t row = (size_t)width * (size_t)channels, raw_size = (row + 1) * (size_t)height;
    uLongf packed_size = compressBound(raw_size);
    uint8_t *raw = malloc(raw_size), *packed = malloc(packed_size), header[13] = {0};
    bytes file = {malloc(packed_size + 128), 0};
    int failed = !raw || !packed || !file.p;
    if (!failed) {
        for (int32_t y = 0; y < height; y++) {
            raw[(row + 1) * (size_t)y] = 0; /* no filter */
            memcpy(raw + (row + 1) * (size_t)y + 1, pixels + row * (size_t)y, row);
        }
        failed = compress2(packed, &packed_size, raw, raw_size, 9) != Z_OK;
    }
    if (!failed) {
        put32(header, (uint32_t)width);
        put32(header + 4, (uint32_t)height);
        header[8] = 8;
        header[9] = channels == 3 ? 2 : 0;
        memcpy(file.p, "\x89PNG\r\n\x1a\n", 8);
        file.n = 8;
        put_chunk(&file, "IHDR", header, sizeof header);
        put_chunk(&file, "IDAT", packed, packed_size);
        put_chunk(&file, "IEND", NULL, 0);
        fputs("data:image/png;base64,", to);
        write_base64(to, file.p, file.n);
    }
    free(raw);
    free(packed);
    free(file.p);
    return failed ? -1 : 0;
}
