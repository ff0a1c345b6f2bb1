/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "mechanism/mechanisms.h"
#include "sketch/beside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FORMAT "fattr-mechanisms"
#define FORMAT_VERSION 1
#define ROUNDING 1e-3 /* how far the sum of unit vectors may be longer than their number */
#define MOST_MEMBERS ((int64_t)1 << 40)

static void digest_text(const uint8_t digest[16], char text[33])
{
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

fa_status fa_mechanisms_write(const fa_mechanisms *m, const char *path)
{
    const fa_groups *g = &m->groups;
    fa_st_tensor tensor[3];
    int32_t tensors = 0;
    if (g->n) {
        fa_st_add(tensor, &tensors, "groups.sum", FA_ST_F32, g->n, g->length, g->sum);
        fa_st_add(tensor, &tensors, "groups.count", FA_ST_I64, g->n, 0, g->count);
        fa_st_add(tensor, &tensors, "groups.name", FA_ST_I64, g->n, 0, g->name);
    }
    fa_json_writer w = {.context = m->context};
    fa_beside_begin(&w, FORMAT, FORMAT_VERSION);
    fa_put_digest(&w, "sketch_digest", m->background->digest);
    fa_beside_put_real(&w, "linkage", m->options.linkage);
    fa_beside_put_real(&w, "likeness", m->options.likeness);
    fa_put_decimal(&w, "groups", g->n);
    fa_status status = fa_st_write(&w, path, tensor, tensors);
    fa_delete(m->context, w.text);
    return status;
}

static fa_status check_sketch(const fa_st_file *f, const fa_sketch *s)
{
    uint8_t digest[16];
    char text[33];
    fa_sketch_body_digest(s->body, digest);
    digest_text(digest, text);
    if (strcmp(fa_text_field(f->metadata, "sketch_digest"), text))
        return fa_fail(FA_ERR_MISMATCH, "the fingerprints belong to another sketch (digest %.32s in the file, %s of the sketch)",
                       fa_text_field(f->metadata, "sketch_digest"), text);
    return FA_OK;
}

static fa_status check_group(const fa_groups *g, int64_t i)
{
    double squares = 0, count = (double)g->count[i];
    for (int64_t k = 0; k < g->length; k++) squares += (double)g->sum[i * g->length + k] * g->sum[i * g->length + k];
    if (g->count[i] < 1 || g->count[i] > MOST_MEMBERS) return fa_fail(FA_ERR_FORMAT, "tensor 'groups.count': element %lld is out of range", (long long)i);
    if (g->name[i] < 0 || g->name[i] >> 48) return fa_fail(FA_ERR_FORMAT, "tensor 'groups.name': element %lld is out of range", (long long)i);
    if (!(sqrt(squares) <= count * (1 + ROUNDING)))
        return fa_fail(FA_ERR_FORMAT, "tensor 'groups.sum': row %lld is no sum of unit vectors", (long long)i);
    return FA_OK;
}

static fa_status read_groups(fa_st_file *f, int64_t n, fa_groups *g)
{
    const fa_st_tensor *sum, *count, *name;
    if (!n) return FA_OK;
    FA_TRY(fa_st_expect(f, "groups.sum", FA_ST_F32, n, g->length, &sum));
    FA_TRY(fa_st_expect(f, "groups.count", FA_ST_I64, n, 0, &count));
    FA_TRY(fa_st_expect(f, "groups.name", FA_ST_I64, n, 0, &name));
    FA_TRY(fa_groups_reserve(g, n)); /* sizes are those of the file: nothing is allocated that it does not fill */
    memcpy(g->sum, sum->data, (size_t)n * (size_t)g->length * sizeof *g->sum);
    memcpy(g->count, count->data, (size_t)n * sizeof *g->count);
    memcpy(g->name, name->data, (size_t)n * sizeof *g->name);
    for (int64_t i = 0; i < n; i++) {
        FA_TRY(check_group(g, i));
        fa_groups_weigh(g, i);
    }
    g->n = n;
    return FA_OK;
}

static fa_status read_open(fa_st_file *f, const fa_sketch *s, const void *data, size_t size, fa_mechanisms_options *o, int64_t *groups)
{
    FA_TRY(fa_beside_open(s->context, data, size, FORMAT, FORMAT_VERSION, "a file of mechanisms", f));
    FA_TRY(fa_beside_real(f, "linkage", 1e-9, 1, &o->linkage));
    FA_TRY(fa_beside_real(f, "likeness", 1e-9, 1, &o->likeness));
    FA_TRY(fa_beside_int(f, "groups", 0, INT64_MAX / 2, groups));
    return check_sketch(f, s);
}

fa_status fa_mechanisms_read(const fa_sketch *s, const void *data, size_t size, fa_mechanisms **out)
{
    fa_st_file f = {0};
    fa_mechanisms_options o = {.struct_size = sizeof o};
    fa_mechanisms *m = NULL;
    int64_t groups = 0;
    fa_status status = read_open(&f, s, data, size, &o, &groups);
    if (status == FA_OK) status = fa_mechanisms_make(s, &o, &m);
    if (status == FA_OK) status = read_groups(&f, groups, &m->groups);
    if (status == FA_OK) status = fa_mechanisms_finish(m);
    if (f.context) fa_st_close(&f);
    if (status != FA_OK) {
        fa_mechanisms_free(m);
        return status;
    }
    *out = m;
    return FA_OK;
}
