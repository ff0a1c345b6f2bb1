/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/mechanisms.h"

#include "base/error.h"
#include "mechanism/grouping.h"

/* One without groups; takes the background over, in any case. */
static fa_status wrap(fa_context *context, fa_background *background, const fa_mechanisms_options *options, fa_mechanisms **out)
{
    fa_mechanisms *m = fa_new(context, sizeof *m);
    if (!m) {
        fa_background_release(background);
        return FA_ERR_MEMORY;
    }
    atomic_init(&m->references, 1);
    m->context = context;
    m->background = background;
    m->options = *options;
    m->groups = (fa_groups){.context = context, .length = background->length};
    *out = m;
    return FA_OK;
}

void fa_mechanisms_free(fa_mechanisms *m)
{
    if (!m) return;
    fa_background_release(m->background);
    fa_groups_clear(&m->groups);
    fa_delete(m->context, m->center);
    fa_delete(m->context, m);
}

fa_status fa_mechanisms_make(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out)
{
    fa_background *background;
    FA_TRY(fa_background_create(sketch, &background));
    return wrap(sketch->context, background, options, out);
}

fa_status fa_mechanisms_finish(fa_mechanisms *m)
{
    const fa_groups *g = &m->groups;
    m->center = g->n ? fa_new_array(m->context, (size_t)g->n, (size_t)g->length * sizeof *m->center) : NULL;
    if (g->n && !m->center) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < g->n; i++)
        for (int64_t k = 0; k < g->length; k++) m->center[i * g->length + k] = (float)((double)g->sum[i * g->length + k] / (double)g->count[i]);
    return FA_OK;
}

fa_status fa_mechanisms_extend(const fa_mechanisms *known, const float *x, int64_t n, int64_t *label, fa_mechanisms **out)
{
    fa_mechanisms *m;
    FA_TRY(wrap(known->context, fa_background_retain(known->background), &known->options, &m));
    const fa_grouping how = {.context = known->context, .cut = known->options.linkage, .like = known->options.likeness};
    fa_status status = fa_groups_copy(&known->groups, &m->groups);
    if (status == FA_OK) status = fa_group(&how, x, n, &m->groups, label);
    if (status == FA_OK) status = fa_mechanisms_finish(m);
    if (status != FA_OK) {
        fa_mechanisms_free(m);
        return status;
    }
    *out = m;
    return FA_OK;
}
