/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct bytes {
    const unsigned char *p;
} bytes;

static fa_status read_bytes(npy_source *source, void *into, size_t size)
{
    bytes *b = source->state;
    memcpy(into, b->p, size); /* npy_read() asks for no more than source->size */
    b->p += size;
    return FA_OK;
}

static fa_status read_single(const void *data, size_t size, fa_npz *npz)
{
    bytes b = {data};
    npy_source source = {read_bytes, &b, size, "array"};
    uint64_t budget = NPZ_MAX_BYTES;
    npz->array = calloc(1, sizeof *npz->array);
    if (!npz->array || !(npz->array->name = strdup("x"))) return npz_fail(FA_ERR_MEMORY, "out of memory: the list of arrays");
    npz->count = 1;
    return npy_read(&source, &budget, npz->array);
}

fa_status fa_npz_load_memory(const void *data, size_t size, fa_npz **out)
{
    if (!data || !out) return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", data ? "out" : "data");
    fa_npz *npz = calloc(1, sizeof *npz);
    if (!npz) return npz_fail(FA_ERR_MEMORY, "out of memory: the list of arrays");
    fa_status status;
    if (size >= 6 && memcmp(data, "\x93NUMPY", 6) == 0) status = read_single(data, size, npz);
    else if (size >= 4 && memcmp(data, "PK", 2) == 0) status = npz_archive_read(data, size, npz);
    else status = npz_fail(FA_ERR_FORMAT, "it starts neither as a .npz archive nor as a .npy file");
    if (status != FA_OK) {
        fa_npz_release(npz);
        return status;
    }
    *out = npz;
    return FA_OK;
}

static fa_status read_open(int fd, const char *path, void **data, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st)) return npz_fail_io("examine", path);
    if (S_ISDIR(st.st_mode)) return npz_fail(FA_ERR_IO, "cannot read '%s': it is a folder", path);
    if (!S_ISREG(st.st_mode)) return npz_fail(FA_ERR_IO, "cannot read '%s': it is not a regular file", path);
    size_t want = (size_t)st.st_size, got = 0;
    char *p = malloc(want + 1);
    if (!p) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes for '%s'", want, path);
    while (got < want) {
        ssize_t n = read(fd, p + got, want - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            free(p);
            return npz_fail_io("read", path);
        }
        if (n == 0) break; /* it shrank while we read: what is left must still make sense */
        got += (size_t)n;
    }
    *data = p;
    *size = got;
    return FA_OK;
}

fa_status fa_npz_load_file(const char *path, fa_npz **out)
{
    if (!path || !out) return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", path ? "out" : "path");
    void *data = NULL;
    size_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return npz_fail_io("open", path);
    fa_status status = read_open(fd, path, &data, &size);
    close(fd);
    if (status != FA_OK) return status;
    status = fa_npz_load_memory(data, size, out);
    free(data);
    return status == FA_OK ? FA_OK : npz_fail_at(status, path);
}

void fa_npz_release(fa_npz *npz)
{
    if (!npz) return;
    for (int32_t i = 0; i < npz->count; i++) {
        free(npz->array[i].name);
        free(npz->array[i].data);
    }
    free(npz->array);
    free(npz);
}

int32_t fa_npz_count(const fa_npz *npz)
{
    return npz ? npz->count : 0;
}

fa_status fa_npz_get(const fa_npz *npz, int32_t index, fa_array *view)
{
    if (!npz || !view) return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", npz ? "view" : "npz");
    if (index < 0 || index >= npz->count) return npz_fail(FA_ERR_ARGUMENT, "index %d of %d arrays", (int)index, (int)npz->count);
    const npz_array *a = &npz->array[index];
    const npy_header *h = &a->header;
    if (!h->dtype) return npz_fail(FA_ERR_DTYPE, "array '%s' has the type '%s', which libfattr does not have", a->name, h->descr);
    if (h->ndim > FA_MAX_DIMS) return npz_fail(FA_ERR_LIMIT, "array '%s' has %d dimensions, more than %d", a->name, (int)h->ndim, FA_MAX_DIMS);
    *view = (fa_array){a->data, h->shape, h->ndim, h->dtype, a->name};
    return FA_OK;
}

const char *fa_npz_name(const fa_npz *npz, int32_t index)
{
    return npz && index >= 0 && index < npz->count ? npz->array[index].name : NULL;
}

fa_status fa_npz_find(const fa_npz *npz, const char *name, fa_array *view)
{
    if (!npz || !name || !view) return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", !npz ? "npz" : !name ? "name" : "view");
    char names[512] = "";
    size_t n = 0;
    for (int32_t i = 0; i < npz->count; i++) {
        if (strcmp(npz->array[i].name, name) == 0) return fa_npz_get(npz, i, view);
        if (n < sizeof names) n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", npz->array[i].name);
    }
    if (n >= sizeof names) strcpy(names + sizeof names - 4, "...");
    return npz_fail(FA_ERR_ARGUMENT, "there is no array '%s' (there %s: %s)", name, npz->count == 1 ? "is" : "are", npz->count ? names : "none");
}
