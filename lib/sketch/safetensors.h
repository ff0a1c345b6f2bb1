/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SAFETENSORS_H
#define FA_SKETCH_SAFETENSORS_H

#include "base/file.h"
#include "sketch/json.h"

/*
 * The safetensors container (huggingface.co/docs/safetensors): eight little-endian bytes of header length, a JSON header, tensors without holes
 * between them. On top of it, as docs/sketch-format.md says: the data of every tensor starts at a multiple of 64 bytes in the file, gaps are U8
 * tensors "pad.N", every tensor has its XXH3 and so has the header.
 */

#define FA_ST_HEADER_MAX (8u << 20)
#define FA_ST_NAME 64 /* bytes of a tensor's name, with the NUL */
#define FA_ST_DIMS 2
#define FA_ST_ALIGN 64

typedef enum fa_st_type { FA_ST_U8, FA_ST_I64, FA_ST_F32, FA_ST_F64 } fa_st_type;

typedef struct fa_st_tensor {
    char name[FA_ST_NAME];
    fa_st_type type;
    int32_t ndim;
    int64_t dim[FA_ST_DIMS];
    const void *data;
    size_t size; /* bytes */
} fa_st_tensor;

size_t fa_st_type_size(fa_st_type type);

/* Writing. In `header` the root and its "__metadata__" are open; checksums and tensors are added. What `tensor[].data` points to stays the caller's. */
fa_status fa_st_write(fa_json_writer *header, const char *path, const fa_st_tensor *tensor, int32_t count);

/* Reading, in this order: open (header), read_tensors (names, types, offsets, sizes against the file), verify (checksums). Tensors point into the
 * bytes given. `file` is zeroed before; fa_st_close() in any case. */
typedef struct fa_st_file {
    fa_context *context;
    const unsigned char *header, *data;
    size_t header_size, data_size;
    fa_arena arena;
    const fa_json *root, *metadata; /* metadata: strings only */
    fa_st_tensor *tensor;    /* padding included */
    int32_t count, next;     /* next: where fa_st_find() looks first */
} fa_st_file;

/* FA_ERR_FORMAT; FA_ERR_CHECKSUM for the header of a sketch that is no JSON any more. */
fa_status fa_st_open(fa_context *context, const void *data, size_t size, fa_st_file *file);
fa_status fa_st_read_tensors(fa_st_file *file); /* FA_ERR_FORMAT */
fa_status fa_st_verify(const fa_st_file *file); /* FA_ERR_CHECKSUM when header, a tensor or the padding is not what it was */

const fa_st_tensor *fa_st_find(fa_st_file *file, const char *name);
void fa_st_close(fa_st_file *file);

#endif
