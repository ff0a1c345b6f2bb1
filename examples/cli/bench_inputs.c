/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int make(const fa_value_info *value, uint64_t *seed, fa_array *out)
{
    int64_t count = 1, *shape = malloc(FA_MAX_DIMS * sizeof *shape);
    /* Reals, whatever the type of a real input; integers are all one, which is an index into anything. */
    bool real = value->dtype == FA_FLOAT32 || value->dtype == FA_FLOAT64 || value->dtype == FA_FLOAT16 || value->dtype == FA_BFLOAT16;
    size_t size = real ? sizeof(float) : sizeof(int64_t);
    out->shape = shape;
    if (!shape) return say_error("out of memory");
    memcpy(shape, value->shape, sizeof value->shape);
    for (int32_t d = 0; d < value->ndim; d++) {
        if (__builtin_mul_overflow(count, shape[d], &count) || count > INT64_MAX / 8) return say_error("input '%s' is too large", value->name);
    }
    void *data = malloc(count ? (size_t)count * size : 1);
    if (!data) return say_error("out of memory");
    for (int64_t i = 0; i < count; i++) {
        if (real) ((float *)data)[i] = 0.05f + 0.95f * (float)(next(seed) >> 40) / (float)(1 << 24);
        else ((int64_t *)data)[i] = 1;
    }
    out->data = data;
    out->ndim = value->ndim;
    out->dtype = real ? FA_FLOAT32 : FA_INT64;
    return EXIT_DONE;
}

int bench_inputs_create(const session *s, int64_t batch, const int64_t *shape, int32_t ndim, uint64_t seed, bench_inputs *out)
{
    bench_inputs b = {calloc((size_t)s->input_count + 1, sizeof *b.array), s->input_count};
    int code = b.array ? EXIT_DONE : say_error("out of memory");
    for (int32_t i = 0; i < s->input_count && code == EXIT_DONE; i++) {
        fa_value_info v;
        if (fa_model_get_input(s->model, i, &v) != FA_OK) code = say_failure();
        if (code == EXIT_DONE && shape && i == 0) {
            v.ndim = ndim + 1;
            memcpy(v.shape + 1, shape, (size_t)ndim * sizeof *shape);
        }
        if (code == EXIT_DONE && v.ndim < 1) code = say_error("the model does not say what shape input '%s' has: give it with --shape", v.name);
        if (code != EXIT_DONE) break;
        v.shape[0] = batch;
        for (int32_t d = 1; d < v.ndim; d++) {
            if (v.shape[d] < 0) v.shape[d] = 1;
        }
        code = make(&v, &seed, &b.array[i]);
    }
    if (code == EXIT_DONE) *out = b;
    else bench_inputs_destroy(&b);
    return code;
}

void bench_inputs_destroy(bench_inputs *inputs)
{
    for (int32_t i = 0; inputs->array && i < inputs->count; i++) {
        free((void *)(uintptr_t)inputs->array[i].data);
        free((void *)(uintptr_t)inputs->array[i].shape);
    }
    free(inputs->array);
    *inputs = (bench_inputs){NULL, 0};
}

int bench_forward_flops(const session *s, const bench_inputs *inputs, int64_t batch, double *out)
{
    fa_model_info info = {.struct_size = sizeof info};
    if (fa_model_get_info(s->model, &info) != FA_OK) return say_failure();
    double flops = 0;
    for (int32_t i = 0; i < info.layer_count; i++) {
        fa_layer_info layer;
        fa_tensor *tensor = NULL;
        fa_array view;
        if (fa_model_get_layer(s->model, i, &layer) != FA_OK || fa_model_run(s->model, inputs->array, inputs->count, layer.name, &tensor) != FA_OK)
            return say_failure();
        double elements = fa_tensor_view(tensor, &view) == FA_OK ? 1 : 0;
        for (int32_t d = 0; d < view.ndim; d++) elements *= (double)view.shape[d];
        fa_tensor_release(tensor);
        flops += 2 * elements * (double)(layer.in - layer.has_bias) + (layer.has_bias ? elements : 0);
    }
    *out = flops / (double)batch;
    return EXIT_DONE;
}
