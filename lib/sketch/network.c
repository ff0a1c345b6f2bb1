/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/network.h"

#include "base/error.h"

#include <string.h>

static int32_t input_named(const fa_network *n, const char *name)
{
    for (int32_t i = 0; i < n->n_input; i++)
        if (!strcmp(n->input_name[i], name)) return i;
    return -1;
}

/* Place of the i-th array that is no aside, or behind the inputs, of an aside; an input of that name comes first. */
static int32_t place_of(const fa_network *n, const fa_array *a, int32_t position)
{
    static const char *const asides[FA_ASIDES] = {[FA_ASIDE_TARGET] = FA_ARRAY_TARGET, [FA_ASIDE_MASK] = FA_ARRAY_MASK};
    if (!a->name) return position;
    const int32_t at = input_named(n, a->name);
    for (int32_t k = 0; at < 0 && k < FA_ASIDES; k++)
        if (!strcmp(a->name, asides[k])) return n->n_input + k;
    return at;
}

fa_status fa_network_order(const fa_network *n, const fa_array *inputs, int32_t n_inputs, fa_array *ordered)
{
    int32_t own = n_inputs;
    if (n_inputs >= n->n_input && n_inputs <= n->n_input + FA_ASIDES) /* others are not even looked at */
        for (int32_t i = own = 0; i < n_inputs; i++) own += place_of(n, &inputs[i], 0) < n->n_input;
    if (own != n->n_input) return fa_fail(FA_ERR_ARGUMENT, "%d input arrays given; the model has %d inputs", own, n->n_input);
    own = 0;
    memset(ordered, 0, (size_t)(n->n_input + FA_ASIDES) * sizeof *ordered);
    for (int32_t i = 0; i < n_inputs; i++) {
        const int32_t at = place_of(n, &inputs[i], own);
        if (at < 0) return fa_fail(FA_ERR_ARGUMENT, "the model has no input '%.100s'; its first is '%.100s'", inputs[i].name, n->input_name[0]);
        const char *name = at < n->n_input ? n->input_name[at] : inputs[i].name;
        own += at < n->n_input;
        if (ordered[at].name) return fa_fail(FA_ERR_ARGUMENT, "input '%.100s' is given twice", name);
        if (inputs[i].ndim > 0 && !inputs[i].shape) return fa_fail(FA_ERR_ARGUMENT, "input '%.100s': 'shape' is NULL", name);
        ordered[at] = inputs[i];
        ordered[at].name = name;
    }
    return FA_OK;
}

fa_asked fa_network_asked(const fa_network *n, const fa_array *ordered)
{
    const fa_array *target = &ordered[n->n_input + FA_ASIDE_TARGET], *mask = &ordered[n->n_input + FA_ASIDE_MASK];
    return (fa_asked){.target = target->name ? target : NULL, .mask = mask->name ? mask : NULL};
}
