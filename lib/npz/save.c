/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

/* 1980-01-01 00:00, the first moment a zip archive knows: the same arrays give the same bytes whenever they are written. */
#define DOS_DATE 0x0021
#define DOS_TIME 0

static const char *descr_of(int32_t dtype, size_t *element)
{
    static const struct {
        int32_t dtype;
        size_t element;
        const char *little, *big;
    } types[] = {{FA_FLOAT32, 4, "<f4", ">f4"}, {FA_FLOAT64, 8, "<f8", ">f8"}, {FA_INT64, 8, "<i8", ">i8"}, {FA_INT32, 4, "<i4", ">i4"},
                 {FA_UINT8, 1, "|u1", "|u1"}, {FA_BOOL, 1, "|b1", "|b1"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].dtype != dtype) continue;
        *element = types[i].element;
        return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? types[i].little : types[i].big;
    }
    return NULL;
}

typedef struct member {
    char header[512]; /* room for FA_MAX_DIMS dimensions of 20 digits */
    char *name;       /* with ".npy" */
    zip_buffer_fragment_t parts[2];
} member;

static fa_status describe(const fa_array *a, int32_t index, member *out)
{
    size_t element = 0;
    const char *descr = descr_of(a->dtype, &element);
    if (!a->name || !*a->name) return npz_fail(FA_ERR_ARGUMENT, "array %d has no name", (int)index);
    if (!descr) return npz_fail(FA_ERR_DTYPE, "array '%s': type %d cannot be written", a->name, (int)a->dtype);
    if (a->ndim < 0 || a->ndim > FA_MAX_DIMS || (a->ndim > 0 && !a->shape))
        return npz_fail(FA_ERR_SHAPE, "array '%s': %d dimensions", a->name, (int)a->ndim);
    uint64_t bytes = element;
    char shape[256];
    size_t n = 0;
    shape[0] = '\0';
    for (int32_t d = 0; d < a->ndim; d++) {
        if (a->shape[d] < 0 || __builtin_mul_overflow(bytes, (uint64_t)a->shape[d], &bytes))
            return npz_fail(FA_ERR_SHAPE, "array '%s': dimension %d is %lld", a->name, (int)d, (long long)a->shape[d]);
        n += (size_t)snprintf(shape + n, sizeof shape - n, a->ndim == 1 ? "%lld," : d ? ", %lld" : "%lld", (long long)a->shape[d]);
    }
    if (bytes && !a->data) return npz_fail(FA_ERR_ARGUMENT, "array '%s' has no data", a->name);

    /* As numpy writes it: padded so that the elements start at a multiple of 64. */
    size_t length = (size_t)snprintf(out->header + 10, sizeof out->header - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    size_t total = (10 + length + 1 + 63) / 64 * 64;
    memset(out->header + 10 + length, ' ', total - 10 - length);
    out->header[total - 1] = '\n';
    memcpy(out->header, "\x93NUMPY\x01", 7);
    out->header[7] = 0;
    out->header[8] = (char)((total - 10) & 255);
    out->header[9] = (char)((total - 10) >> 8);
    out->parts[0] = (zip_buffer_fragment_t){(zip_uint8_t *)out->header, total};
    out->parts[1] = (zip_buffer_fragment_t){(zip_uint8_t *)(uintptr_t)a->data, bytes};

    size_t room = strlen(a->name) + 5;
    out->name = malloc(room);
    if (!out->name) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", room);
    snprintf(out->name, room, "%s.npy", a->name);
    return FA_OK;
}

static fa_status fail_zip(zip_error_t *error, const char *path)
{
    fa_status status = zip_error_code_zip(error) == ZIP_ER_MEMORY ? FA_ERR_MEMORY : FA_ERR_IO;
    return npz_fail(status, "cannot write '%s': %s", path, zip_error_strerror(error));
}

static fa_status add(zip_t *zip, const member *m, const char *path)
{
    zip_source_t *source = zip_source_buffer_fragment(zip, m->parts, m->parts[1].length ? 2 : 1, 0);
    if (!source) return fail_zip(zip_get_error(zip), path);
    zip_int64_t index = zip_file_add(zip, m->name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        if (zip_error_code_zip(zip_get_error(zip)) == ZIP_ER_EXISTS)
            return npz_fail(FA_ERR_ARGUMENT, "two arrays have the name '%.*s'", (int)(strlen(m->name) - 4), m->name);
        if (zip_error_code_zip(zip_get_error(zip)) == ZIP_ER_INVAL) return npz_fail(FA_ERR_ARGUMENT, "an array's name is not UTF-8");
        return fail_zip(zip_get_error(zip), path);
    }
    if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) || zip_file_set_dostime(zip, (zip_uint64_t)index, DOS_TIME, DOS_DATE, 0)) {
        return fail_zip(zip_get_error(zip), path);
    }
    return FA_OK;
}

static fa_status write_archive(const char *temporary, const char *path, const member *members, int32_t count)
{
    int code;
    zip_t *zip = zip_open(temporary, ZIP_CREATE | ZIP_EXCL, &code);
    if (!zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        fa_status status = fail_zip(&error, path);
        zip_error_fini(&error);
        return status;
    }
    fa_status status = FA_OK;
    for (int32_t i = 0; i < count && status == FA_OK; i++) status = add(zip, &members[i], path);
    if (status == FA_OK && zip_close(zip) == 0) return FA_OK;
    if (status == FA_OK) status = fail_zip(zip_get_error(zip), path);
    zip_discard(zip);
    return status;
}

/* The new content is on the disk before its name is. */
static fa_status replace(const char *temporary, const char *path)
{
    int fd = open(temporary, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return npz_fail_io("write", path);
    int failed = fsync(fd);
    fa_status status = failed ? npz_fail_io("write", path) : FA_OK;
    close(fd);
    if (status == FA_OK && rename(temporary, path)) status = npz_fail_io("replace", path);
    return status;
}

static fa_status write_beside(const char *path, const member *members, int32_t count)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return npz_fail(FA_ERR_IO, "cannot write '%s': it is %s", path, S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    size_t room = strlen(path) + 64;
    char *temporary = malloc(room);
    if (!temporary) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", room);
    fa_status status = FA_OK;
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(temporary, room, "%s.%ld.%d.tmp", path, (long)getpid(), attempt);
        if (lstat(temporary, &st)) break;
    }
    status = write_archive(temporary, path, members, count);
    if (status == FA_OK && (status = replace(temporary, path)) != FA_OK) unlink(temporary);
    free(temporary);
    return status;
}

fa_status fa_npz_save_file(const char *path, const fa_array *arrays, int32_t count)
{
    if (!path || !arrays) return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", path ? "arrays" : "path");
    if (count < 1 || count > NPZ_MAX_ARRAYS) return npz_fail(FA_ERR_ARGUMENT, "%d arrays", (int)count);
    member *members = calloc((size_t)count, sizeof *members);
    if (!members) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", (size_t)count * sizeof *members);
    fa_status status = FA_OK;
    for (int32_t i = 0; i < count && status == FA_OK; i++) status = describe(&arrays[i], i, &members[i]);
    if (status == FA_OK) status = write_beside(path, members, count);
    for (int32_t i = 0; i < count; i++) free(members[i].name);
    free(members);
    return status;
}
