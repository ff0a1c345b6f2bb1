/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_NPZ_NPZ_H
#define FA_NPZ_NPZ_H

#include <fattr/npz.h>
#include <stdbool.h>

/* libfattr-npz is a library of its own: it sees the public API of libfattr alone and takes its memory from the C library. */

/* All arrays of one file together. Deflate cannot expand a file by more than NPZ_MAX_RATIO, so a small file cannot ask for much either. */
#define NPZ_MAX_BYTES ((uint64_t)64 << 30)
#define NPZ_MAX_RATIO 1032
#define NPZ_MAX_ARRAYS 65536
#define NPZ_MAX_HEADER ((uint32_t)1 << 20)

/* What the header of a .npy file says. */
typedef struct npy_header {
    char descr[32]; /* as written, cut to what fits; "structured" for a list of fields */
    int32_t dtype;  /* FA_...; 0 for a type that has no number */
    size_t element; /* bytes of an element of `dtype` */
    bool swapped;   /* in the other byte order */
    bool fortran_order;
    int32_t ndim;   /* may be larger than FA_MAX_DIMS: then `shape` is not filled in */
    int64_t shape[FA_MAX_DIMS];
} npy_header;

/* Reads the Python dictionary `text`. */
fa_status npy_header_parse(const char *text, size_t size, npy_header *out);

typedef struct npz_array {
    char *name;
    npy_header header;
    void *data; /* C order, this machine's byte order; NULL for an array that cannot be viewed or has no elements */
} npz_array;

struct fa_npz {
    int32_t count;
    npz_array *array;
};

/* Where the bytes of a .npy file come from. `read` fills in exactly `size` bytes; `name` is for messages. */
typedef struct npy_source npy_source;
struct npy_source {
    fa_status (*read)(npy_source *source, void *into, size_t size);
    void *state;
    uint64_t size; /* of the whole .npy file */
    const char *name;
};

/* Reads header and elements; a type that cannot be viewed is no error, its elements are left unread. `budget`: bytes that may still be taken. */
fa_status npy_read(npy_source *source, uint64_t *budget, npz_array *out);

/* Reads the members of a zip archive. `npz` is empty and is released by the caller on failure. */
fa_status npz_archive_read(const void *data, size_t size, fa_npz *npz);

/* Writes the error text and returns `status`. */
fa_status npz_fail(fa_status status, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts "where: " before the text just written. */
fa_status npz_fail_at(fa_status status, const char *where) __attribute__((cold));

/* cannot <what> '<path>': <errno in words> */
fa_status npz_fail_io(const char *what, const char *path) __attribute__((cold));

#endif
