/* SPDX-License-Identifier: Apache-2.0 */
#include "score/build_parts.h"

#include "base/context.h"
#include "base/error.h"

#include <fattr/version.h>
#include <stdio.h>
#include <string.h>

fa_status fa_build_order(const fa_network *n, const fa_refset *set, fa_arena *arena, const char *what, fa_array **out)
{
    fa_array *ordered = fa_arena_array(arena, (size_t)(n->n_input + FA_ASIDES), sizeof *ordered);
    if (!ordered) return FA_ERR_MEMORY;
    fa_status status = fa_network_order(n, set->input, set->n_input, ordered);
    if (status != FA_OK) return fa_fail_at(status, "%s", what);
    *out = ordered;
    return FA_OK;
}

static fa_status describe_inputs(fa_sketch_body *b, const fa_network *n, const fa_array *inputs)
{
    b->n_input = n->n_input;
    b->input = fa_arena_array(&b->arena, (size_t)n->n_input, sizeof *b->input);
    if (!b->input) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < n->n_input; i++) {
        fa_sketch_input *in = &b->input[i];
        *in = (fa_sketch_input){.dtype = inputs[i].dtype, .ndim = inputs[i].ndim - 1};
        for (int32_t d = 0; d < in->ndim; d++) in->dim[d] = inputs[i].shape[d + 1];
    }
    return FA_OK;
}

fa_status fa_build_describe(const fa_build_request *r, int64_t classes, const fa_array *inputs, fa_sketch_body *b)
{
    b->options = *r->options;
    b->options.progress = NULL;
    b->options.progress_user = NULL;
    b->options.timeout_ms = 0;
    b->options.trace = NULL;
    b->options.output_gradient = NULL;
    b->options.output_gradient_user = NULL;
    if (r->options->layers && !(b->options.layers = fa_arena_string(&b->arena, r->options->layers))) return FA_ERR_MEMORY;
    snprintf(b->library_version, sizeof b->library_version, "%s", fa_version_string());
    memcpy(b->model_digest, r->network->digest, 16);
    memcpy(b->references_digest, r->references->digest, 16);
    b->logits_node = r->network->logits_node;
    b->precision = r->options->trace ? FA_PRECISION_F32 : fa_program_precision(r->network->program);
    b->classes = classes;
    return describe_inputs(b, r->network, inputs);
}

fa_status fa_build_check(const fa_build_request *r)
{
    const fa_loss_kind *loss = fa_loss_kind_of(r->options->loss);
    if (r->references->n < 2) return fa_fail(FA_ERR_ARGUMENT, "%lld reference; a sketch needs at least two", (long long)r->references->n);
    if (r->options->output_gradient && r->options->loss != FA_LOSS_HOST)
        return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.output_gradient: is for the loss 'host', not '%s'", loss->name);
    if (r->options->drop_misclassified && loss->output != FA_OUTPUT_CLASSES)
        return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.drop_misclassified: under the loss '%s' no input has one class", loss->name);
    if (r->options->drop_misclassified && !r->references->label) return fa_fail(FA_ERR_ARGUMENT, "fa_sketch_options.drop_misclassified: the references have no labels");
    return FA_OK;
}

fa_status fa_build_drop(fa_context *context, const fa_refset *set, const int64_t *predicted, fa_refset **out)
{
    int64_t kept = 0;
    bool *keep = fa_new_array(context, (size_t)set->n, sizeof *keep);
    if (!keep) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < set->n; i++) kept += keep[i] = set->label[i] < 0 || set->label[i] == predicted[i];
    fa_status status = kept >= 2 ? fa_refset_select(context, set, keep, out)
                                 : fa_fail(FA_ERR_ARGUMENT, "the model classifies %lld of %lld references as their labels say; at least two are needed", (long long)kept,
                                           (long long)set->n);
    fa_delete(context, keep);
    return status;
}

void fa_build_name_references(const fa_refset *set, fa_sketch_body *b)
{
    for (int64_t i = 0; i < set->n; i++) {
        b->id[i] = set->id[i];
        b->label[i] = set->label ? set->label[i] : -1;
    }
}

void fa_build_shadow(const fa_context *of, fa_context *out)
{
    *out = (fa_context){.allocator = of->allocator, .threads = of->threads, .parallel_for = of->parallel_for, .parallel_user = of->parallel_user, .kernels = of->kernels, .memory_limit = of->memory_limit};
    atomic_init(&out->references, 1);
    atomic_init(&out->used, 0);
    atomic_init(&out->peak, 0);
}
