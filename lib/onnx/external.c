/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/external.h"

#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct place {
    const char *location;
    uint64_t offset, length;
    bool has_length;
} place;

static fa_status read_number(const char *key, const char *text, uint64_t *out)
{
    uint64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)) break;
    if (p == text || *p) return fa_fail(FA_ERR_FORMAT, "external data: %s '%s' is no number of bytes", key, text);
    *out = n;
    return FA_OK;
}

static fa_status read_place(const Onnx__TensorProto *t, place *out)
{
    place p = {0};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
        if (!key || !value) return fa_fail(FA_ERR_FORMAT, "external data: an entry without %s", key ? "value" : "key");
        if (strcmp(key, "location") == 0) {
            p.location = value;
        } else if (strcmp(key, "offset") == 0) {
            FA_TRY(read_number(key, value, &p.offset));
        } else if (strcmp(key, "length") == 0) {
            FA_TRY(read_number(key, value, &p.length));
            p.has_length = true;
        }
    }
    if (!p.location || !*p.location) return fa_fail(FA_ERR_FORMAT, "external data without a location");
    *out = p;
    return FA_OK;
}

static bool climbs(const char *location)
{
    if (*location == '/') return true;
    for (const char *p = location; p; p = strchr(p, '/')) {
        if (*p == '/') p++;
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || !p[2])) return true;
    }
    return false;
}

/* Where the location really is, in `real`. */
static fa_status resolve(const char *folder, const char *location, char real[PATH_MAX])
{
    char root[PATH_MAX], joined[PATH_MAX];
    if (climbs(location)) return fa_fail(FA_ERR_FORMAT, "external data '%s' lies outside the model's folder", location);
    if (!realpath(*folder ? folder : ".", root)) return fa_fail_io("find the folder", folder);
    if (snprintf(joined, sizeof joined, "%s/%s", root, location) >= (int)sizeof joined) {
        errno = ENAMETOOLONG;
        return fa_fail_io("open external data", location);
    }
    if (!realpath(joined, real)) return fa_fail_io("open external data", joined);
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(real, root, n) != 0 || real[n] != '/')
        return fa_fail(FA_ERR_FORMAT, "external data '%s' is a link that leads outside the model's folder", location);
    return FA_OK;
}

static fa_status read_range(int fd, const char *path, uint64_t offset, char *data, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = pread(fd, data + got, size - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fa_fail_io("read external data", path);
        if (n == 0) return fa_fail(FA_ERR_IO, "external data '%s' shrank while it was read", path);
        got += (size_t)n;
    }
    return FA_OK;
}

static fa_status read_open(fa_context *context, int fd, const char *path, const place *p, size_t size, void **data)
{
    struct stat st;
    if (fstat(fd, &st)) return fa_fail_io("examine external data", path);
    if (!S_ISREG(st.st_mode)) return fa_fail(FA_ERR_IO, "external data '%s' is not a regular file", path);
    uint64_t whole = (uint64_t)st.st_size;
    if (p->offset > whole || size > whole - p->offset)
        return fa_fail(FA_ERR_FORMAT, "external data '%s': %zu bytes from byte %llu on are wanted, the file has %llu", path, size,
                       (unsigned long long)p->offset, (unsigned long long)whole);
    char *own = fa_new_uncleared(context, size);
    if (!own) return FA_ERR_MEMORY;
    fa_status status = read_range(fd, path, p->offset, own, size);
    if (status == FA_OK) *data = own;
    else fa_delete(context, own);
    return status;
}

fa_status fa_onnx_external_read(fa_context *context, const char *folder, const Onnx__TensorProto *tensor, size_t size, void **data)
{
    place p = {0};
    FA_TRY(read_place(tensor, &p));
    if (!folder) return fa_fail(FA_ERR_UNSUPPORTED, "external data '%s', and a model in memory has no folder", p.location);
    if (p.has_length && p.length != size)
        return fa_fail(FA_ERR_FORMAT, "external data '%s': its length is %llu bytes, the tensor's shape asks for %zu", p.location,
                       (unsigned long long)p.length, size);
    char real[PATH_MAX];
    FA_TRY(resolve(folder, p.location, real));
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return fa_fail_io("open external data", real);
    fa_status status = read_open(context, fd, real, &p, size, data);
    close(fd);
    return status;
}
