/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/varied.h"

#include "backend/loss.h"
#include "backend/pass_private.h"
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

void fa_pass_set_weights(fa_pass *pass, const float *weights, const float *statistics)
{
    const fa_parameters *p = &pass->program->parameters;
    if (!statistics) statistics = p->trained + p->weights;
    for (int32_t i = 0; i < p->count; i++) fa_run_set(pass->run, p->value[i], weights + p->parameter[i].offset);
    for (int32_t i = 0; i < p->n_statistic; i++) fa_run_set(pass->run, p->statistic[i], statistics + p->statistic_at[i]);
    fa_run_prepare(pass->run);
}

size_t fa_pass_kept_bytes(const fa_pass *pass)
{
    return fa_plan_kept_bytes(pass->plan);
}

void fa_pass_keep_weights(const fa_pass *pass, void *kept)
{
    fa_run_keep(pass->run, kept);
}

void fa_pass_use_weights(fa_pass *pass, const void *kept)
{
    fa_run_use(pass->run, kept);
}

/* Elements of a channel that a normalisation takes its statistics of, in a full batch. */
static int64_t normalised(const fa_pass *p, const fa_batchnorm *norm)
{
    const fa_graph *g = p->network->graph;
    const fa_view *x = fa_plan_value(p->plan, g->node[g->value[norm->mean].producer].in[0]);
    return x->count / norm->channels;
}

fa_status fa_pass_begin_varied(fa_pass *pass)
{
    const fa_program *program = pass->program;
    for (int32_t i = 0; pass->network == &program->training && i < program->norms.count; i++) {
        const fa_batchnorm *norm = &program->norms.norm[i];
        if (fa_plan_value(pass->plan, norm->mean)->count != norm->channels)
            return fa_fail(FA_ERR_SHAPE, "node '%s': statistics of %lld channels for images of %lld", norm->name, (long long)norm->channels,
                           (long long)fa_plan_value(pass->plan, norm->mean)->count);
        if (normalised(pass, norm) < 2) return fa_fail(FA_ERR_ARGUMENT, "node '%s': a batch of one element per channel has no variance", norm->name);
    }
    fa_pass_set_weights(pass, program->parameters.trained, NULL);
    return FA_OK;
}

static void move_statistics(const fa_pass *pass, float *statistics)
{
    const fa_batchnorms *norms = &pass->program->norms;
    for (int32_t i = 0; i < norms->count; i++) {
        const fa_batchnorm *b = &norms->norm[i];
        const float *mean = fa_run_value(pass->run, b->mean)->data, *variance = fa_run_value(pass->run, b->variance)->data;
        const double n = (double)normalised(pass, b), unbiased = n / (n - 1);
        for (int64_t c = 0; c < b->channels; c++) {
            float *m = &statistics[b->mean_at + c], *v = &statistics[b->variance_at + c];
            *m = (float)(b->momentum * (double)*m + (1 - b->momentum) * (double)mean[c]);
            *v = (float)(b->momentum * (double)*v + (1 - b->momentum) * unbiased * (double)variance[c]);
        }
    }
}

static void add_gradients(const fa_pass *pass, float scale, float *gradient)
{
    const fa_parameters *p = &pass->program->parameters;
    for (int32_t i = 0; i < p->count; i++) {
        const float *from = fa_run_gradient(pass->run, i);
        float *to = gradient + p->parameter[i].offset;
        for (int64_t k = 0; from && k < p->parameter[i].count; k++) to[k] += scale * from[k];
    }
}

fa_status fa_pass_mean_gradient(fa_pass *pass, const fa_array *inputs, const int64_t *index, int64_t n, const int64_t *target, double scale, float *gradient, double *loss,
                                float *statistics)
{
    const bool training = pass->network == &pass->program->training;
    if (!pass->gradient) return fa_fail(FA_ERR_ARGUMENT, "the pass was not created for gradients");
    if (n < 1 || n > pass->batch || (training && n != pass->batch))
        return fa_fail(FA_ERR_ARGUMENT, "%lld inputs in a pass that takes %s%lld", (long long)n, training ? "" : "up to ", (long long)pass->batch);
    FA_TRY(fa_pass_copy_in(pass, inputs, 0, index, n));
    fa_run_forward(pass->run);
    const float *logits = fa_run_value(pass->run, pass->program->logits)->data;
    float *at_logits = fa_run_loss_gradient(pass->run);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * pass->classes;
        fa_loss one;
        FA_TRY(fa_pass_check_row(pass, z, index ? index[i] : i, &target[i]));
        fa_loss_row(z, pass->classes, target[i], FA_LOSS_CROSS_ENTROPY, &one, NULL);
        fa_loss_gradient(z, pass->classes, target[i], at_logits + i * pass->classes);
        sum += one.loss;
    }
    memset(at_logits + n * pass->classes, 0, (size_t)((pass->batch - n) * pass->classes) * sizeof *at_logits);
    fa_run_backward(pass->run, NULL, NULL);
    add_gradients(pass, (float)scale, gradient);
    if (loss) *loss += scale * sum;
    if (training && statistics) move_statistics(pass, statistics);
    return FA_OK;
}
