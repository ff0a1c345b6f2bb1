/* SPDX-License-Identifier: Apache-2.0 */
#include "api/check.h"
#include "api/sketch_options.h"
#include "base/options.h"
#include "sketch/select.h"

#include <string.h>

/* Measured (docs/method.md): independent draws that raise the references' loss by one to three nats tell most with the fewest of them; chains as published. */
#define GAMMA_GAUSSIAN 1e3
#define GAMMA_CHAIN 1e4

static const fa_trace_options defaults = {.struct_size = sizeof defaults, .chains = 1, .draws = 100, .burn_in = 250, .thinning = 1, .minibatch = 256, .step_size = 1e-6,
                                          .nbeta = 100, .noise = 1, .decay = 0.99, .epsilon = 0.1, .checkpoint_ms = 30000};

void fa_trace_options_init(fa_trace_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

static fa_status in_range(const char *field, int64_t value, int64_t least, int64_t most)
{
    if (value >= least && value <= most) return FA_OK;
    return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.%s: %lld is not in %lld to %lld", field, (long long)value, (long long)least, (long long)most);
}

static fa_status real_in_range(const char *field, double value, double least, double most)
{
    if (value >= least && value <= most) return FA_OK;
    return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.%s: %g is not in %g to %g", field, value, least, most);
}

static void fill_in(fa_trace_options *o)
{
    if (o->chains == 0) o->chains = defaults.chains;
    if (o->draws == 0) o->draws = defaults.draws;
    if (o->burn_in < 0) o->burn_in = defaults.burn_in;
    if (o->thinning == 0) o->thinning = defaults.thinning;
    if (o->minibatch == 0) o->minibatch = defaults.minibatch;
    if (o->step_size == 0) o->step_size = defaults.step_size;
    if (o->gamma == 0) o->gamma = o->sampler == FA_SAMPLER_GAUSSIAN ? GAMMA_GAUSSIAN : GAMMA_CHAIN;
    if (o->nbeta < 0) o->nbeta = defaults.nbeta;
    if (o->noise < 0) o->noise = defaults.noise;
    if (o->decay < 0) o->decay = defaults.decay;
    if (o->epsilon == 0) o->epsilon = defaults.epsilon;
    if (o->checkpoint_ms == 0) o->checkpoint_ms = defaults.checkpoint_ms;
    if (o->sampler != FA_SAMPLER_GAUSSIAN && o->storage == FA_DRAWS_DEFAULT) o->storage = FA_DRAWS_BF16;
}

fa_status fa_trace_options_resolve(const fa_trace_options *given, fa_trace_options *out)
{
    fa_trace_options o = defaults;
    FA_TRY(fa_options_read("fa_trace_options", &o, sizeof o, given));
    fill_in(&o);
    FA_TRY(in_range("sampler", o.sampler, FA_SAMPLER_GAUSSIAN, FA_SAMPLER_SGLD));
    FA_TRY(in_range("storage", o.storage, FA_DRAWS_DEFAULT, FA_DRAWS_INT8));
    FA_TRY(in_range("batchnorm", o.batchnorm, FA_BATCHNORM_FROZEN, FA_BATCHNORM_REESTIMATE));
    FA_TRY(in_range("chains", o.chains, 1, 1024));
    FA_TRY(in_range("partial", o.partial, 0, 1));
    FA_TRY(in_range("resume", o.resume, 0, 1));
    FA_TRY(in_range("draws", o.draws, 2, 1000000));
    FA_TRY(in_range("burn_in", o.burn_in, 0, INT32_MAX));
    FA_TRY(in_range("thinning", o.thinning, 1, INT32_MAX));
    FA_TRY(in_range("minibatch", o.minibatch, 1, INT32_MAX));
    FA_TRY(real_in_range("step_size", o.step_size, 1e-30, 1e30));
    FA_TRY(real_in_range("gamma", o.gamma, 1e-30, 1e30));
    FA_TRY(real_in_range("nbeta", o.nbeta, 0, 1e30));
    FA_TRY(real_in_range("noise", o.noise, 0, 1e30));
    FA_TRY(real_in_range("decay", o.decay, 0, 1 - 1e-9));
    FA_TRY(real_in_range("epsilon", o.epsilon, 1e-30, 1e30));
    if (o.sampler == FA_SAMPLER_GAUSSIAN && o.batchnorm == FA_BATCHNORM_REESTIMATE)
        return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.batchnorm: gaussian draws see no minibatch that statistics could be estimated from; take a chain or FA_BATCHNORM_FROZEN");
    if (o.first_chain > UINT64_MAX - (uint64_t)(o.chains - 1))
        return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.first_chain: %llu is too large for the ids of %d chains", (unsigned long long)o.first_chain, o.chains);
    if (o.resume && !o.checkpoint) return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.resume: no checkpoint is named to resume from");
    if (o.parameters && !fa_layer_patterns_valid(o.parameters))
        return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options.parameters: a pattern in '%.200s' is empty or longer than %d bytes", o.parameters, FA_LAYER_PATTERN - 1);
    *out = o;
    return FA_OK;
}

fa_status fa_trace_options_preset(fa_sketch_options *options, fa_trace_options *trace, const char *name)
{
    FA_CHECK(options);
    FA_CHECK(trace);
    FA_CHECK(name);
    if (strcmp(name, "paper")) return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options_preset: no preset '%.100s'; there is 'paper'", name);
    if (options->struct_size < sizeof *options || trace->struct_size < sizeof *trace)
        return fa_fail(FA_ERR_ARGUMENT, "fa_trace_options_preset: a struct is smaller than this library's; was it initialised?");
    options->drop_misclassified = 1;
    options->trace = trace;
    trace->sampler = FA_SAMPLER_RMSPROP_SGLD;
    trace->storage = FA_DRAWS_F32;
    trace->batchnorm = FA_BATCHNORM_REESTIMATE;
    trace->chains = 1;
    trace->partial = 0;
    trace->draws = 1750;
    trace->burn_in = 250;
    trace->thinning = 1;
    trace->minibatch = 256;
    trace->step_size = 1e-6;
    trace->gamma = GAMMA_CHAIN;
    trace->nbeta = 100;
    trace->noise = 1;
    trace->decay = 0.99;
    trace->epsilon = 0.1;
    trace->parameters = NULL;
    return FA_OK;
}
