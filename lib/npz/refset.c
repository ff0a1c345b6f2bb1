/* SPDX-License-Identifier: Apache-2.0 */
#include "npz.h"

#include <fattr/refset.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float half_to_float(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    float sign = h & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexpf((float)(mantissa + 1024), exponent - 25) : ldexpf((float)mantissa, -24));
}

static double element_as_double(const fa_array *a, uint64_t i)
{
    switch (a->dtype) {
    case FA_FLOAT32: return ((const float *)a->data)[i];
    case FA_FLOAT64: return ((const double *)a->data)[i];
    case FA_FLOAT16: return (double)half_to_float(((const uint16_t *)a->data)[i]);
    case FA_UINT16: return ((const uint16_t *)a->data)[i];
    case FA_INT16: return ((const int16_t *)a->data)[i];
    case FA_INT8: return ((const int8_t *)a->data)[i];
    case FA_UINT32: return ((const uint32_t *)a->data)[i];
    case FA_INT32: return ((const int32_t *)a->data)[i];
    case FA_UINT64: return (double)((const uint64_t *)a->data)[i];
    case FA_INT64: return (double)((const int64_t *)a->data)[i];
    default: return ((const uint8_t *)a->data)[i]; /* FA_UINT8, FA_BOOL */
    }
}

static uint64_t element_count(const fa_array *a)
{
    uint64_t n = 1; /* the elements are in memory, so this cannot overflow */
    for (int32_t d = 0; d < a->ndim; d++) n *= (uint64_t)a->shape[d];
    return n;
}

/* The array times `scale` as float32; `a` then points to the copy, which the caller frees. */
static fa_status scaled(fa_array *a, double scale, float **copy)
{
    uint64_t n = element_count(a);
    float *p = calloc(n ? n : 1, sizeof *p);
    if (!p) return npz_fail(FA_ERR_MEMORY, "out of memory: array '%s' as float32", a->name);
    for (uint64_t i = 0; i < n; i++) p[i] = (float)(element_as_double(a, i) * scale);
    a->data = p;
    a->dtype = FA_FLOAT32;
    *copy = p;
    return FA_OK;
}

static fa_status integer_at(const fa_array *a, uint64_t i, int64_t *out)
{
    switch (a->dtype) {
    case FA_INT64: *out = ((const int64_t *)a->data)[i]; return FA_OK;
    case FA_UINT64:
        if (((const uint64_t *)a->data)[i] > INT64_MAX)
            return npz_fail(FA_ERR_DTYPE, "array '%s': element %llu does not fit int64", a->name, (unsigned long long)i);
        *out = (int64_t)((const uint64_t *)a->data)[i];
        return FA_OK;
    case FA_FLOAT16:
    case FA_FLOAT32:
    case FA_FLOAT64: return npz_fail(FA_ERR_DTYPE, "array '%s' holds reals, integers are wanted", a->name);
    default: *out = (int64_t)element_as_double(a, i); return FA_OK;
    }
}

/* `y` or `id`, when the file has it and it is no input of the model: one integer per input. */
static fa_status integers(const fa_npz *npz, const char *name, const fa_array *inputs, int32_t input_count, int64_t **out)
{
    fa_array a;
    int32_t i = 0;
    for (int32_t k = 0; k < input_count; k++) {
        if (inputs[k].name && strcmp(inputs[k].name, name) == 0 && input_count > 1) return FA_OK;
    }
    while (i < npz->count && strcmp(npz->array[i].name, name) != 0) i++;
    if (i == npz->count) return FA_OK;
    fa_status status = fa_npz_get(npz, i, &a);
    if (status != FA_OK) return status;
    int64_t n = inputs[0].shape[0];
    if (a.ndim != 1 || a.shape[0] != n) {
        char found[32] = "";
        if (a.ndim == 1) snprintf(found, sizeof found, " of %lld", (long long)a.shape[0]);
        return npz_fail(FA_ERR_SHAPE, "array '%s': %d dimension%s%s, [%lld] is wanted", name, (int)a.ndim, a.ndim == 1 ? "" : "s", found, (long long)n);
    }
    int64_t *p = malloc(n ? (size_t)n * sizeof *p : 1);
    if (!p) return npz_fail(FA_ERR_MEMORY, "out of memory: array '%s' as int64", name);
    for (int64_t k = 0; k < n && status == FA_OK; k++) status = integer_at(&a, (uint64_t)k, &p[k]);
    if (status != FA_OK) {
        free(p);
        return status;
    }
    *out = p;
    return FA_OK;
}

static fa_status find_input(const fa_npz *npz, const char *const *names, int32_t name_count, int32_t i, fa_array *out)
{
    /* With one input, "x" comes first: the file may call its labels as the model calls its input. */
    if (name_count == 1 && fa_npz_find(npz, "x", out) == FA_OK) return FA_OK;
    for (int32_t k = 0; name_count == 1 && k < npz->count; k++) {
        if (strcmp(npz->array[k].name, names[0]) == 0) return fa_npz_get(npz, k, out);
    }
    return fa_npz_find(npz, name_count == 1 ? "x" : names[i], out);
}

/* Target and mask, where the file has them and they are no inputs of the model; returns how many arrays there are then. */
static fa_status find_asides(const fa_npz *npz, const char *const *names, int32_t name_count, fa_array *inputs, int32_t *count)
{
    static const char *const asides[] = {FA_ARRAY_TARGET, FA_ARRAY_MASK};
    for (int k = 0; k < 2; k++) {
        bool taken = false;
        for (int32_t i = 0; i < name_count; i++) taken = taken || strcmp(names[i], asides[k]) == 0;
        for (int32_t i = 0; i < npz->count && !taken; i++) {
            if (strcmp(npz->array[i].name, asides[k]) != 0) continue;
            fa_status status = fa_npz_get(npz, i, &inputs[*count]);
            if (status != FA_OK) return status;
            (*count)++;
        }
    }
    return FA_OK;
}

static fa_status make(fa_context *context, const fa_npz *npz, double scale, const char *const *names, int32_t name_count, fa_array *inputs, float **copies, fa_refset **out)
{
    fa_status status = FA_OK;
    int64_t *labels = NULL, *ids = NULL;
    int32_t count = name_count;
    for (int32_t i = 0; i < name_count; i++) {
        if ((status = find_input(npz, names, name_count, i, &inputs[i])) != FA_OK) return status;
        if (inputs[i].ndim < 1) return npz_fail(FA_ERR_SHAPE, "array '%s' has no dimensions, [n, ...] is wanted", inputs[i].name);
        if (scale != 1.0 && (status = scaled(&inputs[i], scale, &copies[i])) != FA_OK) return status;
    }
    status = integers(npz, "y", inputs, name_count, &labels);
    if (status == FA_OK) status = integers(npz, "id", inputs, name_count, &ids);
    if (name_count == 1) inputs[0].name = NULL; /* by position, whatever the file calls it */
    if (status == FA_OK) status = find_asides(npz, names, name_count, inputs, &count);
    if (status == FA_OK) {
        fa_refset_options options;
        fa_refset_options_init(&options, sizeof options);
        options.labels = labels;
        options.ids = ids;
        status = fa_refset_create(context, inputs, count, &options, out);
    }
    free(labels);
    free(ids);
    return status;
}

fa_status fa_npz_load_refset(fa_context *context, const char *path, double scale, const char *const *names, int32_t name_count, fa_refset **out)
{
    if (!context || !path || !names || !out)
        return npz_fail(FA_ERR_ARGUMENT, "%s is NULL", !context ? "context" : !path ? "path" : !names ? "names" : "out");
    if (name_count < 1 || name_count > NPZ_MAX_ARRAYS) return npz_fail(FA_ERR_ARGUMENT, "%d input names", (int)name_count);
    for (int32_t i = 0; i < name_count; i++) {
        if (!names[i]) return npz_fail(FA_ERR_ARGUMENT, "names[%d] is NULL", (int)i);
    }
    if (!isfinite(scale)) return npz_fail(FA_ERR_ARGUMENT, "scale is not finite");
    fa_npz *npz;
    fa_status status = fa_npz_load_file(path, &npz);
    if (status != FA_OK) return status;
    fa_array *inputs = calloc((size_t)name_count + 2, sizeof *inputs);
    float **copies = calloc((size_t)name_count, sizeof *copies);
    if (!inputs || !copies) status = npz_fail(FA_ERR_MEMORY, "out of memory: %d inputs", (int)name_count);
    else status = make(context, npz, scale, names, name_count, inputs, copies, out);
    for (int32_t i = 0; copies && i < name_count; i++) free(copies[i]);
    free(copies);
    free(inputs);
    fa_npz_release(npz);
    return status == FA_OK ? FA_OK : npz_fail_at(status, path);
}
