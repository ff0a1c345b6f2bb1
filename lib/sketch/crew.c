/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/crew.h"

#include "base/context.h"
#include "base/error.h"

int32_t fa_crew_threads(const fa_context *context, int64_t batch, int64_t most)
{
    int64_t chunks = most / batch + (most % batch != 0);
    return chunks < context->threads ? (int32_t)chunks : context->threads;
}

fa_status fa_crew_begin(fa_crew *c, const fa_crew_request *r)
{
    fa_pass_request pass = {.program = r->network->program, .context = r->network->context, .inputs = r->inputs, .n_inputs = r->network->n_input,
                            .batch = r->options->batch, .tapped = r->tapped, .loss = r->options->loss, .output_gradient = r->options->output_gradient,
                            .output_gradient_user = r->options->output_gradient_user};
    fa_pass *first;
    if (pass.loss == FA_LOSS_HOST && !pass.output_gradient)
        return fa_fail(FA_ERR_STATE, "fa_sketch_options.output_gradient: is NULL; under the loss 'host' the gradient at the output is the host's to give");
    c->context = r->network->context;
    c->network = r->network;
    fa_progress_begin(&c->progress, r->options, r->units);
    FA_TRY(fa_progress_add(&c->progress, "planning", 0));
    FA_TRY(fa_pass_create(&pass, &first));
    c->batch = fa_pass_batch(first);
    int32_t threads = fa_crew_threads(c->context, c->batch, r->most);
    c->member = fa_new_array(c->context, (size_t)threads, sizeof *c->member);
    if (!c->member) {
        fa_pass_destroy(first);
        return FA_ERR_MEMORY;
    }
    c->member[0].pass = first;
    FA_TRY(fa_pool_create(c->context, threads, &c->pool));
    c->threads = fa_pool_threads(c->pool);
    for (int32_t t = 1; t < c->threads; t++) FA_TRY(fa_pass_create(&pass, &c->member[t].pass));
    return FA_OK;
}

fa_status fa_crew_project(fa_crew *c, const fa_sketch_body *body)
{
    const fa_program *program = c->network->program;
    FA_TRY(fa_projector_create(c->context, program, body, c->member[0].pass, &c->projector));
    size_t scratch = fa_extract_scratch(program, body, c->member[0].pass);
    for (int32_t t = 0; t < c->threads; t++) {
        c->member[t].projector = c->projector;
        c->member[t].scratch = fa_new_uncleared(c->context, scratch);
        if (!c->member[t].scratch) return FA_ERR_MEMORY;
    }
    return FA_OK;
}

void fa_crew_end(fa_crew *c)
{
    int32_t members = c->threads ? c->threads : c->member ? 1 : 0;
    fa_pool_destroy(c->pool);
    for (int32_t t = 0; t < members; t++) {
        fa_pass_destroy(c->member[t].pass);
        fa_delete(c->context, c->member[t].scratch);
    }
    fa_projector_destroy(c->projector);
    fa_delete(c->context, c->member);
    *c = (fa_crew){0};
}
