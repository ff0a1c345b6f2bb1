/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/file.h"

#include "base/error.h"
#include "sketch/metadata.h"
#include "sketch/moment_tensors.h"
#include "sketch/tensors.h"
#include "sketch/trace_tensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FIXED_TENSORS (9 + FA_SCORE_COUNT) /* beside those of the layers */
#define ROUNDING 1e-3f                     /* how far a unit length or a cosine may be beyond 1 */

/* The header's bytes beside those of layers, and of a layer with its two tensors: for estimates. */
#define HEADER_BYTES 3000
#define HEADER_LAYER_BYTES 560
#define HEADER_PARAMETER_BYTES 110
#define HEADER_CHAIN_BYTES 420

/* ---- writing */

static void list_layers(const fa_sketch_body *b, fa_st_tensor *list, int32_t *at)
{
    char name[FA_ST_NAME];
    int32_t count = *at;
    for (int32_t i = 0; i < b->n_layer; i++) {
        const fa_sketch_layer *l = &b->layer[i];
        snprintf(name, sizeof name, "layer.%d.p_in", i);
        fa_st_add(list, &count, name, FA_ST_F32, l->in, l->k_in, l->p_in);
        snprintf(name, sizeof name, "layer.%d.p_out", i);
        fa_st_add(list, &count, name, FA_ST_F32, l->out, l->k_out, l->p_out);
    }
    fa_list_moments(b, list, &count);
    fa_st_add(list, &count, "references.blocks", FA_ST_F32, b->n_reference, b->offset[b->n_layer], b->blocks);
    fa_st_add(list, &count, "references.share", FA_ST_F32, b->n_reference, b->n_layer, b->share);
    *at = count;
}

/* Every tensor of a sketch in the order of the file. */
static int32_t list_tensors(const fa_sketch *s, fa_st_tensor *list)
{
    const fa_sketch_body *b = s->body;
    char name[FA_ST_NAME];
    int32_t count = 0;
    int64_t n = b->n_reference;
    if (b->trace) fa_list_trace_tensors(s, b->offset[b->n_layer], list, &count);
    else list_layers(b, list, &count);
    if (b->gram) fa_st_add(list, &count, "references.gram", FA_ST_F32, n, n, b->gram);
    fa_st_add(list, &count, "references.id", FA_ST_I64, n, 0, b->id);
    fa_st_add(list, &count, "references.predicted", FA_ST_I64, n, 0, b->predicted);
    fa_st_add(list, &count, "references.label", FA_ST_I64, n, 0, b->label);
    for (int32_t k = 0; s->n_calibration && k < FA_SCORE_COUNT; k++) {
        if (!(fa_body_scores(b) >> k & 1)) continue;
        snprintf(name, sizeof name, "calibration.%s", fa_score_name(k));
        fa_st_add(list, &count, name, FA_ST_F64, s->n_calibration, 0, s->calibration[k]);
    }
    return count;
}

static fa_status fail_byte_order(void)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return fa_fail(FA_ERR_UNSUPPORTED, "sketch files are little-endian; this machine is not");
#else
    return FA_OK;
#endif
}

fa_status fa_sketch_write(const fa_sketch *s, const char *path)
{
    const fa_sketch_body *b = s->body;
    FA_TRY(fail_byte_order());
    fa_st_tensor *list = fa_new_array(s->context, (b->trace ? 0 : 4 * (size_t)(b->n_layer + b->n_dropped)) + FIXED_TENSORS, sizeof *list);
    if (!list) return FA_ERR_MEMORY;
    int32_t count = list_tensors(s, list);
    fa_json_writer header = {.context = s->context};
    fa_json_open(&header, '{');
    fa_json_key(&header, "__metadata__");
    fa_json_open(&header, '{');
    fa_metadata_write(s, &header);
    fa_status status = fa_st_write(&header, path, list, count);
    fa_delete(s->context, header.text);
    fa_delete(s->context, list);
    return status;
}

static size_t padded(int64_t rows, int64_t columns, fa_st_type type)
{
    size_t size = (size_t)rows * (size_t)columns * fa_st_type_size(type);
    return (size + FA_ST_ALIGN - 1) / FA_ST_ALIGN * FA_ST_ALIGN;
}

static size_t trace_file_bytes(const fa_sketch_body *b, int64_t n, int64_t m)
{
    const fa_sketch_trace *t = b->trace;
    int64_t draws = b->offset[b->n_layer];
    return (size_t)t->n_parameter * HEADER_PARAMETER_BYTES + (size_t)t->n_chain * HEADER_CHAIN_BYTES + padded(draws, (int64_t)t->draw_bytes, FA_ST_U8) +
           padded(draws, t->n_statistics, FA_ST_F32) + padded(n, draws, FA_ST_F32) + padded(m, draws, FA_ST_F32);
}

static size_t layers_file_bytes(const fa_sketch_body *b, int64_t n)
{
    size_t size = (size_t)(b->n_layer + b->n_dropped) * HEADER_LAYER_BYTES;
    for (int32_t i = 0; i < b->n_layer; i++) size += padded(b->layer[i].in, b->layer[i].k_in, FA_ST_F32) +
        padded(b->layer[i].out, b->layer[i].k_out, FA_ST_F32);
    return size + padded(n, b->offset[b->n_layer], FA_ST_F32) + padded(n, b->n_layer, FA_ST_F32) + fa_moments_file_bytes(b);
}

size_t fa_sketch_file_bytes(const fa_sketch_body *b, int64_t n, int64_t m)
{
    size_t size = HEADER_BYTES + (b->trace ? trace_file_bytes(b, n, m) : layers_file_bytes(b, n)) + (n > FA_GRAM_MOST ? 0 : padded(n, n, FA_ST_F32)) + 3 * padded(n, 1, FA_ST_I64);
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) size += fa_body_scores(b) >> k & 1 ? padded(m, 1, FA_ST_F64) : 0;
    return size;
}

/* ---- reading */

static fa_status take_projection(fa_st_file *f, const char *name, int64_t n, int64_t k, fa_arena *arena, const float **out)
{
    const fa_st_tensor *t;
    FA_TRY(fa_st_expect(f, name, FA_ST_F32, n, k, &t));
    float *p = fa_arena_new(arena, t->size);
    if (!p) return FA_ERR_MEMORY;
    *out = p;
    return fa_st_take_floats(f, name, n, k, -1e30f, 1e30f, p);
}

static fa_status take_classes(fa_st_file *f, const char *name, int64_t n, int64_t least, int64_t most, int64_t *to)
{
    const fa_st_tensor *t;
    FA_TRY(fa_st_expect(f, name, FA_ST_I64, n, 0, &t));
    memcpy(to, t->data, t->size);
    for (int64_t i = 0; i < n; i++)
        if (to[i] < least || to[i] > most) return fa_fail(FA_ERR_FORMAT, "tensor '%s': element %lld is out of range", name, (long long)i);
    return FA_OK;
}

static fa_status check_gram(const float *gram, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (gram[i * n + i] != 0 && gram[i * n + i] != 1)
            return fa_fail(FA_ERR_FORMAT, "tensor 'references.gram': element %lld of the diagonal is not 0 or 1", (long long)i);
        for (int64_t j = 0; j < i; j++)
            if (gram[i * n + j] != gram[j * n + i]) return fa_fail(FA_ERR_FORMAT, "tensor 'references.gram' is not symmetric");
    }
    return FA_OK;
}

static fa_status read_blocks(fa_st_file *f, fa_sketch_body *b)
{
    const fa_st_tensor *t;
    const float one = 1 + ROUNDING;
    int64_t n = b->n_reference, length = b->offset[b->n_layer];
    FA_TRY(fa_st_expect(f, "references.blocks", FA_ST_F32, n, length, &t));
    FA_TRY(fa_sketch_body_new_references(b));
    FA_TRY(fa_st_take_floats(f, "references.blocks", n, length, -one, one, b->blocks));
    return fa_st_take_floats(f, "references.share", n, b->n_layer, 0, one, b->share);
}

static fa_status read_references(fa_st_file *f, fa_sketch_body *b)
{
    const fa_st_tensor *t;
    const float one = 1 + ROUNDING;
    FA_TRY((t = fa_st_find(f, "references.id")) ? FA_OK : fa_fail(FA_ERR_FORMAT, "tensor 'references.id' is missing"));
    int64_t n = b->n_reference = t->dim[0];
    if (n < 2) return fa_fail(FA_ERR_FORMAT, "tensor 'references.id': %lld references; a sketch has at least two", (long long)n);
    /* Sizes are those of the file: nothing is allocated that it does not fill. */
    if (n <= FA_GRAM_MOST) FA_TRY(fa_st_expect(f, "references.gram", FA_ST_F32, n, n, &t));
    FA_TRY(b->trace ? fa_read_all_draws(f, b) : read_blocks(f, b));
    FA_TRY(take_classes(f, "references.id", n, INT64_MIN, INT64_MAX, b->id));
    FA_TRY(take_classes(f, "references.predicted", n, fa_loss_kind_of(b->options.loss)->output == FA_OUTPUT_CLASSES ? 0 : -1, b->classes - 1, b->predicted));
    FA_TRY(take_classes(f, "references.label", n, -1, INT64_MAX, b->label));
    if (!b->gram) return FA_OK;
    FA_TRY(fa_st_take_floats(f, "references.gram", n, n, -one, one, b->gram));
    return check_gram(b->gram, n);
}

static fa_status read_calibration(fa_st_file *f, fa_sketch *s)
{
    char name[FA_ST_NAME];
    const fa_st_tensor *t;
    for (int32_t k = 0; k < FA_SCORE_COUNT; k++) {
        if (!(fa_body_scores(s->body) >> k & 1)) continue;
        snprintf(name, sizeof name, "calibration.%s", fa_score_name(k));
        t = fa_st_find(f, name);
        if (!t && k == 0) return FA_OK;
        if (k == 0 && t->dim[0] < 1) return fa_fail(FA_ERR_FORMAT, "tensor '%s' is empty", name);
        int64_t m = k == 0 ? t->dim[0] : s->n_calibration;
        FA_TRY(fa_st_expect(f, name, FA_ST_F64, m, 0, &t));
        if (k == 0) FA_TRY(fa_sketch_new_calibration(s, m));
        double *to = s->calibration[k];
        memcpy(to, t->data, t->size);
        for (int64_t i = 0; i < m; i++)
            if (!isfinite(to[i]) || (i && to[i] < to[i - 1]))
                return fa_fail(FA_ERR_FORMAT, "tensor '%s': element %lld is not finite or not in order", name, (long long)i);
    }
    return s->body->trace ? fa_read_calibration_loss(f, s) : FA_OK;
}

static fa_status read_tensors(fa_st_file *f, fa_sketch *s)
{
    fa_sketch_body *b = s->body;
    char name[FA_ST_NAME];
    for (int32_t i = 0; !b->trace && i < b->n_layer; i++) {
        fa_sketch_layer *l = &b->layer[i];
        snprintf(name, sizeof name, "layer.%d.p_in", i);
        FA_TRY(take_projection(f, name, l->in, l->k_in, &b->arena, &l->p_in));
        snprintf(name, sizeof name, "layer.%d.p_out", i);
        FA_TRY(take_projection(f, name, l->out, l->k_out, &b->arena, &l->p_out));
    }
    FA_TRY(fa_read_moments(f, b));
    FA_TRY(read_references(f, b));
    return read_calibration(f, s);
}

static fa_status read_open(fa_st_file *f, fa_context *context, const void *data, size_t size, fa_sketch *s)
{
    FA_TRY(fail_byte_order());
    FA_TRY(fa_st_open(context, data, size, f));
    FA_TRY(fa_metadata_check_version(f->metadata));
    FA_TRY(fa_st_read_tensors(f));
    FA_TRY(fa_st_verify(f));
    FA_TRY(fa_metadata_read(f->metadata, s));
    return read_tensors(f, s);
}

fa_status fa_sketch_read(fa_context *context, const void *data, size_t size, fa_sketch **out)
{
    fa_st_file f = {0};
    fa_sketch *s;
    FA_TRY(fa_sketch_new(context, NULL, &s));
    fa_status status = read_open(&f, context, data, size, s);
    if (f.context) fa_st_close(&f);
    if (status != FA_OK) {
        fa_sketch_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}
