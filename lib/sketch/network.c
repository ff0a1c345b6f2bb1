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

fa_status fa_network_order(const fa_network *n, const fa_array *inputs, int32_t n_inputs, fa_array *ordered)
{
    if (n_inputs != n->n_input) return fa_fail(FA_ERR_ARGUMENT, "%d input arrays given; the model has %d inputs", n_inputs, n->n_input);
    memset(ordered, 0, (size_t)n->n_input * sizeof *ordered);
    for (int32_t i = 0; i < n_inputs; i++) {
        int32_t at = inputs[i].name ? input_named(n, inputs[i].name) : i;
        if (at < 0) return fa_fail(FA_ERR_ARGUMENT, "the model has no input '%.100s'; its first is '%.100s'", inputs[i].name, n->input_name[0]);
        if (ordered[at].name) return fa_fail(FA_ERR_ARGUMENT, "input '%.100s' is given twice", n->input_name[at]);
        if (inputs[i].ndim > 0 && !inputs[i].shape) return fa_fail(FA_ERR_ARGUMENT, "input '%.100s': 'shape' is NULL", n->input_name[at]);
        ordered[at] = inputs[i];
        ordered[at].name = n->input_name[at];
    }
    return FA_OK;
}
