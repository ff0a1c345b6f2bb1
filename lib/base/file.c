/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* strerror() is not thread-safe and strerror_r() comes in two kinds: POSIX's takes a buffer. */
static const char *reason(int error, char *room, size_t size)
{
    return strerror_r(error, room, size) == 0 ? room : "unknown error";
}

bool fa_file_exists(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0;
}

fa_status fa_fail_io(const char *what, const char *path)
{
    char room[128];
    int error = errno;
    return fa_fail(FA_ERR_IO, "cannot %s '%s': %s", what, path, reason(error, room, sizeof room));
}

static fa_status read_open(fa_context *context, int fd, const char *path, void **data, size_t *size)
{
    struct stat st;
    if (fstat(fd, &st)) return fa_fail_io("examine", path);
    if (S_ISDIR(st.st_mode)) return fa_fail(FA_ERR_IO, "cannot read '%s': it is a folder", path);
    if (!S_ISREG(st.st_mode)) return fa_fail(FA_ERR_IO, "cannot read '%s': it is not a regular file", path);
    size_t want = (size_t)st.st_size, got = 0;
    char *p = fa_new_uncleared(context, want + 1);
    if (!p) return FA_ERR_MEMORY;
    while (got < want) {
        ssize_t n = read(fd, p + got, want - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            fa_delete(context, p);
            return fa_fail_io("read", path);
        }
        if (n == 0) break; /* it shrank while we read: what is left must still make sense to the caller */
        got += (size_t)n;
    }
    p[got] = '\0';
    *data = p;
    *size = got;
    return FA_OK;
}

fa_status fa_file_read(fa_context *context, const char *path, void **data, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fa_fail_io("open", path);
    fa_status status = read_open(context, fd, path, data, size);
    close(fd);
    return status;
}

struct fa_file_writer {
    fa_context *context;
    int fd;
    char *path, *temporary;
    char text[];
};

fa_status fa_file_writer_open(fa_context *context, const char *path, fa_file_writer **out)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return fa_fail(FA_ERR_IO, "cannot write '%s': it is %s", path, S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    size_t n = strlen(path);
    fa_file_writer *w = fa_new(context, sizeof *w + 2 * n + 64);
    if (!w) return FA_ERR_MEMORY;
    w->context = context;
    w->path = w->text;
    w->temporary = w->text + n + 1;
    memcpy(w->path, path, n + 1);
    for (int attempt = 0; attempt < 100; attempt++) {
        snprintf(w->temporary, n + 63, "%s.%ld.%d.tmp", path, (long)getpid(), attempt);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0 || errno != EEXIST) break;
    }
    if (w->fd < 0) {
        fa_status status = fa_fail_io("create", w->temporary);
        fa_delete(context, w);
        return status;
    }
    *out = w;
    return FA_OK;
}

fa_status fa_file_writer_write(fa_file_writer *w, const void *data, size_t size)
{
    const char *p = data;
    while (size) {
        ssize_t n = write(w->fd, p, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fa_fail_io("write", w->path);
        p += n;
        size -= (size_t)n;
    }
    return FA_OK;
}

void fa_file_writer_discard(fa_file_writer *w)
{
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    unlink(w->temporary);
    fa_delete(w->context, w);
}

fa_status fa_file_writer_commit(fa_file_writer *w)
{
    fa_status status = FA_OK;
    if (fsync(w->fd)) status = fa_fail_io("write", w->path);
    if (close(w->fd) && status == FA_OK) status = fa_fail_io("write", w->path);
    w->fd = -1;
    if (status == FA_OK && rename(w->temporary, w->path)) status = fa_fail_io("replace", w->path);
    if (status != FA_OK) {
        fa_file_writer_discard(w);
        return status;
    }
    fa_delete(w->context, w);
    return FA_OK;
}
