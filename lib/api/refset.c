/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/refset.h"

#include "api/check.h"
#include "base/options.h"

#include <string.h>

static const fa_refset_options defaults = {.struct_size = sizeof defaults};

void fa_refset_options_init(fa_refset_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

fa_status fa_refset_create(fa_context *context, const fa_array *inputs, int32_t input_count, const fa_refset_options *options, fa_refset **out)
{
    fa_refset_options o = defaults;
    fa_refset *set;
    FA_CHECK(context);
    FA_CHECK(inputs);
    FA_CHECK(out);
    if (input_count < 1) return fa_fail(FA_ERR_ARGUMENT, "fa_refset_create: %d input arrays; at least one is needed", input_count);
    FA_TRY(fa_options_read("fa_refset_options", &o, sizeof o, options));
    FA_TRY(fa_refset_make(context, inputs, input_count, &o, &set));
    fa_context_retain(context);
    *out = set;
    return FA_OK;
}

fa_refset *fa_refset_retain(const fa_refset *refset)
{
    fa_refset *s = (fa_refset *)refset;
    if (s) atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void fa_refset_release(fa_refset *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) > 1) return;
    fa_context *context = s->arena.context;
    fa_refset_free(s);
    fa_context_release(context);
}

int64_t fa_refset_count(const fa_refset *s)
{
    return s ? s->n : 0;
}

int32_t fa_refset_input_count(const fa_refset *s)
{
    return s ? s->n_input : 0;
}

fa_status fa_refset_get_input(const fa_refset *refset, int32_t index, fa_array *view)
{
    FA_CHECK(refset);
    FA_CHECK(view);
    FA_CHECK_INDEX(index, refset->n_input);
    *view = refset->input[index];
    return FA_OK;
}

fa_status fa_refset_get_id(const fa_refset *refset, int64_t index, int64_t *id)
{
    FA_CHECK(refset);
    FA_CHECK(id);
    FA_CHECK_INDEX(index, refset->n);
    *id = refset->id[index];
    return FA_OK;
}

fa_status fa_refset_get_label(const fa_refset *refset, int64_t index, int64_t *label)
{
    FA_CHECK(refset);
    FA_CHECK(label);
    FA_CHECK_INDEX(index, refset->n);
    if (!refset->label) return fa_fail(FA_ERR_STATE, "the set has no labels");
    *label = refset->label[index];
    return FA_OK;
}

fa_status fa_refset_digest(const fa_refset *refset, uint8_t digest[16])
{
    FA_CHECK(refset);
    FA_CHECK(digest);
    memcpy(digest, refset->digest, 16);
    return FA_OK;
}
