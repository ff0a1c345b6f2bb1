/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_options.h"

#include <string.h>

enum {
    KEY_KIND = 512, KEY_PRESET, KEY_SAMPLER, KEY_DRAWS, KEY_CHAINS, KEY_GAMMA, KEY_NBETA, KEY_STEP_SIZE, KEY_NOISE, KEY_DECAY, KEY_EPSILON, KEY_BURN_IN, KEY_THINNING, KEY_MINIBATCH, KEY_STORAGE,
    KEY_BATCHNORM, KEY_PARAMETERS, KEY_PARTIAL, KEY_FIRST_CHAIN, KEY_SAMPLING, KEY_CHECKPOINT, KEY_SECONDS, KEY_RESUME
};

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Trace sketches (losses at weights drawn around the trained ones, arXiv 2604.18970):", 4},
    {"kind", KEY_KIND, "KIND", 0, "gradient or trace (default gradient)", 4},
    {"preset", KEY_PRESET, "NAME", 0, "paper: a trace sketch as published; last-layers: a gradient sketch whose scores cost 1.1 forward passes (--max-forwards 1.1)", 4},
    {"sampler", KEY_SAMPLER, "NAME", 0, "gaussian, rmsprop_sgld or sgld (default gaussian)", 4},
    {"draws", KEY_DRAWS, "T", 0, "Draws that each chain keeps (default 100)", 4},
    {"chains", KEY_CHAINS, "N", 0, "Independent chains (default 1)", 4},
    {"first-chain", KEY_FIRST_CHAIN, "ID", 0, "Id of the first one; sketches to be merged need other ids or seeds (default 0)", 4},
    {"gamma", KEY_GAMMA, "G", 0, "Pull to the trained weights: 1 / variance of gaussian draws (default 1000, of chains 10000)", 4},
    {"nbeta", KEY_NBETA, "B", 0, "Weight of the mean loss (default 100)", 4},
    {"step-size", KEY_STEP_SIZE, "E", 0, "Step size of a chain (default 1e-6)", 4},
    {"noise", KEY_NOISE, "S", 0, "Scale of the injected noise (default 1)", 4},
    {"decay", KEY_DECAY, "A", 0, "Of the second moment of rmsprop_sgld (default 0.99)", 4},
    {"epsilon", KEY_EPSILON, "E", 0, "Beside its root (default 0.1)", 4},
    {"burn-in", KEY_BURN_IN, "N", 0, "Steps before the first kept draw (default 250)", 4},
    {"thinning", KEY_THINNING, "N", 0, "Steps between kept draws (default 1)", 4},
    {"minibatch", KEY_MINIBATCH, "N", 0, "Inputs per step (default 256)", 4},
    {"sampling", KEY_SAMPLING, "S.npz", 0, "Inputs that minibatches are taken from (default: the references)", 4},
    {"batchnorm", KEY_BATCHNORM, "POLICY", 0, "frozen, or reestimate: BatchNorm statistics follow the minibatches (default frozen)", 4},
    {"storage", KEY_STORAGE, "TYPE", 0, "Draws of chains as f32, bf16 or int8 (default bf16); gaussian draws need none", 4},
    {"parameters", KEY_PARAMETERS, "PATTERN", 0, "Weights that move: patterns over names as for --layers (default: all)", 4},
    {"partial", KEY_PARTIAL, NULL, 0, "Partial correlation: the references' mean trace is regressed out", 4},
    {"checkpoint", KEY_CHECKPOINT, "FILE", 0, "Where a build that is killed can be resumed from (default: OUT.fattr.checkpoint)", 4},
    {"checkpoint-seconds", KEY_SECONDS, "N", 0, "Time between two checkpoints (default 30)", 4},
    {"resume", KEY_RESUME, NULL, 0, "Go on from the checkpoint, where there is one", 4},
    {NULL},
};

static const char *const samplers[] = {[FA_SAMPLER_GAUSSIAN] = "gaussian", [FA_SAMPLER_RMSPROP_SGLD] = "rmsprop_sgld", [FA_SAMPLER_SGLD] = "sgld"};
static const char *const storages[] = {[FA_DRAWS_DEFAULT] = "none", [FA_DRAWS_F32] = "f32", [FA_DRAWS_BF16] = "bf16", [FA_DRAWS_INT8] = "int8"};
static const char *const policies[] = {[FA_BATCHNORM_FROZEN] = "frozen", [FA_BATCHNORM_REESTIMATE] = "reestimate"};

const char *sampler_name(int32_t sampler)
{
    return samplers[sampler];
}

const char *storage_name(int32_t storage)
{
    return storages[storage];
}

/* The number of a name among `first` to `count` - 1 of a list. */
static int32_t named(const struct argp_state *state, const char *option, const char *argument, const char *const *list, int32_t first, int32_t count)
{
    char names[128] = "";
    for (int32_t i = first; i < count; i++) {
        if (strcmp(argument, list[i]) == 0) return i;
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i > first ? i == count - 1 ? " or " : ", " : "", list[i]);
    }
    usage_error(state, "%s takes %s, not '%s'", option, names, argument);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    trace_arguments *t = state->input;
    fa_trace_options *o = &t->options;
    const int64_t most = INT32_MAX;
    if (key >= KEY_SAMPLER && key <= KEY_RESUME) t->any = true;
    switch (key) {
    case KEY_KIND:
        if (strcmp(arg, "trace") && strcmp(arg, "gradient")) usage_error(state, "--kind takes gradient or trace, not '%s'", arg);
        t->wanted = strcmp(arg, "trace") == 0;
        return 0;
    case KEY_PRESET: t->preset = arg; return 0;
    case KEY_SAMPLER: o->sampler = named(state, "--sampler", arg, samplers, 0, 3); return 0;
    case KEY_STORAGE: o->storage = named(state, "--storage", arg, storages, 1, 4); return 0;
    case KEY_BATCHNORM: o->batchnorm = named(state, "--batchnorm", arg, policies, 0, 2); return 0;
    case KEY_DRAWS: o->draws = integer_argument(state, "--draws", arg, 2, 1000000); return 0;
    case KEY_CHAINS: o->chains = (int32_t)integer_argument(state, "--chains", arg, 1, 1024); return 0;
    case KEY_FIRST_CHAIN: o->first_chain = (uint64_t)integer_argument(state, "--first-chain", arg, 0, INT64_MAX); return 0;
    case KEY_GAMMA: o->gamma = real_argument(state, "--gamma", arg, 1e-12, 1e30); return 0;
    case KEY_NBETA: o->nbeta = real_argument(state, "--nbeta", arg, 0, 1e30); return 0;
    case KEY_STEP_SIZE: o->step_size = real_argument(state, "--step-size", arg, 1e-30, 1e30); return 0;
    case KEY_NOISE: o->noise = real_argument(state, "--noise", arg, 0, 1e30); return 0;
    case KEY_DECAY: o->decay = real_argument(state, "--decay", arg, 0, 1 - 1e-9); return 0;
    case KEY_EPSILON: o->epsilon = real_argument(state, "--epsilon", arg, 1e-30, 1e30); return 0;
    case KEY_BURN_IN: o->burn_in = integer_argument(state, "--burn-in", arg, 0, most); return 0;
    case KEY_THINNING: o->thinning = integer_argument(state, "--thinning", arg, 1, most); return 0;
    case KEY_MINIBATCH: o->minibatch = integer_argument(state, "--minibatch", arg, 1, most); return 0;
    case KEY_SAMPLING: t->sampling = arg; return 0;
    case KEY_PARAMETERS: o->parameters = arg; return 0;
    case KEY_PARTIAL: o->partial = 1; return 0;
    case KEY_CHECKPOINT: t->checkpoint = arg; return 0;
    case KEY_SECONDS: o->checkpoint_ms = (uint64_t)(1000 * real_argument(state, "--checkpoint-seconds", arg, 0.001, 1e9)); return 0;
    case KEY_RESUME: t->resume = true; return 0;
    case ARGP_KEY_END:
        if (t->any && !t->wanted && !t->preset) usage_error(state, "samplers and draws are for trace sketches: add --kind trace");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const struct argp trace_argp = {options, parse, NULL, NULL, NULL, NULL, NULL};
