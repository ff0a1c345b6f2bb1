/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/cubic.h"
#include "ops/walk.h"

#include <math.h>
#include <string.h>

/*
 * Resize, and Upsample before it. Along each axis an output element is a weighted sum of a few input elements, its taps; along all axes together
 * the weights multiply. Scales, sizes and the region of tf_crop_and_resize are known at plan time, and the taps are worked out then. Axes in a
 * row that keep their size count as one.
 */
enum { NEAREST, LINEAR, CUBIC };
enum { HALF_PIXEL, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, TF_CROP_AND_RESIZE, TF_HALF_PIXEL_FOR_NN, HALF_PIXEL_SYMMETRIC };
enum { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL };

typedef struct axis {
    int64_t in, out, stride; /* stride of the input */
    int32_t taps;
    int64_t *index; /* [out][taps]; the first is -1 where the output lies outside the region */
    double *weight; /* [out][taps]; NULL: the axis stays as it is */
} axis;

typedef struct resize {
    axis axis[FA_MAX_DIMS];
    int32_t ndim;
    int32_t mode, coordinates, nearest;
    bool exclude_outside, antialias;
    double cubic_a, extrapolation;
} resize;

/* What is asked of one axis. */
typedef struct target {
    double scale, length; /* length: elements of the output, not rounded where the scale was given */
    double start, end;    /* region, as parts of the input */
    int64_t out;
} target;

static fa_status read_modes(const fa_op_setup *s, resize *p)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", "bilinear"};
    static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn",
                                              "half_pixel_symmetric"};
    static const char *const nearest[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    bool old = s->node->opset < 11;
    FA_TRY(FA_R(fa_op_choice)(s, "mode", "nearest", modes, 4, &p->mode));
    if (p->mode > CUBIC) p->mode = LINEAR; /* the name in operator set 1 */
    FA_TRY(FA_R(fa_op_choice)(s, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel", coordinates, 7, &p->coordinates));
    FA_TRY(FA_R(fa_op_choice)(s, "nearest_mode", old ? "floor" : "round_prefer_floor", nearest, 4, &p->nearest));
    p->antialias = p->mode != NEAREST && fa_node_int(s->node, "antialias", 0) != 0;
    p->exclude_outside = fa_node_int(s->node, "exclude_outside", 0) != 0;
    p->cubic_a = (double)fa_node_float(s->node, "cubic_coeff_a", -0.75F);
    p->extrapolation = (double)fa_node_float(s->node, "extrapolation_value", 0);
    return FA_OK;
}

/* Contents of a real input known at plan time; count 0 when it is absent. */
static fa_status known_reals(const fa_op_setup *s, int32_t input, const char *what, const fa_real **data, int64_t *count)
{
    const fa_view *v = input < s->n_in ? s->in[input] : NULL;
    *count = v ? v->count : 0;
    *data = v ? v->data : NULL;
    if (!*count) return FA_OK;
    if (!fa_dtype_is_real(v->dtype)) return fa_fail(FA_ERR_DTYPE, "%s (input %d) are %s", what, input, fa_dtype_name(v->dtype));
    if (!*data) return fa_fail(FA_ERR_UNSUPPORTED, "%s (input %d) are computed from the data; they must be known beforehand", what, input);
    return FA_OK;
}

/* Which axis the scales', sizes' and region's element `i` is of. */
static fa_status axis_of(const fa_op_setup *s, int64_t i, int32_t *out)
{
    int64_t n;
    const int64_t *axes = fa_node_ints(s->node, "axes", &n);
    return FA_R(fa_op_axis)(axes ? axes[i] : i, s->in[0]->ndim, out);
}

static fa_status check_count(const fa_op_setup *s, const char *what, int64_t have)
{
    int64_t n;
    const int64_t *axes = fa_node_ints(s->node, "axes", &n);
    if (!axes) n = s->in[0]->ndim;
    if (have == n) return FA_OK;
    return fa_fail(FA_ERR_SHAPE, "%lld %s for %lld axes", (long long)have, what, (long long)n);
}

static fa_status by_scale(const fa_op_setup *s, int64_t i, double scale, target *to)
{
    int32_t d;
    FA_TRY(axis_of(s, i, &d));
    if (!(scale > 0 && scale < 1e9)) return fa_fail(FA_ERR_SHAPE, "axis %d is scaled by %g", d, scale);
    int64_t in = s->in[0]->dim[d];
    if (scale * (double)in > (double)FA_MAX_ELEMENTS) return fa_fail(FA_ERR_LIMIT, "axis %d of %lld elements scaled by %g", d, (long long)in, scale);
    to[d].scale = scale;
    to[d].length = scale * (double)in;
    to[d].out = (int64_t)floorf((float)scale * (float)in); /* as ONNX infers shapes */
    return FA_OK;
}

static fa_status by_sizes(const fa_op_setup *s, const int64_t *size, int64_t n, target *to)
{
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    int32_t policy, d;
    double common = 0;
    FA_TRY(FA_R(fa_op_choice)(s, "keep_aspect_ratio_policy", "stretch", policies, 3, &policy));
    FA_TRY(check_count(s, "sizes", n));
    for (int64_t i = 0; i < n; i++) {
        FA_TRY(axis_of(s, i, &d));
        int64_t in = s->in[0]->dim[d];
        if (size[i] < 0 || size[i] > FA_MAX_ELEMENTS || (size[i] > 0 && in == 0))
            return fa_fail(FA_ERR_SHAPE, "axis %d of %lld elements becomes %lld", d, (long long)in, (long long)size[i]);
        double scale = in ? (double)size[i] / (double)in : 1;
        to[d] = (target){.scale = scale, .length = (double)size[i], .out = size[i], .end = 1};
        if (i == 0 || (policy == 1 ? scale < common : scale > common)) common = scale;
    }
    for (int64_t i = 0; policy && i < n; i++) {
        FA_TRY(axis_of(s, i, &d));
        double length = floor(common * (double)s->in[0]->dim[d] + 0.5);
        to[d] = (target){.scale = common, .length = length, .out = (int64_t)length, .end = 1};
    }
    return FA_OK;
}

static fa_status read_targets(const fa_op_setup *s, const resize *p, target *to)
{
    const int32_t opset = s->node->opset, scales_at = opset < 11 ? 1 : 2;
    const fa_real *scale, *roi;
    int64_t n, n_size = 0, n_roi;
    for (int32_t d = 0; d < s->in[0]->ndim; d++) to[d] = (target){1, (double)s->in[0]->dim[d], 0, 1, s->in[0]->dim[d]};
    if (s->node->op[0] == 'U' && opset < 9) { /* Upsample by attributes */
        const fa_attr *a = fa_node_attr(s->node, "scales");
        float pair[] = {1, 1, fa_node_float(s->node, "height_scale", 1), fa_node_float(s->node, "width_scale", 1)};
        bool listed = a && a->kind == FA_ATTR_FLOATS;
        FA_TRY(check_count(s, "scales", listed ? a->count : 4));
        for (int32_t i = 0; i < s->in[0]->ndim; i++) FA_TRY(by_scale(s, i, (double)(listed ? a->floats : pair)[i], to));
        return FA_OK;
    }
    FA_TRY(known_reals(s, scales_at, "scales", &scale, &n));
    if (s->n_in > 3 && s->in[3] && s->in[3]->count) {
        const int64_t *size;
        if (n) return fa_fail(FA_ERR_FORMAT, "both scales and sizes");
        FA_TRY(FA_R(fa_op_constant_ints)(s, 3, "sizes", &size, &n_size));
        FA_TRY(by_sizes(s, size, n_size, to));
    } else {
        FA_TRY(check_count(s, "scales", n));
        for (int64_t i = 0; i < n; i++) FA_TRY(by_scale(s, i, (double)scale[i], to));
    }
    if (p->coordinates != TF_CROP_AND_RESIZE) return FA_OK;
    FA_TRY(known_reals(s, 1, "the region", &roi, &n_roi));
    FA_TRY(check_count(s, "ends of the region", n_roi / 2));
    for (int64_t i = 0; i < n_roi / 2; i++) {
        int32_t d;
        FA_TRY(axis_of(s, i, &d));
        to[d].start = (double)roi[i];
        to[d].end = (double)roi[n_roi / 2 + i];
        if (!isfinite(to[d].start) || !isfinite(to[d].end)) return fa_fail(FA_ERR_SHAPE, "the region of axis %d is not finite", d);
    }
    return FA_OK;
}

/* Output place `o` as a place on the input. */
static double source(const resize *p, const target *t, int64_t in, double o)
{
    double last = (double)(in - 1);
    switch (p->coordinates) {
    case PYTORCH_HALF_PIXEL: return t->length > 1 ? (o + 0.5) / t->scale - 0.5 : -0.5;
    case ALIGN_CORNERS: return t->length > 1 ? o * last / (t->length - 1) : 0;
    case ASYMMETRIC: return o / t->scale;
    case TF_CROP_AND_RESIZE:
        if (t->out == 1) return 0.5 * (t->start + t->end) * last;
        return t->start * last + o * (t->end - t->start) * last / (t->length - 1);
    case TF_HALF_PIXEL_FOR_NN: return (o + 0.5) / t->scale;
    case HALF_PIXEL_SYMMETRIC: return (double)in / 2 * (1 - (double)t->out / t->length) + (o + 0.5) / t->scale - 0.5;
    default: return (o + 0.5) / t->scale - 0.5;
    }
}

static bool rounds_up(const resize *p, double part)
{
    switch (p->nearest) {
    case ROUND_PREFER_FLOOR: return part > 0.5;
    case ROUND_PREFER_CEIL: return part >= 0.5;
    case FLOOR: return false;
    default: return part > 0;
    }
}

/* Antialiasing stretches the filter over as many input elements as lie between two of the output. */
static double stretch(const resize *p, const target *t)
{
    return p->antialias && t->scale < 1 ? 1 / t->scale : 1;
}

static int32_t taps_of(const resize *p, const target *t)
{
    return p->mode == NEAREST ? 1 : 2 * (int32_t)ceil((p->mode == LINEAR ? 1 : 2) * stretch(p, t));
}

/* Weights [taps] around the place `part` behind tap taps / 2 - 1; their sum is 1. */
static void filter(const resize *p, const target *t, double part, int32_t taps, double *weight)
{
    double sum = 0;
    for (int32_t k = 0; k < taps; k++) {
        const double x = fabs((k - (taps / 2 - 1) - part) / stretch(p, t));
        weight[k] = p->mode == LINEAR ? fmax(0, 1 - x) : fa_cubic(x, p->cubic_a);
        sum += weight[k];
    }
    for (int32_t k = 0; k < taps; k++) weight[k] /= sum;
}

static void set_taps(const resize *p, const target *t, const axis *a, int64_t o)
{
    double x = source(p, t, a->in, (double)o), low = floor(x), part = x - low, w[4] = {1, 0, 0, 0}, sum = 0;
    int64_t *index = a->index + o * a->taps, first = (int64_t)low;
    double *weight = a->weight + o * a->taps;
    if (p->mode == NEAREST) first += rounds_up(p, part);
    else first -= a->taps / 2 - 1;
    if (p->mode == LINEAR) w[0] = 1 - part, w[1] = part;
    if (p->mode == CUBIC) fa_cubic_weights(part, p->cubic_a, w);
    if (stretch(p, t) > 1) filter(p, t, part, a->taps, weight);
    else memcpy(weight, w, (size_t)a->taps * sizeof *w);
    for (int32_t k = 0; k < a->taps; k++) {
        int64_t i = first + k;
        index[k] = i < 0 ? 0 : i >= a->in ? a->in - 1 : i;
        if (p->exclude_outside && p->mode != NEAREST && i != index[k]) weight[k] = 0;
        sum += weight[k];
    }
    for (int32_t k = 0; k < a->taps && p->exclude_outside; k++) weight[k] /= sum;
    if (p->coordinates == TF_CROP_AND_RESIZE && (x < 0 || x > (double)(a->in - 1))) index[0] = -1;
}

static fa_status add_axis(fa_op_setup *s, resize *p, const target *t, int64_t in)
{
    axis *a = &p->axis[p->ndim], *before = p->ndim ? a - 1 : NULL;
    bool same = t->out == in && t->scale == 1 && t->start == 0 && t->end == 1;
    *a = (axis){.in = in, .out = t->out, .taps = 1};
    if (same && before && !before->weight) {
        before->in *= in;
        before->out *= in;
        return FA_OK;
    }
    p->ndim++;
    if (same) return FA_OK;
    if (stretch(p, t) > 1 << 24) return fa_fail(FA_ERR_LIMIT, "an antialiasing filter over %g elements", stretch(p, t));
    a->taps = taps_of(p, t);
    size_t n;
    if (!fa_mul_size((size_t)t->out, (size_t)a->taps, &n)) return FA_ERR_MEMORY;
    a->index = fa_arena_array(s->arena, n + 1, sizeof *a->index);
    a->weight = fa_arena_array(s->arena, n + 1, sizeof *a->weight);
    if (!a->index || !a->weight) return FA_ERR_MEMORY;
    for (int64_t o = 0; o < t->out; o++) set_taps(p, t, a, o);
    return FA_OK;
}

static fa_status prepare(fa_op_setup *s)
{
    const int32_t opset = s->node->opset;
    bool old = s->node->op[0] == 'U' && opset < 9;
    FA_TRY(FA_R(fa_op_need)(s, 1, old ? 1 : opset < 11 ? 2 : 4, 1));
    const fa_view *x = s->in[0];
    if (!fa_dtype_is_real(x->dtype)) return fa_fail(FA_ERR_DTYPE, "%s of %s is not supported", s->node->op, fa_dtype_name(x->dtype));
    resize *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    target to[FA_MAX_DIMS];
    int64_t dim[FA_MAX_DIMS], stride = 1;
    FA_TRY(read_modes(s, p));
    FA_TRY(read_targets(s, p, to));
    for (int32_t d = 0; d < x->ndim; d++) dim[d] = to[d].out;
    FA_TRY(FA_R(fa_op_set)(&s->out[0], x->dtype, x->ndim, dim));
    for (int32_t d = 0; d < x->ndim && s->out[0].count; d++) FA_TRY(add_axis(s, p, &to[d], x->dim[d]));
    for (int32_t d = p->ndim - 1; d >= 0; d--) {
        p->axis[d].stride = stride;
        stride *= p->axis[d].in;
    }
    s->params = p;
    return FA_OK;
}

/* The taps of axis `d` and those behind it for output `o`, from input element `at` on: their weighted sum, or `g` given to them. */
static double gather(const resize *p, const fa_real *x, const int64_t *o, int32_t d, int64_t at)
{
    if (d == p->ndim) return (double)x[at];
    const axis *a = &p->axis[d];
    if (!a->weight) return gather(p, x, o, d + 1, at + o[d] * a->stride);
    const int64_t *index = a->index + o[d] * a->taps;
    double sum = 0;
    for (int32_t k = 0; k < a->taps; k++) sum += a->weight[o[d] * a->taps + k] * gather(p, x, o, d + 1, at + index[k] * a->stride);
    return sum;
}

static void spread(const resize *p, fa_real *t, double g, const int64_t *o, int32_t d, int64_t at)
{
    if (d == p->ndim) {
        t[at] += (fa_real)g;
        return;
    }
    const axis *a = &p->axis[d];
    if (!a->weight) {
        spread(p, t, g, o, d + 1, at + o[d] * a->stride);
        return;
    }
    for (int32_t k = 0; k < a->taps; k++) spread(p, t, g * a->weight[o[d] * a->taps + k], o, d + 1, at + a->index[o[d] * a->taps + k] * a->stride);
}

static bool is_outside(const resize *p, const int64_t *o)
{
    for (int32_t d = 0; d < p->ndim; d++)
        if (p->axis[d].weight && p->axis[d].index[o[d] * p->axis[d].taps] < 0) return true;
    return false;
}

#define EACH_OUTPUT(statement)                                                                                                                           \
    {                                                                                                                                                    \
        int64_t o[FA_MAX_DIMS] = {0};                                                                                                                    \
        for (int64_t i = 0; i < c->out[0]->count; i++) {                                                                                                 \
            statement;                                                                                                                                   \
            for (int32_t d = p->ndim - 1; d >= 0 && ++o[d] == p->axis[d].out; d--) o[d] = 0;                                                             \
        }                                                                                                                                                \
    }

static void forward(const fa_op_call *c)
{
    const resize *p = c->params;
    const fa_real *x = c->in[0]->data;
    fa_real *y = c->out[0]->data;
    EACH_OUTPUT(y[i] = (fa_real)(is_outside(p, o) ? p->extrapolation : gather(p, x, o, 0, 0)))
}

static void backward(const fa_op_call *c)
{
    const resize *p = c->params;
    const fa_real *g = c->grad_out[0];
    if (c->grad_in[0]) EACH_OUTPUT(if (!is_outside(p, o)) spread(p, c->grad_in[0], (double)g[i], o, 0, 0))
}

const fa_op FA_R(fa_ops_resize)[] = {
    {"Resize", "", 10, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {"Upsample", "", 1, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {NULL},
};
