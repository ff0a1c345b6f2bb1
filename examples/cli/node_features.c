/* SPDX-License-Identifier: Apache-2.0 */
#include "node_features.h"

#include <stdlib.h>
#include <string.h>

/* Room for all inputs, once the first batch has shown what one takes. */
static int make_room(const char *node, const fa_array *first, int64_t batch, int64_t n, features *out, size_t *row)
{
    if (first->ndim < 1 || first->shape[0] != batch) return say_error("'%s' does not have one row per input, so it is no feature of an input", node);
    size_t bytes = element_size(first->dtype);
    out->dtype = first->dtype;
    out->ndim = first->ndim;
    for (int32_t d = 0; d < first->ndim; d++) out->shape[d] = d ? first->shape[d] : n;
    for (int32_t d = 1; d < first->ndim; d++) bytes *= (size_t)first->shape[d];
    *row = bytes;
    if (__builtin_mul_overflow(bytes, (size_t)n, &bytes)) return say_error("out of memory");
    out->data = malloc(bytes ? bytes : 1);
    return out->data ? EXIT_DONE : say_error("out of memory: %s for '%s'", in_words(bytes).text, node);
}

static int take_batch(const session *s, slice *rows, const char *node, int64_t first, int64_t batch, int64_t n, features *out, size_t *row)
{
    fa_tensor *tensor = NULL;
    fa_array view;
    if (fa_model_run(s->model, rows->array, rows->count, node, &tensor) != FA_OK) return say_failure();
    int code = fa_tensor_view(tensor, &view) == FA_OK ? EXIT_DONE : say_failure();
    if (code == EXIT_DONE && !out->data) code = make_room(node, &view, batch, n, out, row);
    if (code == EXIT_DONE) {
        bool same = view.ndim == out->ndim && view.dtype == out->dtype && view.shape[0] == batch;
        for (int32_t d = 1; same && d < view.ndim; d++) same = view.shape[d] == out->shape[d];
        if (same) memcpy((char *)out->data + *row * (size_t)first, view.data, *row * (size_t)batch);
        else code = say_error("'%s' changes its shape from batch to batch", node);
    }
    fa_tensor_release(tensor);
    return code;
}

int features_take(const session *s, const fa_refset *inputs, const char *node, int32_t batch, features *out)
{
    int64_t n = fa_refset_count(inputs);
    features f = {NULL};
    slice rows;
    size_t row = 0;
    int code = slice_create(inputs, &rows);
    if (code != EXIT_DONE) return code;
    for (int64_t first = 0; first < n && code == EXIT_DONE; first += batch) {
        int64_t count = n - first < batch ? n - first : batch;
        slice_move(&rows, inputs, first, count);
        code = take_batch(s, &rows, node, first, count, n, &f, &row);
    }
    slice_destroy(&rows);
    if (code == EXIT_DONE) *out = f;
    else features_destroy(&f);
    return code;
}

void features_destroy(features *f)
{
    free(f->data);
    *f = (features){NULL};
}

/* Whether `node` gives one row of `width` reals per input. */
static bool gives_rows(const session *s, slice *one, const char *node, int64_t width)
{
    fa_tensor *tensor = NULL;
    fa_array view;
    if (fa_model_run(s->model, one->array, one->count, node, &tensor) != FA_OK) return false;
    bool fits = fa_tensor_view(tensor, &view) == FA_OK && view.dtype == FA_FLOAT32 && view.ndim == 2 && view.shape[0] == 1 && view.shape[1] == width;
    fa_tensor_release(tensor);
    return fits;
}

const char *penultimate_node(const session *s, const fa_refset *inputs)
{
    fa_model_info info = {.struct_size = sizeof info};
    fa_layer_info layer, last = {NULL};
    if (fa_model_get_info(s->model, &info) != FA_OK) return NULL;
    for (int32_t i = 0; i < info.layer_count; i++) {
        if (fa_model_get_layer(s->model, i, &layer) == FA_OK && (strcmp(layer.op, "Gemm") == 0 || strcmp(layer.op, "MatMul") == 0)) last = layer;
    }
    if (!last.name) return NULL;

    /* The API does not tell a node's inputs: the nearest node before the layer that gives as many numbers as the layer takes is its input. */
    const char *found = NULL;
    slice one;
    fa_node_info node;
    int32_t at = 0;
    while (at < info.node_count && fa_model_get_node(s->model, at, &node) == FA_OK && strcmp(node.name, last.name) != 0) at++;
    if (slice_create(inputs, &one) != EXIT_DONE) return NULL;
    slice_move(&one, inputs, 0, 1);
    while (!found && --at >= 0) {
        if (fa_model_get_node(s->model, at, &node) == FA_OK && gives_rows(s, &one, node.name, last.in - last.has_bias)) found = node.name;
    }
    slice_destroy(&one);
    return found;
}
