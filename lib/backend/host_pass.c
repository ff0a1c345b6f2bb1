/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/host.h"
#include "base/error.h"

#include <math.h>
#include <string.h>

/*
 * The engine that asks a host. Nothing that it says is taken on trust: sizes are checked when a pass is made, numbers when they come. Taps are copied, so that they are dense and
 * channels-last whatever their strides were, which the fast kernels want.
 */
typedef struct host_pass {
    const fa_backend *table;
    bool made;  /* `pass` is the host's to destroy */
    void *pass;
    fa_backend_request request;
    fa_view output;                /* of forward, [batch, ...] */
    bool *tapped;                  /* [layer_count] */
    fa_backend_geometry *geometry; /* [layer_count] of the host's taps */
    fa_backend_tap *tap;           /* [layer_count] */
    const float **whole;           /* [layer_count] */
    const void **input;            /* [n_input] */
    float *logits;                 /* [batch, head.outputs] */
    float *a, *d;                  /* room for one layer's taps */
    float *weights;                /* every declared parameter, those that move as they are set */
    float *sum;                    /* a gradient of as many */
} host_pass;

#define MOST_ALONG (INT64_C(1) << 20)

/* Before a callback that may fail: a message of an earlier call is not its. */
static void listen(void)
{
    fa_error_set(FA_OK, "");
}

/* What a callback returned, with its words behind its name. */
static fa_status outcome(const fa_backend *t, const char *callback, fa_status status)
{
    if (status == FA_OK) return FA_OK;
    if (status > 0 || !strcmp(fa_status_name(status), "unknown")) return fa_fail(FA_ERR_ARGUMENT, "%.100s: %s() returned %d, which is no status", t->name, callback, status);
    if (!fa_error_message()[0]) return fa_fail(status, "%.100s: %s() returned %s without a reason", t->name, callback, fa_status_name(status));
    return fa_fail_at(status, "%.100s: %s()", t->name, callback);
}

static fa_status check_capabilities(const fa_backend *t, const fa_pass *p, bool taps)
{
    if (taps && !t->taps && !t->gradients)
        return fa_fail(FA_ERR_UNSUPPORTED, "%.100s: it gives neither taps nor gradients of single inputs (fa_backend.taps, fa_backend.gradients), without which there are no gradient sketches",
                       t->name);
    if (p->gradient && !t->weight_gradient)
        return fa_fail(FA_ERR_UNSUPPORTED, "%.100s: it gives no gradient of its weights (fa_backend.weight_gradient), without which the sampler 'gaussian' alone can draw them",
                       t->name);
    return FA_OK;
}

static fa_status make_inputs(fa_pass *p, const fa_pass_request *r, host_pass *h)
{
    const fa_graph *g = p->program->source;
    fa_view *views;
    FA_TRY(fa_pass_input_views(p, r, g, &views));
    p->n_input = g->n_input;
    p->input = fa_arena_array(&p->arena, (size_t)g->n_input, sizeof *p->input);
    h->input = fa_arena_array(&p->arena, (size_t)g->n_input, sizeof *h->input);
    if (!p->input || !h->input) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < g->n_input; i++) {
        FA_TRY(fa_value_check_shape(&g->value[g->input[i]], &views[i]));
        p->input[i] = (fa_pass_input){.name = g->value[g->input[i]].name, .view = &views[i]};
        h->input[i] = p->input[i].to = fa_arena_array(&p->arena, (size_t)views[i].count, views[i].dtype == FA_INT64 ? sizeof(int64_t) : sizeof(float));
        if (!p->input[i].to) return FA_ERR_MEMORY;
    }
    return FA_OK;
}

static bool within(const int64_t *value, int count, int64_t least)
{
    for (int i = 0; i < count; i++)
        if (value[i] < least || value[i] > MOST_ALONG) return false;
    return true;
}

static bool lay_out(int32_t layout, int64_t n, int64_t c, int64_t h, int64_t w, int64_t *stride_n, int64_t *stride_c, int64_t *stride_h, int64_t *stride_w)
{
    int64_t all, size[] = {n, c, h, w}, *stride[] = {stride_n, stride_c, stride_h, stride_w};
    if (!fa_mul_i64(h * w, c, &all) || !fa_mul_i64(all, n, &all) || all > FA_MAX_ELEMENTS) return false;
    if (layout == FA_LAYOUT_CHANNELS_LAST || layout == FA_LAYOUT_CHANNELS_FIRST) {
        const bool last = layout == FA_LAYOUT_CHANNELS_LAST;
        *stride_n = c * h * w;
        *stride_c = last ? 1 : h * w;
        *stride_w = last ? c : 1;
        *stride_h = w * *stride_w;
    }
    for (int i = 0; i < 4; i++)
        if (*stride[i] < 0 || !fa_mul_i64(*stride[i], size[i], &all) || all > FA_MAX_ELEMENTS) return false;
    return true;
}

/* A layer's geometry as the host gives it, and as the kernels get it. */
static fa_status set_geometry(fa_pass *p, host_pass *h, int32_t index)
{
    const fa_layer *l = &p->program->evaluation.layers.layer[index];
    fa_backend_geometry *g = &h->geometry[index];
    const int64_t c = (l->in - l->has_bias) / (l->kh * l->kw) * l->groups;
    const int64_t at_least_one[] = {g->h, g->w, g->oh, g->ow, g->stride_h, g->stride_w, g->dilation_h, g->dilation_w}, pads[] = {g->pad_top, g->pad_left};
    if (!within(at_least_one, 8, 1) || !within(pads, 2, 0) || g->layout < FA_LAYOUT_CHANNELS_LAST || g->layout > FA_LAYOUT_STRIDES ||
        !lay_out(g->layout, p->batch, c, g->h, g->w, &g->a_n, &g->a_c, &g->a_h, &g->a_w) || !lay_out(g->layout, p->batch, l->out, g->oh, g->ow, &g->d_n, &g->d_c, &g->d_h, &g->d_w))
        return fa_fail(FA_ERR_ARGUMENT, "%.100s: create_pass(): the geometry of layer '%.100s' has a number out of range", h->table->name, l->name);
    p->geometry[index] = (fa_tap){.layer = index, .n = p->batch, .c = c, .h = g->h, .w = g->w, .out = l->out, .oh = g->oh, .ow = g->ow, .groups = l->groups, .kh = l->kh, .kw = l->kw,
                                  .stride_h = g->stride_h, .stride_w = g->stride_w, .dilation_h = g->dilation_h, .dilation_w = g->dilation_w, .pad_top = g->pad_top,
                                  .pad_left = g->pad_left, .has_bias = l->has_bias,
                                  .a_n = c * g->h * g->w, .a_c = 1, .a_h = c * g->w, .a_w = c, .d_n = l->out * g->oh * g->ow, .d_c = 1, .d_h = l->out * g->ow, .d_w = l->out};
    return FA_OK;
}

/* The largest layer decides how much room taps take. */
static fa_status make_tap_room(fa_pass *p, host_pass *h, int32_t layers)
{
    int64_t a = 0, d = 0;
    for (int32_t l = 0; l < layers; l++) {
        if (p->geometry[l].a_n > a) a = p->geometry[l].a_n;
        if (p->geometry[l].d_n > d) d = p->geometry[l].d_n;
    }
    h->a = fa_arena_array(&p->arena, (size_t)p->batch * (size_t)a + 1, sizeof *h->a);
    h->d = fa_arena_array(&p->arena, (size_t)p->batch * (size_t)d + 1, sizeof *h->d);
    return h->a && h->d ? FA_OK : FA_ERR_MEMORY;
}

static fa_status make_request(fa_pass *p, const fa_pass_request *r, host_pass *h, bool taps)
{
    const fa_layers *layers = &p->program->evaluation.layers;
    uint8_t *tapped = fa_arena_array(&p->arena, (size_t)layers->count + 1, 1);
    fa_array *inputs = fa_arena_array(&p->arena, (size_t)p->n_input, sizeof *inputs);
    if (!tapped || !inputs) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < p->n_input; i++) {
        const fa_view *v = p->input[i].view;
        inputs[i] = (fa_array){NULL, v->dim, v->ndim, v->dtype, p->input[i].name};
    }
    for (int32_t l = 0; l < layers->count; l++) {
        tapped[l] = h->tapped[l] = taps && r->tapped[l];
        h->geometry[l] = (fa_backend_geometry){.h = 1, .w = 1, .oh = 1, .ow = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
    }
    h->request = (fa_backend_request){.struct_size = sizeof h->request, .batch = p->batch, .inputs = inputs, .tapped = tapped,
                                      .weights = p->program->parameters.count > 0, .weight_gradient = p->gradient};
    return FA_OK;
}

/* What is open in the output's declared shape, the host says. */
static fa_status set_output(fa_pass *p, const fa_pass_request *r, host_pass *h)
{
    const fa_backend *t = h->table;
    const fa_value *declared = &p->program->source->value[p->program->logits];
    int64_t dim[FA_MAX_DIMS] = {p->batch};
    bool open = false, fits = true;
    for (int32_t d = 1; d < declared->declared_ndim; d++) open |= (dim[d] = declared->declared[d]) < 0;
    if (open) {
        listen();
        FA_TRY(outcome(t, "output_shape", t->output_shape(t->user, &h->request, dim)));
        fits = dim[0] == p->batch;
        for (int32_t d = 1; d < declared->declared_ndim; d++) fits &= declared->declared[d] < 0 ? dim[d] > 0 : dim[d] == declared->declared[d];
    }
    h->output.dtype = FA_FLOAT32;
    fits = fits && fa_view_set_shape(&h->output, declared->declared_ndim, dim);
    if (!fits && !open) return fa_fail_memory(SIZE_MAX);
    if (!fits) {
        char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_ARGUMENT, "%.100s: output_shape(): '%s' is %s at batch %lld where %s was declared (-1: any)", t->name, declared->name,
                       fa_shape_text(declared->declared_ndim, dim, have, sizeof have), (long long)p->batch, fa_shape_text(declared->declared_ndim, declared->declared, want, sizeof want));
    }
    return fa_head_fit(r->loss, &h->output, p->batch, declared->name, false, &p->head);
}

static fa_status ask_for_pass(fa_pass *p, host_pass *h)
{
    const fa_backend *t = h->table;
    const fa_layers *layers = &p->program->evaluation.layers;
    listen();
    FA_TRY(outcome(t, "create_pass", t->create_pass(t->user, &h->request, h->geometry, &h->pass)));
    h->made = true;
    for (int32_t l = 0; l < layers->count; l++) {
        const fa_layer *about = &layers->layer[l];
        if (!h->tapped[l]) continue;
        if (t->taps) FA_TRY(set_geometry(p, h, l));
        else p->geometry[l] = (fa_tap){.layer = l, .n = p->batch, .c = (about->in - about->has_bias) * about->groups, .h = 1, .w = 1, .out = about->out, .oh = 1, .ow = 1,
                                       .groups = about->groups, .kh = 1, .kw = 1, .a_n = about->out * about->in, .a_h = about->in, .has_bias = about->has_bias};
    }
    return t->taps ? make_tap_room(p, h, layers->count) : FA_OK;
}

static fa_status set_weights(fa_pass *p, const float *weights, const float *statistics)
{
    host_pass *h = p->state;
    const fa_parameters *all = &p->program->host->parameters, *moving = &p->program->parameters;
    (void)statistics;
    for (int32_t i = 0; i < moving->count; i++)
        memcpy(h->weights + all->parameter[moving->value[i]].offset, weights + moving->parameter[i].offset, (size_t)moving->parameter[i].count * sizeof *weights);
    listen();
    return outcome(h->table, "set_weights", h->table->set_weights(h->table->user, h->pass, h->weights));
}

static fa_status create(fa_pass *p, const fa_pass_request *r)
{
    const fa_host *host = p->program->host;
    const fa_parameters *all = &host->parameters;
    const size_t room = (size_t)host->layers.count + 1;
    const bool moving = p->program->parameters.count > 0;
    bool taps = false;
    for (int32_t l = 0; r->tapped && l < host->layers.count; l++) taps |= r->tapped[l];
    FA_TRY(check_capabilities(&host->table, p, taps));
    host_pass *h = p->state = fa_arena_new(&p->arena, sizeof *h);
    if (!h) return FA_ERR_MEMORY;
    h->table = &host->table;
    p->batch = r->batch;
    const size_t weights = moving ? (size_t)all->weights : 0;
    p->geometry = fa_arena_array(&p->arena, room, sizeof *p->geometry);
    h->tapped = fa_arena_array(&p->arena, room, sizeof *h->tapped);
    h->geometry = fa_arena_array(&p->arena, room, sizeof *h->geometry);
    h->tap = fa_arena_array(&p->arena, room, sizeof *h->tap);
    h->whole = fa_arena_array(&p->arena, room, sizeof *h->whole);
    h->weights = fa_arena_array(&p->arena, weights + 1, sizeof *h->weights);
    h->sum = fa_arena_array(&p->arena, (p->gradient ? weights : 0) + 1, sizeof *h->sum);
    if (!p->geometry || !h->tapped || !h->geometry || !h->tap || !h->whole || !h->weights || !h->sum) return FA_ERR_MEMORY;
    memcpy(h->weights, all->trained, weights * sizeof *h->weights);
    FA_TRY(make_inputs(p, r, h));
    FA_TRY(make_request(p, r, h, taps));
    FA_TRY(set_output(p, r, h));
    const size_t outputs = (size_t)h->output.count;
    p->logits = h->logits = fa_arena_array(&p->arena, outputs, sizeof *h->logits);
    if (!p->logits || ((taps || p->gradient) && !(p->at_logits = fa_arena_array(&p->arena, outputs, sizeof *p->at_logits)))) return FA_ERR_MEMORY;
    FA_TRY(ask_for_pass(p, h));
    return moving ? set_weights(p, p->program->parameters.trained, NULL) : FA_OK;
}

const fa_view *fa_host_output(const fa_pass *p)
{
    const host_pass *h = p->state;
    return &h->output;
}

static void destroy(fa_pass *p)
{
    host_pass *h = p->state;
    if (h && h->made) h->table->destroy_pass(h->table->user, h->pass);
}

static fa_status forward(fa_pass *p)
{
    host_pass *h = p->state;
    listen();
    return outcome(h->table, "forward", h->table->forward(h->table->user, h->pass, h->input, p->n, h->logits));
}

static fa_status not_finite(const host_pass *h, const char *callback, const fa_layer *l, const char *what, int64_t input)
{
    return fa_fail(FA_ERR_NOT_FINITE, "%.100s: %s(): layer '%.100s': %s of input %lld of the batch is NaN or infinite", h->table->name, callback, l->name, what, (long long)input);
}

/* [n, h, w, c] dense; the first of the inputs with an element that is not finite, or -1. */
static int64_t gather(const float *from, int64_t n, int64_t c, int64_t h, int64_t w, int64_t stride_n, int64_t stride_c, int64_t stride_h, int64_t stride_w, float *to)
{
    for (int64_t i = 0; i < n; i++) {
        bool finite = true;
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++, to += c) {
                const float *at = from + i * stride_n + y * stride_h + x * stride_w;
                for (int64_t k = 0; k < c; k++) {
                    to[k] = at[k * stride_c];
                    finite &= isfinite(to[k]) != 0;
                }
            }
        if (!finite) return i;
    }
    return -1;
}

static fa_status visit_taps(fa_pass *p, host_pass *h)
{
    const fa_layers *layers = &p->program->evaluation.layers;
    memset(h->tap, 0, (size_t)layers->count * sizeof *h->tap);
    listen();
    FA_TRY(outcome(h->table, "taps", h->table->taps(h->table->user, h->pass, p->at_logits, p->n, h->tap)));
    for (int32_t i = layers->count - 1; i >= 0; i--) {
        const fa_layer *l = &layers->layer[i];
        const fa_backend_geometry *g = &h->geometry[i];
        if (!h->tapped[i]) continue;
        if (!h->tap[i].a || !h->tap[i].d) return fa_fail(FA_ERR_ARGUMENT, "%.100s: taps(): layer '%.100s' was left out", h->table->name, l->name);
        fa_tap tap = p->geometry[i];
        int64_t bad = gather(h->tap[i].a, p->n, tap.c, g->h, g->w, g->a_n, g->a_c, g->a_h, g->a_w, h->a);
        if (bad >= 0) return not_finite(h, "taps", l, "the layer's input", bad);
        bad = gather(h->tap[i].d, p->n, tap.out, g->oh, g->ow, g->d_n, g->d_c, g->d_h, g->d_w, h->d);
        if (bad >= 0) return not_finite(h, "taps", l, "the gradient", bad);
        tap.n = p->n;
        tap.a = h->a;
        tap.d = h->d;
        p->visit(p->user, &tap);
    }
    return FA_OK;
}

static fa_status visit_gradients(fa_pass *p, host_pass *h)
{
    const fa_layers *layers = &p->program->evaluation.layers;
    memset(h->whole, 0, (size_t)layers->count * sizeof *h->whole);
    listen();
    FA_TRY(outcome(h->table, "gradients", h->table->gradients(h->table->user, h->pass, p->at_logits, p->n, h->whole)));
    for (int32_t i = layers->count - 1; i >= 0; i--) {
        const fa_layer *l = &layers->layer[i];
        if (!h->tapped[i]) continue;
        if (!h->whole[i]) return fa_fail(FA_ERR_ARGUMENT, "%.100s: gradients(): layer '%.100s' was left out", h->table->name, l->name);
        fa_tap tap = p->geometry[i];
        for (int64_t k = 0; k < p->n * tap.a_n; k++)
            if (!isfinite(h->whole[i][k])) return not_finite(h, "gradients", l, "the gradient", k / tap.a_n);
        tap.n = p->n;
        tap.a = h->whole[i];
        p->visit(p->user, &tap);
    }
    return FA_OK;
}

static fa_status backward(fa_pass *p)
{
    host_pass *h = p->state;
    return h->table->taps ? visit_taps(p, h) : visit_gradients(p, h);
}

static fa_status add_gradient(fa_pass *p, float scale, float *gradient)
{
    host_pass *h = p->state;
    const fa_parameters *all = &p->program->host->parameters, *moving = &p->program->parameters;
    memset(h->sum, 0, (size_t)all->weights * sizeof *h->sum);
    listen();
    FA_TRY(outcome(h->table, "weight_gradient", h->table->weight_gradient(h->table->user, h->pass, p->at_logits, p->n, h->sum)));
    for (int32_t i = 0; i < all->count; i++)
        for (int64_t k = 0; k < all->parameter[i].count; k++)
            if (!isfinite(h->sum[all->parameter[i].offset + k]))
                return fa_fail(FA_ERR_NOT_FINITE, "%.100s: weight_gradient(): element %lld of parameter '%.100s' is NaN or infinite", h->table->name, (long long)k,
                               all->parameter[i].name);
    for (int32_t i = 0; i < moving->count; i++) {
        const float *from = h->sum + all->parameter[moving->value[i]].offset;
        float *to = gradient + moving->parameter[i].offset;
        for (int64_t k = 0; k < moving->parameter[i].count; k++) to[k] += scale * from[k];
    }
    return FA_OK;
}

static size_t kept_bytes(const fa_pass *p)
{
    (void)p;
    return 0;
}

const fa_engine fa_engine_host = {.vary = fa_host_vary, .create = create, .destroy = destroy, .forward = forward, .backward = backward, .add_gradient = add_gradient,
                                  .set_weights = set_weights, .kept_bytes = kept_bytes};
