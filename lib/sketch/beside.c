/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/beside.h"

#include "base/error.h"

#include <fattr/version.h>
#include <string.h>

void fa_beside_put_real(fa_json_writer *w, const char *key, double value)
{
    fa_json_writer text = {.context = w->context};
    fa_json_real(&text, value);
    if (text.failed) w->failed = true;
    else fa_put_string(w, key, text.text);
    fa_delete(text.context, text.text);
}

void fa_beside_begin(fa_json_writer *w, const char *format, int64_t version)
{
    fa_json_open(w, '{');
    fa_json_key(w, "__metadata__");
    fa_json_open(w, '{');
    fa_put_string(w, "format", format);
    fa_put_decimal(w, "format_version", version);
    fa_put_string(w, "library_version", fa_version_string());
}

fa_status fa_beside_int(const fa_st_file *f, const char *key, int64_t least, int64_t most, int64_t *out)
{
    return fa_parse_i64(fa_text_field(f->metadata, key), least, most, out) ? FA_OK : fa_fail_field(key);
}

fa_status fa_beside_real(fa_st_file *f, const char *key, double least, double most, double *out)
{
    const char *text = fa_text_field(f->metadata, key);
    const fa_json *value;
    fa_status status = fa_json_parse(&f->arena, text, strlen(text), &value);
    if (status == FA_ERR_MEMORY) return status;
    if (status != FA_OK || (!fa_json_is(value, FA_JSON_REAL) && !fa_json_is(value, FA_JSON_INT)) || !(value->real >= least && value->real <= most))
        return fa_fail_field(key);
    *out = value->real;
    return FA_OK;
}

fa_status fa_beside_open(fa_context *context, const void *data, size_t size, const char *format, int64_t version, const char *what, fa_st_file *f)
{
    int64_t found;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return fa_fail(FA_ERR_UNSUPPORTED, "the file is little-endian; this machine is not");
#endif
    FA_TRY(fa_st_open(context, data, size, f));
    if (strcmp(fa_text_field(f->metadata, "format"), format)) return fa_fail(FA_ERR_FORMAT, "the format is not '%s': not %s", format, what);
    FA_TRY(fa_beside_int(f, "format_version", 1, INT64_MAX, &found));
    if (found > version)
        return fa_fail(FA_ERR_VERSION, "%s of format version %lld, written by libfattr %.40s; this library reads up to version %lld", what,
                       (long long)found, fa_text_field(f->metadata, "library_version"), (long long)version);
    FA_TRY(fa_st_read_tensors(f));
    return fa_st_verify(f);
}
