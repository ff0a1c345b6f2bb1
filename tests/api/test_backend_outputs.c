/* SPDX-License-Identifier: Apache-2.0 */
/* A host's network with an output at every token or pixel, of sizes that follow from the input's: couplings against gradients by finite differences, and hosts that lie about sizes. */
#include "support.h"

#include <fattr/backend.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Tokens [n, t] of V words; at each the mean of the features of all tokens up to there; fc0 [H, F], tanh, fc1 [V, H]. */
enum { F = 4, H = 5, V = 6, FC0 = H * (F + 1), WEIGHTS = FC0 + V * (H + 1), N_REF = 12, N_CAL = 20, N = 4, LONGEST = 9 };

typedef struct writer {
    float weights[WEIGHTS]; /* fc0.weight, fc0.bias, fc1.weight, fc1.bias */
    bool pixels;            /* output [n, V, 1, t] in place of [n, t, V] */
    long calls, fail_at, open;
    int64_t says[4];        /* added to the shape that output_shape gives */
    fa_value_info input, output;
    fa_backend_layer layer[2];
    fa_backend_parameter parameter[4];
} writer;

typedef struct writer_pass {
    float weights[WEIGHTS], *x, *hidden, *d0, *d1;
    int64_t t;
} writer_pass;

static void features(const int64_t *tokens, int64_t at, double *out)
{
    for (int k = 0; k < F; k++) {
        out[k] = 0;
        for (int64_t q = 0; q <= at; q++) out[k] += sin((double)(tokens[q] * 7 + k * 3) + 1) * 2 / (double)(at + 1);
    }
}

/* Hidden units and logits behind one token. */
static void run_token(const double *w, const double *f, double *hidden, double *z)
{
    for (int o = 0; o < H; o++) {
        hidden[o] = w[H * F + o];
        for (int k = 0; k < F; k++) hidden[o] += w[o * F + k] * f[k];
        hidden[o] = tanh(hidden[o]);
    }
    for (int o = 0; o < V; o++) {
        z[o] = w[FC0 + V * H + o];
        for (int k = 0; k < H; k++) z[o] += w[FC0 + o * H + k] * hidden[k];
    }
}

static bool fails(writer *w)
{
    return w->calls++ == w->fail_at;
}

static fa_status output_shape(void *user, const fa_backend_request *request, int64_t *shape)
{
    writer *w = user;
    if (fails(w)) return fa_error_set(FA_ERR_IO, "cut off");
    if (request->struct_size < sizeof *request || request->inputs->shape[0] != request->batch || shape[0] != request->batch) return FA_ERR_INTERNAL;
    shape[w->pixels ? 3 : 1] = request->inputs->shape[1];
    for (int32_t d = 0; d < w->output.ndim; d++) shape[d] += w->says[d];
    return FA_OK;
}

static void destroy_pass(void *user, void *pass)
{
    writer_pass *p = pass;
    ((writer *)user)->open--;
    free(p->x);
    free(p->hidden);
    free(p->d0);
    free(p->d1);
    free(p);
}

static fa_status create_pass(void *user, const fa_backend_request *request, fa_backend_geometry *geometry, void **pass)
{
    writer *w = user;
    if (fails(w)) return fa_error_set(FA_ERR_IO, "cut off");
    writer_pass *p = calloc(1, sizeof *p);
    p->t = request->inputs->shape[1];
    for (int l = 0; l < 2; l++) geometry[l].h = geometry[l].oh = p->t;
    const size_t positions = (size_t)(request->batch * p->t);
    p->x = calloc(positions * F, sizeof(float));
    p->hidden = calloc(positions * H, sizeof(float));
    p->d0 = calloc(positions * H, sizeof(float));
    p->d1 = calloc(positions * V, sizeof(float));
    memcpy(p->weights, w->weights, sizeof p->weights);
    w->open++;
    *pass = p;
    return FA_OK;
}

/* Where logit k at token at of input i lies. */
static int64_t place(const writer *w, int64_t t, int64_t i, int64_t at, int64_t k)
{
    return i * t * V + (w->pixels ? k * t + at : at * V + k);
}

static fa_status forward(void *user, void *pass, const void *const *inputs, int64_t n, float *logits)
{
    writer *w = user;
    writer_pass *p = pass;
    double weights[WEIGHTS], f[F], hidden[H], z[V];
    if (fails(w)) return fa_error_set(FA_ERR_IO, "cut off");
    for (int i = 0; i < WEIGHTS; i++) weights[i] = (double)p->weights[i];
    for (int64_t i = 0; i < n * p->t; i++) {
        features((const int64_t *)inputs[0] + i / p->t * p->t, i % p->t, f);
        run_token(weights, f, hidden, z);
        for (int k = 0; k < F; k++) p->x[i * F + k] = (float)f[k];
        for (int k = 0; k < H; k++) p->hidden[i * H + k] = (float)hidden[k];
        for (int k = 0; k < V; k++) logits[place(w, p->t, i / p->t, i % p->t, k)] = (float)z[k];
    }
    return FA_OK;
}

static void backward(const writer *w, writer_pass *p, const float *at_logits, int64_t n)
{
    for (int64_t i = 0; i < n * p->t; i++) {
        for (int k = 0; k < V; k++) p->d1[i * V + k] = at_logits[place(w, p->t, i / p->t, i % p->t, k)];
        for (int h = 0; h < H; h++) {
            float sum = 0;
            for (int k = 0; k < V; k++) sum += p->weights[FC0 + k * H + h] * p->d1[i * V + k];
            p->d0[i * H + h] = sum * (1 - p->hidden[i * H + h] * p->hidden[i * H + h]);
        }
    }
}

static fa_status taps(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *tap)
{
    writer_pass *p = pass;
    if (fails(user)) return fa_error_set(FA_ERR_IO, "cut off");
    backward(user, p, at_logits, n);
    tap[0] = (fa_backend_tap){p->x, p->d0};
    tap[1] = (fa_backend_tap){p->hidden, p->d1};
    return FA_OK;
}

static fa_status weight_gradient(void *user, void *pass, const float *at_logits, int64_t n, float *gradient)
{
    writer_pass *p = pass;
    if (fails(user)) return fa_error_set(FA_ERR_IO, "cut off");
    backward(user, p, at_logits, n);
    for (int64_t i = 0; i < n * p->t; i++) {
        for (int o = 0; o < H; o++) {
            for (int k = 0; k < F; k++) gradient[o * F + k] += p->d0[i * H + o] * p->x[i * F + k];
            gradient[H * F + o] += p->d0[i * H + o];
        }
        for (int o = 0; o < V; o++) {
            for (int k = 0; k < H; k++) gradient[FC0 + o * H + k] += p->d1[i * V + o] * p->hidden[i * H + k];
            gradient[FC0 + V * H + o] += p->d1[i * V + o];
        }
    }
    return FA_OK;
}

static fa_status set_weights(void *user, void *pass, const float *weights)
{
    (void)user;
    memcpy(((writer_pass *)pass)->weights, weights, WEIGHTS * sizeof *weights);
    return FA_OK;
}

static fa_backend table(writer *w, bool pixels)
{
    *w = (writer){.pixels = pixels, .fail_at = -1, .input = {"tokens", FA_INT64, 2, {-1, -1}}, .output = {"words", FA_FLOAT32, 3, {-1, -1, V}}};
    if (pixels) w->output = (fa_value_info){"words", FA_FLOAT32, 4, {-1, V, 1, -1}};
    for (int i = 0; i < WEIGHTS; i++) w->weights[i] = sinf((float)(i * i + i) * 1.7f) * 0.9f;
    w->layer[0] = (fa_backend_layer){.name = "fc0", .in = F, .out = H, .groups = 1, .kernel_h = 1, .kernel_w = 1, .has_bias = 1};
    w->layer[1] = (fa_backend_layer){.name = "fc1", .in = H, .out = V, .groups = 1, .kernel_h = 1, .kernel_w = 1, .has_bias = 1};
    w->parameter[0] = (fa_backend_parameter){"fc0.weight", H, H * F, w->weights};
    w->parameter[1] = (fa_backend_parameter){"fc0.bias", 1, H, w->weights + H * F};
    w->parameter[2] = (fa_backend_parameter){"fc1.weight", V, V * H, w->weights + FC0};
    w->parameter[3] = (fa_backend_parameter){"fc1.bias", 1, V, w->weights + FC0 + V * H};
    return (fa_backend){.struct_size = sizeof(fa_backend), .abi = FA_BACKEND_ABI, .input_count = 1, .layer_count = 2, .parameter_count = 4, .name = "writer", .user = w,
                        .inputs = &w->input, .layers = w->layer, .parameters = w->parameter, .create_pass = create_pass, .destroy_pass = destroy_pass, .forward = forward, .taps = taps,
                        .weight_gradient = weight_gradient, .set_weights = set_weights, .output = &w->output, .output_shape = output_shape};
}

static fa_context *context;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* Sentences and what their tokens count, [n, t]. */
typedef struct text {
    int64_t x[N_CAL * LONGEST], shape[2];
    float mask[N_CAL * LONGEST];
    fa_array part[2];
} text;

static void write_text(text *s, int64_t n, int64_t t, uint64_t seed)
{
    for (int64_t i = 0; i < n * t; i++) {
        s->x[i] = (int64_t)((seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33) % V;
        s->mask[i] = i % t < 2 ? 0 : (float)(1 + i % 3);
    }
    s->shape[0] = n;
    s->shape[1] = t;
    s->part[0] = (fa_array){s->x, s->shape, 2, FA_INT64, NULL};
    s->part[1] = (fa_array){s->mask, s->shape, 2, FA_FLOAT32, FA_ARRAY_MASK};
}

static fa_refset *set_of(int64_t n, int64_t t, uint64_t seed)
{
    text s;
    fa_refset *set;
    write_text(&s, n, t, seed);
    OK(fa_refset_create(context, s.part, 2, NULL, &set));
    return set;
}

static fa_status build(const fa_backend *b, int32_t loss, const fa_trace_options *trace, fa_model **model, fa_sketch **sketch)
{
    fa_refset *references = set_of(N_REF, 7, 3), *calibration = set_of(N_CAL, 7, 4);
    fa_sketch_options o;
    fa_sketch_options_init(&o, sizeof o);
    o.loss = loss;
    o.k_in = o.k_out = 256;
    o.beta = 0;
    o.blocks = FA_BLOCKS_PLAIN;
    o.batch = 5;
    o.trace = trace;
    *model = NULL;
    fa_status s = fa_model_from_backend(context, b, model);
    if (s == FA_OK) s = fa_sketch_build(*model, references, calibration, &o, sketch);
    fa_refset_release(references);
    fa_refset_release(calibration);
    return s;
}

/* Weighted sum of the margins of one sentence; the class at each token is its own, or the next token. */
static double loss_of(const double *w, const int64_t *tokens, const float *mask, int64_t t, bool next, const double *fixed)
{
    double sum = 0;
    for (int64_t at = 0; at + next < t; at++) {
        double f[F], hidden[H], z[V], own[V], others = 0;
        features(tokens, at, f);
        run_token(fixed, f, hidden, own);
        run_token(w, f, hidden, z);
        int64_t y = next ? tokens[at + 1] : 0;
        for (int k = 1; k < V && !next; k++)
            if (own[k] > own[y]) y = k;
        for (int k = 0; k < V; k++) others += k == y ? 0 : z[k] / (V - 1);
        sum += (double)mask[at + next] * (others - z[y]);
    }
    return sum;
}

static void gradient_of(const writer *w, const text *s, int64_t i, bool next, double *gradient)
{
    double at[WEIGHTS], moved[WEIGHTS], square = 0;
    const int64_t t = s->shape[1];
    for (int k = 0; k < WEIGHTS; k++) at[k] = (double)w->weights[k];
    for (int k = 0; k < WEIGHTS; k++) {
        double side[2];
        for (int sign = 0; sign < 2; sign++) {
            memcpy(moved, at, sizeof at);
            moved[k] += sign ? 1e-5 : -1e-5;
            side[sign] = loss_of(moved, s->x + i * t, s->mask + i * t, t, next, at);
        }
        gradient[k] = side[1] - side[0];
        square += gradient[k] * gradient[k];
    }
    for (int k = 0; k < WEIGHTS; k++) gradient[k] /= sqrt(square);
}

START_TEST(couplings_are_cosines_of_gradients)
{
    static const struct {
        int32_t loss;
        bool pixels;
    } cases[] = {{FA_LOSS_PER_TOKEN, false}, {FA_LOSS_NEXT_TOKEN, false}, {FA_LOSS_PER_PIXEL, true}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const bool next = cases[c].loss == FA_LOSS_NEXT_TOKEN;
        writer w;
        fa_backend b = table(&w, cases[c].pixels);
        fa_model *model;
        fa_sketch *sketch;
        fa_scorer *scorer;
        fa_scorer_options o;
        fa_scorer_options_init(&o, sizeof o);
        o.signatures = FA_SIGNATURES_F32;
        o.max_batch = N + 1;
        OK(build(&b, cases[c].loss, NULL, &model, &sketch));
        OK(fa_scorer_create(sketch, model, &o, &scorer));
        text refs, s;
        write_text(&refs, N_REF, 7, 3);
        double spread = 0;
        for (int64_t t = 3; t <= LONGEST; t += 3) { /* not the references' size */
            fa_result r[N];
            write_text(&s, N, t, (uint64_t)t);
            OK(fa_score_batch(scorer, s.part, 2, r, N));
            for (int i = 0; i < N; i++) {
                double one[WEIGHTS], other[WEIGHTS];
                gradient_of(&w, &s, i, next, one);
                for (int k = 0; k < N_REF; k++) {
                    double cosine = 0;
                    gradient_of(&w, &refs, k, next, other);
                    for (int e = 0; e < WEIGHTS; e++) cosine += one[e] * other[e];
                    ck_assert_double_eq_tol((double)r[i].couplings[k], cosine, 2e-5);
                    spread = fmax(spread, fabs(cosine));
                }
                ck_assert(r[i].predicted == -1 && r[i].confidence > 0 && r[i].confidence < 1);
            }
        }
        ck_assert(spread > 0.3);
        FAILS(fa_score(scorer, (fa_array[]){s.part[0], {s.mask, refs.shape, 2, FA_FLOAT32, FA_ARRAY_MASK}}, 2, &(fa_result){0}), FA_ERR_SHAPE, "");
        fa_scorer_destroy(scorer);
        fa_sketch_release(sketch);
        fa_model_release(model);
        ck_assert_int_eq(w.open, 0);
    }
}
END_TEST

START_TEST(shapes_and_words)
{
    writer w;
    fa_backend b = table(&w, false);
    fa_model *model;
    fa_sketch *sketch;
    fa_value_info out;
    fa_tensor *run, *tokens, *mask;
    fa_array view;
    text s;
    write_text(&s, N, 5, 9);
    OK(build(&b, FA_LOSS_NEXT_TOKEN, NULL, &model, &sketch));
    OK(fa_model_get_output(model, 0, &out));
    ck_assert(!strcmp(out.name, "words") && out.ndim == 3 && out.shape[0] == -1 && out.shape[1] == -1 && out.shape[2] == V);
    OK(fa_model_run(model, s.part, 1, NULL, &run));
    OK(fa_tensor_view(run, &view));
    ck_assert(view.ndim == 3 && view.shape[0] == N && view.shape[1] == 5 && view.shape[2] == V);
    fa_tensor_release(run);
    /* Its own continuation: every token is the largest logit behind the ones before it. */
    fa_generate_options g;
    fa_generate_options_init(&g, sizeof g);
    g.tokens = 3;
    OK(fa_model_generate(model, s.part, &g, &tokens, &mask));
    OK(fa_tensor_view(tokens, &view));
    ck_assert(view.shape[0] == N && view.shape[1] == 8);
    double weights[WEIGHTS], f[F], hidden[H], z[V];
    for (int k = 0; k < WEIGHTS; k++) weights[k] = (double)w.weights[k];
    for (int64_t i = 0; i < N; i++)
        for (int64_t at = 5; at < 8; at++) {
            const int64_t *row = (const int64_t *)view.data + i * 8;
            int64_t best = 0;
            features(row, at - 1, f);
            run_token(weights, f, hidden, z);
            for (int k = 1; k < V; k++)
                if (z[k] > z[best]) best = k;
            ck_assert_int_eq(row[at], best);
        }
    fa_tensor_release(tokens);
    fa_tensor_release(mask);
    /* Token by token: the mean of their losses is the sequence's. */
    fa_scorer *scorer;
    fa_result r;
    fa_token token[5];
    int64_t count;
    OK(fa_scorer_create(sketch, model, NULL, &scorer));
    s.shape[0] = 1;
    for (int i = 0; i < 5; i++) s.mask[i] = i > 1;
    OK(fa_score(scorer, s.part, 2, &r));
    OK(fa_score_tokens(scorer, s.part, 2, 5, token, NULL, NULL, &count));
    ck_assert_int_eq(count, 3);
    ck_assert_double_eq_tol(exp(-(token[0].loss + token[1].loss + token[2].loss) / 3), r.confidence, 1e-6);
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_model_release(model);
}
END_TEST

START_TEST(traces_follow_a_host)
{
    for (int32_t loss = FA_LOSS_NEXT_TOKEN; loss <= FA_LOSS_EMBEDDING; loss++) {
        writer w;
        fa_backend b = table(&w, loss == FA_LOSS_PER_PIXEL);
        fa_trace_options trace;
        fa_trace_options_init(&trace, sizeof trace);
        trace.sampler = FA_SAMPLER_SGLD;
        trace.draws = 4;
        trace.burn_in = 2;
        trace.minibatch = 5;
        fa_model *model;
        fa_sketch *sketch;
        fa_scorer *scorer;
        fa_result r;
        text s;
        float losses[N_REF * 4];
        if (loss >= FA_LOSS_MULTI_LABEL) { /* of the size that the masks have */
            b.output = &(fa_value_info){NULL, FA_FLOAT32, 3, {-1, 7, V}};
            b.output_shape = NULL;
            fa_refset *references;
            fa_sketch_options o;
            fa_sketch_options_init(&o, sizeof o);
            o.loss = loss;
            o.trace = &trace;
            write_text(&s, N_REF, 7, 3);
            OK(fa_refset_create(context, s.part, 1, NULL, &references));
            OK(fa_model_from_backend(context, &b, &model));
            OK(fa_sketch_build(model, references, NULL, &o, &sketch));
            fa_refset_release(references);
        } else OK(build(&b, loss, &trace, &model, &sketch));
        OK(fa_sketch_get_traces(sketch, losses));
        double spread = 0;
        for (int i = 0; i < N_REF * 4; i++) {
            ck_assert(losses[i] >= 0 && isfinite(losses[i]));
            spread = fmax(spread, fabs((double)(losses[i] - losses[0])));
        }
        ck_assert(spread > 0);
        OK(fa_scorer_create(sketch, model, NULL, &scorer));
        write_text(&s, N_REF, 7, 3);
        s.shape[0] = 1;
        OK(fa_score(scorer, s.part, loss < FA_LOSS_MULTI_LABEL ? 2 : 1, &r)); /* the first reference */
        ck_assert_double_eq_tol((double)r.couplings[0], 1, 1e-4);
        fa_scorer_destroy(scorer);
        fa_sketch_release(sketch);
        fa_model_release(model);
        ck_assert_int_eq(w.open, 0);
    }
}
END_TEST

#define REFUSED(change, text)                                                                                                                            \
    do {                                                                                                                                                 \
        fa_backend b = table(&w, false);                                                                                                                 \
        fa_model *none = NULL;                                                                                                                           \
        change;                                                                                                                                          \
        FAILS(fa_model_from_backend(context, &b, &none), FA_ERR_ARGUMENT, text);                                                                         \
        ck_assert_ptr_null(none);                                                                                                                        \
    } while (0)

START_TEST(outputs_that_contradict_themselves)
{
    writer w;
    REFUSED(w.output.dtype = FA_INT64, "fa_backend.output: 'words' is int64; float32 is taken");
    REFUSED(w.output.ndim = 0, "'words' has 0 dimensions");
    REFUSED(w.output.ndim = FA_MAX_DIMS + 1, "'words' has 9 dimensions");
    REFUSED(w.output.name = "tokens", "'tokens' is an input");
    REFUSED(b.output_shape = NULL, "dimension 1 of 'words' is open, and output_shape is NULL");
    REFUSED(w.output.shape[1] = w.output.shape[2] = INT64_MAX / 2, "'words' is too large");
    REFUSED(b.output = NULL, "fa_backend.classes: 0");
    REFUSED(b.struct_size = offsetof(fa_backend, output), "fa_backend.classes: 0");
    /* A shape that is said when a pass is made, and is no such shape. */
    static const struct {
        int dimension;
        int64_t by;
        const char *text;
    } lies[] = {{1, -7, "writer: output_shape(): 'words' is [5, 0, 6] at batch 5 where [-1, -1, 6]"}, {1, INT64_MIN, "[5, -9223372036854775801, 6]"}, {0, 1, "is [6, 7, 6] at batch 5"}, {2, 1, "is [5, 7, 7]"},
                {1, INT64_MAX - 7, "[5, 9223372036854775807, 6]"}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        fa_backend b = table(&w, false);
        fa_model *model;
        fa_sketch *sketch = NULL;
        w.says[lies[i].dimension] = lies[i].by;
        FAILS(build(&b, FA_LOSS_PER_TOKEN, NULL, &model, &sketch), FA_ERR_ARGUMENT, lies[i].text);
        ck_assert_ptr_null(sketch);
        fa_model_release(model);
    }
    fa_backend b = table(&w, false);
    fa_model *model;
    fa_sketch *sketch = NULL;
    FAILS(build(&b, FA_LOSS_MARGIN, NULL, &model, &sketch), FA_ERR_SHAPE, "output 'words' is float32 [5, 7, 6] at batch 5; the loss 'margin' takes");
    fa_model_release(model);
    ck_assert_int_eq(w.open, 0);
}
END_TEST

START_TEST(every_call_may_fail)
{
    writer w;
    fa_backend b = table(&w, false);
    fa_model *model;
    fa_sketch *sketch;
    OK(build(&b, FA_LOSS_NEXT_TOKEN, NULL, &model, &sketch));
    const long total = w.calls;
    ck_assert_int_gt(total, 10);
    fa_sketch_release(sketch);
    fa_model_release(model);
    for (long n = 0; n < total; n++) {
        b = table(&w, false);
        w.fail_at = n;
        sketch = NULL;
        FAILS(build(&b, FA_LOSS_NEXT_TOKEN, NULL, &model, &sketch), FA_ERR_IO, "cut off");
        ck_assert_ptr_null(sketch);
        fa_model_release(model);
        ck_assert_int_eq(w.open, 0);
        ck_assert_uint_eq(fa_context_memory_used(context), 0);
    }
}
END_TEST

static void add(TCase *t)
{
    tcase_add_test(t, couplings_are_cosines_of_gradients);
    tcase_add_test(t, shapes_and_words);
    tcase_add_test(t, traces_follow_a_host);
    tcase_add_test(t, outputs_that_contradict_themselves);
    tcase_add_test(t, every_call_may_fail);
}

int main(void)
{
    return run_suite("backend-outputs", add, setup, teardown);
}
