/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sketch_options.h"

#include "api/check.h"
#include "base/options.h"
#include "sketch/select.h"

#include <math.h>

static const fa_sketch_options defaults = {.struct_size = sizeof defaults, .k_in = 16, .k_out = 16, .beta = 0.25, .damping = 0.1, .ridge = 1,
                                           .topk = 5, .batch = 16};

void fa_sketch_options_init(fa_sketch_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

static fa_status range(const char *field, int32_t value, int32_t least, int32_t most)
{
    if (value >= least && value <= most) return FA_OK;
    return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.%s: %d is not in %d to %d", field, value, least, most);
}

static void replace_zero(int32_t *value, int32_t fallback)
{
    if (*value == 0) *value = fallback;
}

fa_status fa_sketch_options_resolve(const fa_sketch_options *given, fa_sketch_options *out, fa_trace_options *trace)
{
    fa_sketch_options o = defaults;
    FA_TRY(fa_options_read("fa_sketch_options", &o, sizeof o, given));
    replace_zero(&o.k_in, defaults.k_in);
    replace_zero(&o.k_out, defaults.k_out);
    replace_zero(&o.topk, defaults.topk);
    replace_zero(&o.batch, defaults.batch);
    if (o.beta < 0) o.beta = defaults.beta;
    if (o.damping < 0) o.damping = defaults.damping;
    if (o.ridge == 0) o.ridge = defaults.ridge;
    FA_TRY(range("k_in", o.k_in, 1, 256));
    FA_TRY(range("k_out", o.k_out, 1, 256));
    FA_TRY(range("blocks", o.blocks, FA_BLOCKS_BOTH, FA_BLOCKS_LAYER_UNIT));
    FA_TRY(range("loss", o.loss, FA_LOSS_MARGIN, FA_LOSS_COUNT - 1));
    FA_TRY(range("topk", o.topk, 1, INT32_MAX));
    FA_TRY(range("batch", o.batch, 1, 4096));
    FA_TRY(range("drop_misclassified", o.drop_misclassified, 0, 1));
    FA_TRY(range("keep_moments", o.keep_moments, 0, 1));
    FA_TRY(range("subset", o.subset, FA_SUBSET_ALL, FA_SUBSET_CLASS));
    if (o.subset && o.trace) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.subset: a trace sketch has all references explain an input");
    if (o.subset && o.loss != FA_LOSS_MARGIN && o.loss != FA_LOSS_CROSS_ENTROPY)
        return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.subset: under the loss '%s' an input has no class", fa_loss_name(o.loss));
    if (!(o.max_forwards == 0 || (o.max_forwards > 1 && o.max_forwards <= 1e9)))
        return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.max_forwards: %g is neither 0 nor more than 1", o.max_forwards);
    if (o.max_forwards > 0 && o.trace) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.max_forwards: a trace sketch taps no layers");
    if (o.output_gradient_user && !o.output_gradient) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.output_gradient_user: there is no output_gradient");
    if (o.keep_moments && o.trace) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.keep_moments: a trace sketch has no moments");
    if (!(o.beta <= 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.beta: %g is not in 0 to 1", o.beta);
    if (!(o.damping <= 1e30)) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.damping: %g is not in 0 to 1e30", o.damping);
    if (!(o.ridge > 0 && o.ridge <= 1e30)) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.ridge: %g is not in 0 to 1e30", o.ridge);
    if (o.layers && !fa_layer_patterns_valid(o.layers))
        return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.layers: a pattern in '%.200s' is empty or longer than %d bytes", o.layers,
                       FA_LAYER_PATTERN - 1);
    if (o.trace) {
        FA_TRY(fa_trace_options_resolve(o.trace, trace));
        o.trace = trace;
    }
    *out = o;
    return FA_OK;
}
