/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/array.h"
#include "ops/walk.h"

#include <math.h>

/* HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix: constants of speech front ends, made from numbers known at plan time. */

static fa_status known_number(const fa_op_setup *s, int32_t input, const char *what, double *out)
{
    const fa_view *v = s->in[input];
    FA_TRY(FA_R(fa_op_need_count)(s, input, 1));
    if (!v->data) return fa_fail(FA_ERR_UNSUPPORTED, "%s (input %d) is computed from the data; it must be known beforehand", what, input);
    *out = fa_dtype_is_real(v->dtype) ? (double)*(const fa_real *)v->data : (double)*(const int64_t *)v->data;
    return FA_OK;
}

static fa_status known_count(const fa_op_setup *s, int32_t input, const char *what, int64_t *out)
{
    double v;
    FA_TRY(known_number(s, input, what, &v));
    if (!(v >= 0 && v <= (double)INT32_MAX)) return fa_fail(FA_ERR_SHAPE, "%s is %g", what, v);
    *out = (int64_t)v;
    return FA_OK;
}

static fa_status set(fa_op_setup *s, int32_t ndim, const int64_t *dim)
{
    int64_t dtype = fa_node_int(s->node, "output_datatype", FA_FLOAT32);
    if (dtype < 1 || dtype > INT32_MAX || !fa_dtype_size((int32_t)dtype)) return fa_fail(FA_ERR_UNSUPPORTED, "elements of type %lld", (long long)dtype);
    return FA_R(fa_op_set)(&s->out[0], (int32_t)dtype, ndim, dim);
}

static void store(const fa_view *to, int64_t i, double v)
{
    if (fa_dtype_is_real(to->dtype)) ((fa_real *)to->data)[i] = (fa_real)v;
    else ((int64_t *)to->data)[i] = FA_R(fa_op_wrap)((int64_t)v, to->dtype);
}

static fa_status window_prepare(fa_op_setup *s)
{
    int64_t n;
    FA_TRY(FA_R(fa_op_need)(s, 1, 1, 1));
    FA_TRY(known_count(s, 0, "the size", &n));
    return set(s, 1, &n);
}

/* a - b cos(t) + c cos(2 t) over a turn; a symmetric window ends where a periodic one would begin anew. */
static void window_forward(const fa_op_call *c, double a, double b, double second)
{
    const fa_view *y = c->out[0];
    int64_t period = fa_node_int(c->node, "periodic", 1) ? y->count : y->count - 1;
    for (int64_t i = 0; i < y->count; i++) {
        double t = period ? 6.283185307179586476925286766559 * (double)i / (double)period : 3.14159265358979323846;
        store(y, i, a - b * cos(t) + second * cos(2 * t));
    }
}

static void hann_forward(const fa_op_call *c)
{
    window_forward(c, 0.5, 0.5, 0);
}

static void hamming_forward(const fa_op_call *c)
{
    window_forward(c, 25.0 / 46, 21.0 / 46, 0);
}

static void blackman_forward(const fa_op_call *c)
{
    window_forward(c, 0.42, 0.5, 0.08);
}

typedef struct mel {
    int64_t bins, length, spectrum;
    double rate, low, high;
} mel;

static fa_status mel_prepare(fa_op_setup *s)
{
    FA_TRY(FA_R(fa_op_need)(s, 5, 5, 1));
    mel *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    FA_TRY(known_count(s, 0, "num_mel_bins", &p->bins));
    FA_TRY(known_count(s, 1, "dft_length", &p->length));
    FA_TRY(known_number(s, 2, "sample_rate", &p->rate));
    FA_TRY(known_number(s, 3, "lower_edge_hertz", &p->low));
    FA_TRY(known_number(s, 4, "upper_edge_hertz", &p->high));
    if (!(p->rate > 0) || !(p->low >= 0) || !(p->high >= p->low && p->high < 1e12))
        return fa_fail(FA_ERR_SHAPE, "mels from %g to %g hertz at %g samples a second", p->low, p->high, p->rate);
    p->spectrum = p->length / 2 + 1;
    s->params = p;
    return set(s, 2, (int64_t[]){p->spectrum, p->bins});
}

/* The place in the spectrum of the k-th of bins + 2 frequencies evenly spaced in mel, held to one behind the spectrum. */
static int64_t place(const mel *p, int64_t k)
{
    double from = 2595 * log10(1 + p->low / 700), to = 2595 * log10(1 + p->high / 700);
    double hertz = 700 * (pow(10, ((double)k * (to - from) / (double)(p->bins + 2) + from) / 2595) - 1), at = floor((double)(p->length + 1) * hertz / p->rate);
    return at < 0 ? 0 : at > (double)p->spectrum ? p->spectrum : (int64_t)at;
}

static void mel_forward(const fa_op_call *c)
{
    const mel *p = c->params;
    for (int64_t i = 0; i < c->out[0]->count; i++) store(c->out[0], i, 0);
    for (int64_t i = 0; i < p->bins; i++) {
        int64_t lower = place(p, i), center = place(p, i + 1), higher = place(p, i + 2);
        for (int64_t j = lower; j <= center && j < p->spectrum; j++)
            store(c->out[0], j * p->bins + i, center == lower ? 1 : (double)(j - lower) / (double)(center - lower));
        for (int64_t j = center; j < higher; j++) store(c->out[0], j * p->bins + i, (double)(higher - j) / (double)(higher - center));
    }
}

const fa_op FA_R(fa_ops_filterbank)[] = {
    {"HannWindow", "", 17, FA_OPSET_ANY, 0, 0, 0, window_prepare, hann_forward, NULL},
    {"HammingWindow", "", 17, FA_OPSET_ANY, 0, 0, 0, window_prepare, hamming_forward, NULL},
    {"BlackmanWindow", "", 17, FA_OPSET_ANY, 0, 0, 0, window_prepare, blackman_forward, NULL},
    {"MelWeightMatrix", "", 17, FA_OPSET_ANY, 0, 0, 0, mel_prepare, mel_forward, NULL},
    {NULL},
};
