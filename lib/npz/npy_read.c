/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <stdlib.h>
#include <string.h>

static fa_status read_header(npy_source *s, npy_header *out, uint64_t *at)
{
    uint8_t start[12];
    uint32_t length;
    if (s->size < 10) return npz_fail(FA_ERR_FORMAT, "%llu bytes are too few for a .npy file", (unsigned long long)s->size);
    fa_status status = s->read(s, start, 10);
    if (status != FA_OK) return status;
    if (memcmp(start, "\x93NUMPY", 6) != 0) return npz_fail(FA_ERR_FORMAT, "it does not start as a .npy file does");
    if (start[6] < 1 || start[6] > 3) return npz_fail(FA_ERR_FORMAT, ".npy version %d.%d is unknown", start[6], start[7]);
    length = (uint32_t)start[8] | (uint32_t)start[9] << 8;
    *at = 10;
    if (start[6] > 1) {
        if (s->size < 12) return npz_fail(FA_ERR_FORMAT, "%llu bytes are too few for a .npy file", (unsigned long long)s->size);
        if ((status = s->read(s, start + 10, 2)) != FA_OK) return status;
        length |= (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
        *at = 12;
    }
    if (length > s->size - *at) return npz_fail(FA_ERR_FORMAT, "it ends inside its header (%lu bytes)", (unsigned long)length);
    if (length > NPZ_MAX_HEADER) return npz_fail(FA_ERR_LIMIT, "the header of %lu bytes is longer than 1 MiB", (unsigned long)length);
    char *text = malloc(length + 1);
    if (!text) return npz_fail(FA_ERR_MEMORY, "out of memory: %lu bytes", (unsigned long)length + 1);
    status = s->read(s, text, length);
    if (status == FA_OK) status = npy_header_parse(text, length, out);
    free(text);
    *at += length;
    return status;
}

static void swap_bytes(unsigned char *p, uint64_t count, size_t element)
{
    for (uint64_t i = 0; i < count; i++, p += element) {
        for (size_t a = 0, b = element - 1; a < b; a++, b--) {
            unsigned char t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
    }
}

/* From Fortran order, where the first index runs fastest, to C order. */
static void transpose(const unsigned char *from, unsigned char *to, const npy_header *h, uint64_t count)
{
    int64_t index[FA_MAX_DIMS] = {0};
    size_t step[FA_MAX_DIMS], offset = 0;
    step[0] = h->element;
    for (int32_t d = 1; d < h->ndim; d++) step[d] = step[d - 1] * (size_t)h->shape[d - 1];
    for (uint64_t i = 0; i < count; i++, to += h->element) {
        memcpy(to, from + offset, h->element);
        for (int32_t d = h->ndim - 1; d >= 0; d--) {
            offset += step[d];
            if (++index[d] < h->shape[d]) break;
            offset -= step[d] * (size_t)h->shape[d];
            index[d] = 0;
        }
    }
}

static fa_status read_elements(npy_source *s, npz_array *a, uint64_t count, size_t bytes)
{
    npy_header *h = &a->header;
    unsigned char *data = malloc(bytes);
    if (!data) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", bytes);
    fa_status status = s->read(s, data, bytes);
    if (status == FA_OK && h->fortran_order && h->ndim > 1) {
        unsigned char *turned = malloc(bytes);
        if (turned) {
            transpose(data, turned, h, count);
            free(data);
            data = turned;
        } else {
            status = npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", bytes);
        }
    }
    if (status != FA_OK) {
        free(data);
        return status;
    }
    if (h->swapped) swap_bytes(data, count, h->element);
    if (h->dtype == FA_BOOL) {
        for (size_t i = 0; i < bytes; i++) data[i] = data[i] != 0;
    }
    a->data = data;
    return FA_OK;
}

fa_status npy_read(npy_source *s, uint64_t *budget, npz_array *out)
{
    uint64_t at = 0, count = 1, bytes;
    npz_array a = {.name = out->name};
    fa_status status = read_header(s, &a.header, &at);
    if (status != FA_OK) return npz_fail_at(status, s->name);
    const npy_header *h = &a.header;
    if (h->dtype && h->ndim <= FA_MAX_DIMS) {
        bool empty = false, fits = true;
        for (int32_t d = 0; d < h->ndim; d++) empty = empty || h->shape[d] == 0;
        for (int32_t d = 0; d < h->ndim && !empty && fits; d++) fits = !__builtin_mul_overflow(count, (uint64_t)h->shape[d], &count);
        if (empty) count = 0;
        if (!fits || __builtin_mul_overflow(count, (uint64_t)h->element, &bytes) || bytes != s->size - at) {
            npz_fail(FA_ERR_FORMAT, "the header's shape and type '%s' do not fit the %llu bytes that follow it", h->descr, (unsigned long long)(s->size - at));
            return npz_fail_at(FA_ERR_FORMAT, s->name);
        }
        if (bytes > *budget || bytes > SIZE_MAX) {
            npz_fail(FA_ERR_LIMIT, "the file's arrays hold more than %llu GiB", (unsigned long long)(NPZ_MAX_BYTES >> 30));
            return npz_fail_at(FA_ERR_LIMIT, s->name);
        }
        *budget -= bytes;
        if (bytes && (status = read_elements(s, &a, count, (size_t)bytes)) != FA_OK) return npz_fail_at(status, s->name);
    }
    *out = a;
    return FA_OK;
}
