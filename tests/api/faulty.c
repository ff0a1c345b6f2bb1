/* SPDX-License-Identifier: Apache-2.0 */
#include "faulty.h"

#include "support.h"

#include <math.h>
#include <string.h>

static bool fails(faulty *f)
{
    return atomic_fetch_add(&f->calls, 1) == f->fail_at;
}

static fa_status failure(const faulty *f)
{
    return f->saying ? fa_error_set(f->with, f->saying) : f->with;
}

static fa_status create_pass(void *user, const fa_backend_request *request, fa_backend_geometry *geometry, void **pass)
{
    faulty *f = user;
    if (fails(f)) return failure(f);
    fa_status s = f->inner.create_pass(&f->net, request, geometry, pass);
    if (s == FA_OK) atomic_fetch_add(&f->open, 1);
    return s;
}

static void destroy_pass(void *user, void *pass)
{
    faulty *f = user;
    atomic_fetch_sub(&f->open, 1);
    f->inner.destroy_pass(&f->net, pass);
}

static fa_status forward(void *user, void *pass, const void *const *inputs, int64_t n, float *logits)
{
    faulty *f = user;
    if (fails(f)) return failure(f);
    fa_status s = f->inner.forward(&f->net, pass, inputs, n, logits);
    if (f->spoil == FORWARD) logits[n * 3 - 1] = NAN;
    return s;
}

static fa_status taps(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *tap)
{
    faulty *f = user;
    if (fails(f)) return failure(f);
    fa_status s = f->inner.taps(&f->net, pass, at_logits, n, tap);
    if (f->spoil == TAPS) ((float *)tap[1].d)[0] = INFINITY;
    return s;
}

static fa_status weight_gradient(void *user, void *pass, const float *at_logits, int64_t n, float *gradient)
{
    faulty *f = user;
    if (fails(f)) return failure(f);
    fa_status s = f->inner.weight_gradient(&f->net, pass, at_logits, n, gradient);
    if (f->spoil == WEIGHT_GRADIENT) gradient[f->net.size[0] * f->net.size[1] + 1] = NAN;
    return s;
}

static fa_status set_weights(void *user, void *pass, const float *weights)
{
    faulty *f = user;
    return fails(f) ? failure(f) : f->inner.set_weights(&f->net, pass, weights);
}

static void release(void *user)
{
    ((faulty *)user)->released++;
}

void faulty_begin(faulty *f, fa_backend *b)
{
    static const int64_t size[] = {IN, 5, 4, 3};
    memset(f, 0, sizeof *f);
    f->fail_at = -1;
    f->spoil = -1;
    f->with = FA_ERR_IO;
    f->saying = "the device is gone";
    ck_assert(mlp_init(&f->net, 3, size));
    for (int64_t i = 0; i < f->net.weight_count; i++) f->net.weights[i] = sinf((float)(i * i + i) * 1.7f) * 0.8f;
    mlp_backend(&f->net, &f->inner);
    *b = f->inner;
    b->name = "faulty";
    b->user = f;
    b->create_pass = create_pass;
    b->destroy_pass = destroy_pass;
    b->forward = forward;
    b->taps = taps;
    b->weight_gradient = weight_gradient;
    b->set_weights = set_weights;
    b->release = release;
}
