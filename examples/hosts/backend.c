/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host whose network libfattr never sees as ONNX: mlp.c has its forward and backward. backend MLP.onnx
 * To show that it makes no difference, the weights are those of an ONNX file, and every score is compared with the one by way of the file.
 */
#include "mlp.h"

#include <fattr/fattr.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIXELS 784
#define REFERENCES 48
#define CALIBRATION 24
#define SCORED 16
#define ALL (REFERENCES + CALIBRATION + SCORED)

#define NEED(call)                                                                                                                                       \
    do {                                                                                                                                                 \
        if ((call) != FA_OK) {                                                                                                                           \
            fprintf(stderr, "%s\n", fa_error_message());                                                                                                 \
            exit(1);                                                                                                                                     \
        }                                                                                                                                                \
    } while (0)

/* Blobs at pseudo-random places: any inputs will do here. */
static void make_pictures(float *x)
{
    uint32_t state = 12345;
    for (int i = 0; i < ALL; i++)
        for (int blob = 0; blob < 3; blob++) {
            state = state * 1664525u + 1013904223u;
            const double row = (state >> 8) % 28, column = (state >> 16) % 28, width = 4 + (state >> 24) % 40;
            for (int p = 0; p < PIXELS; p++) {
                const double dy = p / 28 - row, dx = p % 28 - column;
                x[i * PIXELS + p] += (float)exp(-(dy * dy + dx * dx) / width) / 3;
            }
        }
}

/* An initialiser of the file, as fa_model_run() returns it. */
static void copy_weight(const fa_model *file, const fa_array *any_input, const char *name, float *to, int64_t count)
{
    fa_tensor *tensor;
    fa_array view;
    NEED(fa_model_run(file, any_input, 1, name, &tensor));
    NEED(fa_tensor_view(tensor, &view));
    int64_t have = 1;
    for (int32_t d = 0; d < view.ndim; d++) have *= view.shape[d];
    if (have != count) exit(1);
    memcpy(to, view.data, (size_t)count * sizeof *to);
    fa_tensor_release(tensor);
}

/* Builds a sketch, calibrates it and scores, whatever the model is made from. */
static void score(fa_context *context, fa_model *model, const float *x, int32_t ndim, const int64_t *shape, const fa_trace_options *trace, fa_result *results)
{
    int64_t dim[3][4];
    const int64_t count[] = {REFERENCES, CALIBRATION, SCORED}, first[] = {0, REFERENCES, REFERENCES + CALIBRATION};
    fa_array part[3];
    for (int i = 0; i < 3; i++) {
        memcpy(dim[i], shape, (size_t)ndim * sizeof *shape);
        dim[i][0] = count[i];
        part[i] = (fa_array){x + first[i] * PIXELS, dim[i], ndim, FA_FLOAT32, NULL};
    }
    fa_refset *references, *calibration;
    fa_sketch *sketch;
    fa_scorer *scorer;
    fa_sketch_options o;
    fa_scorer_options s;
    fa_sketch_options_init(&o, sizeof o);
    fa_scorer_options_init(&s, sizeof s);
    o.trace = trace;
    s.max_batch = SCORED;
    NEED(fa_refset_create(context, &part[0], 1, NULL, &references));
    NEED(fa_refset_create(context, &part[1], 1, NULL, &calibration));
    NEED(fa_sketch_build(model, references, calibration, &o, &sketch));
    NEED(fa_scorer_create(sketch, model, &s, &scorer));
    NEED(fa_score_batch(scorer, &part[2], 1, results, SCORED));
    fa_scorer_destroy(scorer); /* couplings and weights in `results` are gone with it */
    fa_sketch_release(sketch);
    fa_refset_release(calibration);
    fa_refset_release(references);
}

static double compare(const char *what, const fa_result *a, const fa_result *b)
{
    double most = 0;
    for (int i = 0; i < SCORED; i++) {
        if (a[i].predicted != b[i].predicted) exit(1);
        most = fmax(most, fabs(a[i].score - b[i].score));
    }
    printf("%s: %d scores between %.3f and %.3f, at most %.1e from those by way of ONNX\n", what, SCORED, a[0].score, a[SCORED - 1].score, most);
    return most;
}

int main(int argc, char **argv)
{
    static float x[ALL * PIXELS];
    const int64_t size[] = {PIXELS, 128, 64, 10}, flat[] = {0, PIXELS}, picture[] = {0, 1, 28, 28}, one[] = {1, 1, 28, 28};
    const char *const weight[] = {"1.weight", "3.weight", "5.weight"}, *const bias[] = {"1.bias", "3.bias", "5.bias"};
    fa_context *context;
    fa_model *file, *model;
    fa_backend backend;
    fa_result by_file[SCORED], by_host[SCORED];
    mlp net;

    if (argc != 2) return 2;
    make_pictures(x);
    NEED(fa_context_create(NULL, &context));
    NEED(fa_model_load_file(context, argv[1], NULL, &file));
    if (!mlp_init(&net, 3, size)) return 1;
    const fa_array any = {x, one, 4, FA_FLOAT32, NULL};
    for (int32_t l = 0; l < 3; l++) {
        copy_weight(file, &any, weight[l], mlp_weight(&net, l), size[l] * size[l + 1]);
        copy_weight(file, &any, bias[l], mlp_bias(&net, l), size[l + 1]);
    }
    mlp_backend(&net, &backend);
    NEED(fa_model_from_backend(context, &backend, &model));

    score(context, model, x, 2, flat, NULL, by_host);
    score(context, file, x, 4, picture, NULL, by_file);
    double most = compare("gradients", by_host, by_file);

    fa_trace_options trace; /* draws of the weights, by a chain that follows mean gradients */
    fa_trace_options_init(&trace, sizeof trace);
    trace.sampler = FA_SAMPLER_RMSPROP_SGLD;
    trace.storage = FA_DRAWS_F32;
    trace.draws = 20;
    trace.burn_in = 10;
    trace.minibatch = 32;
    trace.step_size = 1e-5; /* far enough for losses to move by much more than their rounding */
    score(context, model, x, 2, flat, &trace, by_host);
    score(context, file, x, 4, picture, &trace, by_file);
    most = fmax(most, compare("traces", by_host, by_file));

    fa_model_release(model);
    fa_model_release(file);
    fa_context_release(context);
    mlp_end(&net);
    return most > 1e-5;
}
