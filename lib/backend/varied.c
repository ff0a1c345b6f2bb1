/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/varied.h"

#include "backend/engine.h"
#include "base/error.h"

#include <string.h>

int32_t fa_program_parameter_count(const fa_program *p)
{
    return p->parameters.count;
}

const fa_parameter *fa_program_parameter(const fa_program *p, int32_t index)
{
    return &p->parameters.parameter[index];
}

int64_t fa_program_weight_count(const fa_program *p)
{
    return p->parameters.weights;
}

int64_t fa_program_statistics_count(const fa_program *p)
{
    return p->parameters.statistics;
}

void fa_program_trained(const fa_program *program, float *weights, float *statistics)
{
    const fa_parameters *p = &program->parameters;
    if (weights) memcpy(weights, p->trained, (size_t)p->weights * sizeof *weights);
    if (statistics && p->statistics) memcpy(statistics, p->trained + p->weights, (size_t)p->statistics * sizeof *statistics);
}

fa_status fa_program_vary(const fa_program *program, const fa_varied_options *options, fa_program **out)
{
    return program->engine->vary(program, options, out);
}

fa_status fa_pass_set_weights(fa_pass *pass, const float *weights, const float *statistics)
{
    return pass->program->engine->set_weights(pass, weights, statistics);
}

size_t fa_pass_kept_bytes(const fa_pass *pass)
{
    return pass->program->engine->kept_bytes(pass);
}

void fa_pass_keep_weights(const fa_pass *pass, void *kept)
{
    pass->program->engine->keep_weights(pass, kept);
}

void fa_pass_use_weights(fa_pass *pass, const void *kept)
{
    pass->program->engine->use_weights(pass, kept);
}

fa_status fa_pass_mean_gradient(fa_pass *pass, const fa_array *inputs, const int64_t *index, int64_t n, const fa_asked *asked, double scale, float *gradient, double *loss,
                                float *statistics)
{
    const bool training = pass->program->training.graph != NULL;
    if (!pass->gradient) return fa_fail(FA_ERR_ARGUMENT, "the pass was not created for gradients");
    if (n < 1 || n > pass->batch || (training && n != pass->batch))
        return fa_fail(FA_ERR_ARGUMENT, "%lld inputs in a pass that takes %s%lld", (long long)n, training ? "" : "up to ", (long long)pass->batch);
    FA_TRY(fa_pass_run_forward(pass, inputs, 0, index, n));
    const fa_engine *engine = pass->program->engine;
    const int64_t length = pass->head.outputs;
    float *at_logits = pass->at_logits;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        fa_head_row row;
        fa_loss one;
        FA_TRY(fa_pass_look(pass, inputs, asked, i, index ? index[i] : i, &row, &one));
        fa_head_loss_gradient(&pass->head, &row, pass->position, at_logits + i * length);
        sum += one.loss;
    }
    memset(at_logits + n * length, 0, (size_t)((pass->batch - n) * length) * sizeof *at_logits);
    FA_TRY(engine->add_gradient(pass, (float)scale, gradient));
    if (loss) *loss += scale * sum;
    if (training && statistics) engine->move_statistics(pass, statistics);
    return FA_OK;
}
