/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <fattr/npz.h>
#include <stdlib.h>
#include <string.h>

static void say_warning(void *user, int32_t level, const char *message)
{
    (void)user;
    if (level >= FA_LOG_WARNING) fprintf(stderr, "fattr: warning: %s\n", message);
}

static int open_model(session *s, const session_options *o)
{
    fa_model_options options;
    fa_model_options_init(&options, sizeof options);
    options.output = o->output;
    options.precision = o->precision;
    options.packing = o->packing;
    if (fa_model_load_file(s->context, o->model, &options, &s->model) != FA_OK) return say_failure();
    fa_model_info info = {.struct_size = sizeof info};
    if (fa_model_get_info(s->model, &info) != FA_OK) return say_failure();
    s->input_count = info.input_count;
    s->names = calloc((size_t)info.input_count + 1, sizeof *s->names);
    if (!s->names) return say_error("out of memory");
    for (int32_t i = 0; i < info.input_count; i++) {
        fa_value_info input;
        if (fa_model_get_input(s->model, i, &input) != FA_OK) return say_failure();
        s->names[i] = input.name;
    }
    return EXIT_DONE;
}

int session_open(session *s, const session_options *o)
{
    fa_context_options options;
    fa_context_options_init(&options, sizeof options);
    options.threads = o->threads;
    options.log = say_warning;
    if (fa_context_create(&options, &s->context) != FA_OK) return say_failure();
    if (o->model && open_model(s, o) != EXIT_DONE) return EXIT_FAILED;
    if (o->sketch && fa_sketch_load_file(s->context, o->sketch, &s->sketch) != FA_OK) return say_failure();
    fa_sketch_info info = {.struct_size = sizeof info};
    if (o->loss && fa_sketch_get_info(s->sketch, &info) != FA_OK) return say_failure();
    if (o->loss && strcmp(o->loss, fa_loss_name(info.loss)) != 0)
        return say_error("%s was built with --loss %s, not %s", o->sketch, fa_loss_name(info.loss), o->loss);
    if (o->model && o->sketch && fa_sketch_check_model(s->sketch, s->model) != FA_OK)
        return say_error("%s and %s: %s", o->sketch, o->model, fa_error_message());
    return EXIT_DONE;
}

void session_close(session *s)
{
    free(s->names);
    fa_sketch_release(s->sketch);
    fa_model_release(s->model);
    fa_context_release(s->context);
    *s = (session){NULL};
}

int session_inputs(const session *s, const char *path, double scale, fa_refset **out)
{
    return fa_npz_load_refset(s->context, path, scale, s->names, s->input_count, out) == FA_OK ? EXIT_DONE : say_failure();
}

size_t element_size(int32_t dtype)
{
    switch (dtype) {
    case FA_FLOAT64:
    case FA_INT64:
    case FA_UINT64: return 8;
    case FA_FLOAT32:
    case FA_INT32:
    case FA_UINT32: return 4;
    case FA_FLOAT16:
    case FA_BFLOAT16:
    case FA_INT16:
    case FA_UINT16: return 2;
    case FA_UINT8:
    case FA_INT8:
    case FA_BOOL: return 1;
    default: return 0;
    }
}

int slice_create(const fa_refset *set, slice *out)
{
    slice s = {.count = fa_refset_input_count(set)};
    s.array = calloc((size_t)s.count + 1, sizeof *s.array);
    s.shape = calloc((size_t)s.count + 1, sizeof *s.shape);
    if (!s.array || !s.shape) {
        slice_destroy(&s);
        return say_error("out of memory");
    }
    *out = s;
    return EXIT_DONE;
}

void slice_destroy(slice *s)
{
    free(s->array);
    free(s->shape);
    *s = (slice){NULL};
}

void slice_move(slice *s, const fa_refset *set, int64_t first, int64_t n)
{
    for (int32_t i = 0; i < s->count; i++) {
        fa_array *a = &s->array[i];
        fa_refset_get_input(set, i, a); /* cannot fail: `i` is an input of this set */
        size_t row = element_size(a->dtype);
        for (int32_t d = 0; d < a->ndim; d++) {
            s->shape[i][d] = d ? a->shape[d] : n;
            if (d) row *= (size_t)a->shape[d];
        }
        a->shape = s->shape[i];
        if (a->data) a->data = (const char *)a->data + row * (size_t)first;
    }
}

double accuracy(const fa_refset *set, const int64_t *predicted)
{
    int64_t n = fa_refset_count(set), right = 0, label;
    for (int64_t i = 0; i < n; i++) {
        if (fa_refset_get_label(set, i, &label) != FA_OK) return 1;
        if (predicted[i] < 0) return 1; /* the loss knows no class of an input */
        right += label == predicted[i];
    }
    return n ? (double)right / (double)n : 1;
}
