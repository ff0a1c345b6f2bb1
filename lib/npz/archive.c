/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

static fa_status zip_status(zip_error_t *error)
{
    return zip_error_code_zip(error) == ZIP_ER_MEMORY ? FA_ERR_MEMORY : FA_ERR_FORMAT;
}

static fa_status read_member(npy_source *source, void *into, size_t size)
{
    zip_file_t *file = source->state;
    unsigned char *p = into;
    while (size) {
        zip_int64_t n = zip_fread(file, p, size);
        if (n < 0) {
            zip_error_t *error = zip_file_get_error(file);
            return npz_fail(zip_status(error), "the archive is damaged here: %s", zip_error_strerror(error));
        }
        if (n == 0) return npz_fail(FA_ERR_FORMAT, "it holds fewer bytes than the archive's directory says");
        p += n;
        size -= (size_t)n;
    }
    return FA_OK;
}

/* The checksum is compared when the end is seen. */
static fa_status check_end(zip_file_t *file)
{
    char more;
    zip_int64_t n = zip_fread(file, &more, 1);
    if (n > 0) return npz_fail(FA_ERR_FORMAT, "it holds more bytes than the archive's directory says");
    if (n < 0) return npz_fail(FA_ERR_FORMAT, "the archive is damaged here: %s", zip_error_strerror(zip_file_get_error(file)));
    return FA_OK;
}

static fa_status check_stat(const zip_stat_t *st, uint64_t *packed_left)
{
    const zip_uint64_t need = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((st->valid & need) != need) return npz_fail(FA_ERR_FORMAT, "the archive's directory does not give its size");
    if (st->encryption_method != ZIP_EM_NONE) return npz_fail(FA_ERR_FORMAT, "it is encrypted");
    if (st->comp_method != ZIP_CM_STORE && st->comp_method != ZIP_CM_DEFLATE) {
        return npz_fail(FA_ERR_FORMAT, "compression method %d is neither stored nor deflated", (int)st->comp_method);
    }
    /* Members that overlap, and sizes that no deflated stream can reach, are how a small file asks for all memory. */
    if (st->comp_size > *packed_left) return npz_fail(FA_ERR_FORMAT, "the archive's members are larger than the archive");
    *packed_left -= st->comp_size;
    uint64_t most = st->comp_method == ZIP_CM_STORE ? st->comp_size : st->comp_size * NPZ_MAX_RATIO;
    if (st->size > most)
        return npz_fail(FA_ERR_FORMAT, "%llu bytes cannot come out of %llu", (unsigned long long)st->size, (unsigned long long)st->comp_size);
    return FA_OK;
}

static fa_status read_array(zip_t *zip, zip_uint64_t index, const zip_stat_t *st, uint64_t *budget, npz_array *out)
{
    zip_file_t *file = zip_fopen_index(zip, index, 0);
    if (!file) {
        zip_error_t *error = zip_get_error(zip);
        npz_fail(FA_ERR_FORMAT, "the archive is damaged here: %s", zip_error_strerror(error));
        return npz_fail_at(zip_status(error), st->name);
    }
    npy_source source = {read_member, file, st->size, st->name};
    fa_status status = npy_read(&source, budget, out);
    /* Elements that cannot be viewed were not read, so the end is out of reach. */
    bool all_read = out->header.dtype && out->header.ndim <= FA_MAX_DIMS;
    if (status == FA_OK && all_read && (status = check_end(file)) != FA_OK) npz_fail_at(status, st->name);
    zip_fclose(file);
    return status;
}

static fa_status add_member(zip_t *zip, zip_uint64_t index, fa_npz *npz, uint64_t *packed_left, uint64_t *budget)
{
    zip_stat_t st;
    if (zip_stat_index(zip, index, 0, &st) || !(st.valid & ZIP_STAT_NAME))
        return npz_fail(FA_ERR_FORMAT, "entry %llu of the archive's directory cannot be read", (unsigned long long)index);
    size_t length = strlen(st.name);
    if (length < 5 || strcmp(st.name + length - 4, ".npy") != 0) return FA_OK; /* no array: a note, a folder */
    fa_status status = check_stat(&st, packed_left);
    if (status != FA_OK) return npz_fail_at(status, st.name);
    for (int32_t i = 0; i < npz->count; i++) {
        if (strncmp(npz->array[i].name, st.name, length - 4) == 0 && npz->array[i].name[length - 4] == '\0') {
            npz_fail(FA_ERR_FORMAT, "the archive holds it twice");
            return npz_fail_at(FA_ERR_FORMAT, st.name);
        }
    }
    npz_array *a = &npz->array[npz->count];
    a->name = malloc(length - 3);
    if (!a->name) return npz_fail(FA_ERR_MEMORY, "out of memory: %zu bytes", length - 3);
    memcpy(a->name, st.name, length - 4);
    a->name[length - 4] = '\0';
    npz->count++;
    return read_array(zip, index, &st, budget, a);
}

static fa_status read_members(zip_t *zip, size_t size, fa_npz *npz)
{
    zip_int64_t n = zip_get_num_entries(zip, 0);
    uint64_t packed_left = size, budget = NPZ_MAX_BYTES;
    if (n > NPZ_MAX_ARRAYS) return npz_fail(FA_ERR_LIMIT, "the archive has %lld members, more than %d", (long long)n, NPZ_MAX_ARRAYS);
    npz->array = calloc(n > 0 ? (size_t)n : 1, sizeof *npz->array);
    if (!npz->array) return npz_fail(FA_ERR_MEMORY, "out of memory: the archive's directory");
    for (zip_int64_t i = 0; i < n; i++) {
        fa_status status = add_member(zip, (zip_uint64_t)i, npz, &packed_left, &budget);
        if (status != FA_OK) return status;
    }
    return FA_OK;
}

fa_status npz_archive_read(const void *data, size_t size, fa_npz *npz)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(data, size, 0, &error);
    zip_t *zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : NULL;
    if (!zip) {
        fa_status status = npz_fail(zip_status(&error), "it starts as a zip archive but is none: %s", zip_error_strerror(&error));
        if (source) zip_source_free(source);
        zip_error_fini(&error);
        return status;
    }
    fa_status status = read_members(zip, size, npz);
    zip_discard(zip);
    zip_error_fini(&error);
    return status;
}
