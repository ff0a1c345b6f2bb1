/* SPDX-License-Identifier: Apache-2.0 */
/* Transformers as PyTorch exports them by operator sets 11 to 17 (tests/data/make_exports.py), with every dimension open: they run as PyTorch ran them at each size, and a sketch
 * of one size scores another. */
#include "support.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../data/exports.h"

enum { SETS = EXPORT_LAST - EXPORT_FIRST + 1, MOST = 3 * 24 * 24 * 12 };

static fa_context *context;

static void setup(void)
{
    context = NULL;
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static void make_context(int32_t kernels)
{
    fa_context_options o;
    fa_context_options_init(&o, sizeof o);
    o.kernels = kernels;
    OK(fa_context_create(&o, &context));
}

/* The operator set of the file that stands for one; 0: none. */
static int file_of(const char *name, int opset)
{
    for (int i = 0; i < EXPORT_MODELS; i++)
        if (strcmp(export_models[i].name, name) == 0) return export_models[i].file[opset - EXPORT_FIRST];
    return 0;
}

static fa_model *load(const char *name, int opset)
{
    char path[4096];
    size_t size;
    fa_model *m;
    fa_model_info info = {.struct_size = sizeof info};
    snprintf(path, sizeof path, "%s/tests/data/exports/%s_%d.onnx", FATTR_SOURCE_ROOT, name, file_of(name, opset));
    unsigned char *bytes = read_bytes(path, &size);
    ck_assert_int_eq(bytes[size - 1], file_of(name, opset));
    bytes[size - 1] = (unsigned char)opset;
    bytes[1] = export_format[opset - EXPORT_FIRST];
    OK(fa_model_load_memory(context, bytes, size, NULL, &m));
    free(bytes);
    OK(fa_model_get_info(m, &info));
    ck_assert_int_eq(info.opset, opset);
    return m;
}

/* Inputs as the generator makes them. */
typedef struct inputs {
    int64_t ids[256], mask[256], shape[4];
    float image[MOST];
    fa_array array[2];
    int32_t n;
} inputs;

static void make_inputs(inputs *x, const char *name, const int64_t size[3])
{
    const int64_t n = size[0], t = size[1];
    if (strcmp(name, "vision") == 0) {
        *x = (inputs){.shape = {n, 3, t, size[2]}, .n = 1};
        ck_assert_int_le(n * 3 * t * size[2], MOST);
        for (int64_t i = 0; i < n * 3 * t * size[2]; i++) x->image[i] = (float)(i % 17 - 8) / 8;
        x->array[0] = (fa_array){.data = x->image, .shape = x->shape, .ndim = 4, .dtype = FA_FLOAT32};
        return;
    }
    const bool masked = strcmp(name, "encoder") == 0 || strcmp(name, "bert") == 0 || strcmp(name, "t5") == 0;
    *x = (inputs){.shape = {n, t}, .n = masked ? 2 : 1};
    for (int64_t i = 0; i < n * t; i++) {
        x->ids[i] = (3 * (i / t) + 5 * (i % t) + 2) % EXPORT_WORDS;
        x->mask[i] = i / t % 2 == 0 || i % t + 1 < t || t == 1;
    }
    x->array[0] = (fa_array){.data = x->ids, .shape = x->shape, .ndim = 2, .dtype = FA_INT64, .name = "ids"};
    x->array[1] = (fa_array){.data = x->mask, .shape = x->shape, .ndim = 2, .dtype = FA_INT64, .name = "mask"};
}

static const int32_t kernel_sets[] = {FA_KERNELS_AUTO, FA_KERNELS_REFERENCE};

START_TEST(runs)
{
    static inputs x;
    make_context(kernel_sets[_i / SETS]);
    const int opset = EXPORT_FIRST + _i % SETS;
    for (int k = 0; k < EXPORT_CASES; k++) {
        const struct export_case *e = &export_cases[k];
        if (!file_of(e->name, opset)) continue;
        fa_model *m = load(e->name, opset);
        fa_tensor *t;
        fa_array y;
        make_inputs(&x, e->name, e->size);
        OK(fa_model_run(m, x.array, x.n, NULL, &t));
        OK(fa_tensor_view(t, &y));
        size_t n = 1;
        for (int32_t d = 0; d < y.ndim; d++) n *= (size_t)y.shape[d];
        ck_assert_uint_eq(n, e->n);
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(fabsf(((const float *)y.data)[i] - e->logits[i]) <= 1e-4f * (1 + fabsf(e->logits[i])), "%s, operator set %d, case %d: element %d is %.7g, PyTorch's %.7g", e->name,
                          opset, k, (int)i, (double)((const float *)y.data)[i], (double)e->logits[i]);
        fa_tensor_release(t);
        fa_model_release(m);
    }
}
END_TEST

START_TEST(scores)
{
    static const struct {
        const char *name;
        int32_t loss;
        int64_t references[3], longer[3];
    } known[] = {{"decoder", FA_LOSS_NEXT_TOKEN, {6, 7, 0}, {1, EXPORT_PLACES, 0}},
                 {"encoder", FA_LOSS_MARGIN, {6, 7, 0}, {1, EXPORT_PLACES, 0}},
                 {"vision", FA_LOSS_MARGIN, {6, 12, 8}, {1, 20, 24}},
                 {"gpt2", FA_LOSS_NEXT_TOKEN, {6, 7, 0}, {1, EXPORT_PLACES, 0}},
                 {"bert", FA_LOSS_MARGIN, {6, 7, 0}, {1, EXPORT_PLACES, 0}},
                 {"llama", FA_LOSS_PER_TOKEN, {6, 7, 0}, {1, EXPORT_PLACES, 0}},
                 {"t5", FA_LOSS_CROSS_ENTROPY, {6, 7, 0}, {1, EXPORT_PLACES, 0}}};
    static inputs x;
    make_context(FA_KERNELS_AUTO);
    const int opset = EXPORT_FIRST + _i;
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        if (!file_of(known[k].name, opset)) continue;
        fa_model *m = load(known[k].name, opset);
        fa_refset *set;
        fa_sketch *s;
        fa_scorer *scorer;
        fa_result r;
        fa_sketch_options o;
        fa_scorer_options so;
        fa_sketch_options_init(&o, sizeof o);
        fa_scorer_options_init(&so, sizeof so);
        o.k_in = o.k_out = 6;
        o.loss = known[k].loss;
        make_inputs(&x, known[k].name, known[k].references);
        OK(fa_refset_create(context, x.array, x.n, NULL, &set));
        OK(fa_sketch_build(m, set, NULL, &o, &s));
        OK(fa_scorer_create(s, m, &so, &scorer));
        make_inputs(&x, known[k].name, known[k].longer);
        OK(fa_score(scorer, x.array, x.n, &r));
        ck_assert_msg(isfinite(r.score) && !r.no_signal, "%s", known[k].name);
        x.shape[0] = 1; /* the first reference */
        make_inputs(&x, known[k].name, (const int64_t[]){1, known[k].references[1], known[k].references[2]});
        OK(fa_score(scorer, x.array, x.n, &r));
        ck_assert_float_eq_tol(r.couplings[0], 1, 1e-4f);
        if (!known[k].longer[2] && strcmp(known[k].name, "t5") != 0) { /* one token more than there are places for */
            make_inputs(&x, known[k].name, (const int64_t[]){1, EXPORT_PLACES + 1, 0});
            ck_assert_int_eq(fa_score(scorer, x.array, x.n, &r), FA_ERR_SHAPE);
            ck_assert_msg(strstr(fa_error_message(), "node '") != NULL, "%s", fa_error_message());
        }
        fa_scorer_destroy(scorer);
        fa_sketch_release(s);
        fa_refset_release(set);
        fa_model_release(m);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_loop_test(t, runs, 0, 2 * SETS);
    tcase_add_loop_test(t, scores, 0, SETS);
}

int main(void)
{
    return run_suite("PyTorch exports", add, setup, teardown);
}
