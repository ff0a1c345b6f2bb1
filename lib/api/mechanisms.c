/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/mechanisms.h"

#include "api/check.h"
#include "base/context.h"
#include "base/file.h"
#include "base/options.h"

#include <math.h>
#include <stdio.h>

/* A single input's likeness is less sure than that between groups. Measured on three.onnx: with 0.1 98 % of the inputs of known mechanisms are assigned to
 * theirs and at least 88 % of those of an unknown one to none; without it 99.5 % and 51 %. */
#define SINGLE_MARGIN 0.1

static const fa_mechanisms_options defaults = {.struct_size = sizeof defaults, .linkage = 0.35, .likeness = 0.55};

void fa_mechanisms_options_init(fa_mechanisms_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

fa_status fa_mechanisms_create(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out)
{
    fa_mechanisms_options o = defaults;
    fa_mechanisms *m;
    FA_CHECK(sketch);
    FA_CHECK(out);
    FA_TRY(fa_options_read("fa_mechanisms_options", &o, sizeof o, options));
    if (o.linkage == 0) o.linkage = defaults.linkage;
    if (o.likeness == 0) o.likeness = defaults.likeness;
    if (!(o.linkage > 0 && o.linkage < 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_mechanisms_options.linkage: %g is not between 0 and 1", o.linkage);
    if (!(o.likeness > 0 && o.likeness <= 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_mechanisms_options.likeness: %g is not in 0 to 1", o.likeness);
    FA_TRY(fa_mechanisms_make(sketch, &o, &m));
    fa_context_retain(m->context);
    *out = m;
    return FA_OK;
}

fa_mechanisms *fa_mechanisms_retain(const fa_mechanisms *mechanisms)
{
    fa_mechanisms *m = (fa_mechanisms *)mechanisms;
    if (m) atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    return m;
}

void fa_mechanisms_release(fa_mechanisms *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) > 1) return;
    fa_context *context = m->context;
    fa_mechanisms_free(m);
    fa_context_release(context);
}

int64_t fa_mechanisms_fingerprint_length(const fa_mechanisms *mechanisms)
{
    return mechanisms ? mechanisms->background->length : 0;
}

int64_t fa_mechanisms_count(const fa_mechanisms *mechanisms)
{
    return mechanisms ? mechanisms->groups.n : 0;
}

fa_status fa_mechanisms_fingerprint(const fa_mechanisms *mechanisms, const float *residual, float *out)
{
    FA_CHECK(mechanisms);
    FA_CHECK(residual);
    FA_CHECK(out);
    const fa_background *b = mechanisms->background;
    for (int64_t i = 0; i < b->residual_length; i++)
        if (!isfinite(residual[i])) return fa_fail(FA_ERR_NOT_FINITE, "fa_mechanisms_fingerprint: 'residual' element %lld is not finite", (long long)i);
    return fa_fingerprint(b, residual, out) ? FA_OK : fa_fail(FA_ERR_NOT_FINITE, "fa_mechanisms_fingerprint: 'residual' is too large");
}

/* Which of [n, length] are no unit vectors. */
static fa_status check_unit(const char *function, const float *x, int64_t n, int64_t length)
{
    for (int64_t i = 0; i < n; i++) {
        double squares = 0;
        for (int64_t k = 0; k < length; k++) squares += (double)x[i * length + k] * x[i * length + k];
        if (!isfinite(squares)) return fa_fail(FA_ERR_NOT_FINITE, "%s: fingerprint %lld is not finite", function, (long long)i);
        if (fabs(squares - 1) > 1e-3)
            return fa_fail(FA_ERR_ARGUMENT, "%s: fingerprint %lld has length %g, not 1", function, (long long)i, sqrt(squares));
    }
    return FA_OK;
}

fa_status fa_mechanisms_assign(const fa_mechanisms *mechanisms, const float *fingerprint, int64_t *group, double *likeness)
{
    double like;
    FA_CHECK(mechanisms);
    FA_CHECK(fingerprint);
    FA_CHECK(group);
    const fa_groups *g = &mechanisms->groups;
    FA_TRY(check_unit(__func__, fingerprint, 1, g->length));
    int64_t nearest = fa_groups_nearest(g, fa_dot_kernels_for(mechanisms->context->kernels), fingerprint, fa_single_weight(), 0, -1, &like);
    *group = nearest >= 0 && like >= mechanisms->options.likeness + SINGLE_MARGIN ? nearest : -1;
    if (likeness) *likeness = like;
    return FA_OK;
}

fa_status fa_mechanisms_group(const fa_mechanisms *mechanisms, const float *fingerprints, int64_t n, int64_t *group, fa_mechanisms **out)
{
    fa_mechanisms *m;
    FA_CHECK(mechanisms);
    if (n < 0) return fa_fail(FA_ERR_ARGUMENT, "fa_mechanisms_group: n is %lld", (long long)n);
    if (n) {
        FA_CHECK(fingerprints);
        FA_CHECK(group);
    }
    FA_TRY(check_unit(__func__, fingerprints, n, mechanisms->groups.length));
    FA_TRY(fa_mechanisms_extend(mechanisms, fingerprints, n, group, &m));
    if (out) {
        fa_context_retain(m->context);
        *out = m;
    } else {
        fa_mechanisms_free(m);
    }
    return FA_OK;
}

fa_status fa_mechanisms_get(const fa_mechanisms *mechanisms, int64_t index, fa_mechanism_info *info)
{
    FA_CHECK(mechanisms);
    FA_CHECK(info);
    const fa_groups *g = &mechanisms->groups;
    FA_CHECK_INDEX(index, g->n);
    *info = (fa_mechanism_info){.count = g->count[index], .cohesion = fa_groups_within(g, index), .center = mechanisms->center + index * g->length};
    snprintf(info->name, sizeof info->name, "%012llx", (unsigned long long)g->name[index]);
    return FA_OK;
}

fa_status fa_mechanisms_save_file(const fa_mechanisms *mechanisms, const char *path)
{
    FA_CHECK(mechanisms);
    FA_CHECK(path);
    return fa_mechanisms_write(mechanisms, path);
}

static fa_status load(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out)
{
    fa_mechanisms *m;
    FA_TRY(fa_mechanisms_read(sketch, data, size, &m));
    fa_context_retain(m->context);
    *out = m;
    return FA_OK;
}

fa_status fa_mechanisms_load_file(const fa_sketch *sketch, const char *path, fa_mechanisms **out)
{
    void *data;
    size_t size;
    FA_CHECK(sketch);
    FA_CHECK(path);
    FA_CHECK(out);
    FA_TRY(fa_file_read(sketch->context, path, &data, &size));
    fa_status status = load(sketch, data, size, out);
    fa_delete(sketch->context, data);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "%s", path);
}

fa_status fa_mechanisms_load_memory(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out)
{
    FA_CHECK(sketch);
    FA_CHECK(out);
    if (size) FA_CHECK(data);
    return load(sketch, data, size, out);
}
