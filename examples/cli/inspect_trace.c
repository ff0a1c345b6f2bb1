/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect.h"
#include "json.h"
#include "trace_options.h"

static json_t *diagnosis_json(const fa_diagnosis *d)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "ess", json_number(d->ess), "ess_min", json_number(d->ess_min), "split_rhat", json_number(d->split_rhat),
                     "split_rhat_max", json_number(d->split_rhat_max), "drift", json_number(d->drift), "signal", json_number(d->signal), "moved", json_number(d->moved));
}

json_t *inspect_trace_json(const fa_sketch *sketch)
{
    fa_trace_info t = {.struct_size = sizeof t};
    if (fa_sketch_get_trace_info(sketch, &t) != FA_OK) return json_null();
    json_t *chains = json_array();
    for (int32_t i = 0; i < t.chain_count; i++) {
        fa_chain_info c = {.struct_size = sizeof c};
        if (fa_sketch_get_chain(sketch, i, &c) != FA_OK) continue;
        json_array_append_new(chains, json_pack("{s:I,s:I,s:I,s:o,s:o,s:o,s:o}", "seed", (json_int_t)c.seed, "id", (json_int_t)c.id, "draws", (json_int_t)c.draws,
                                                "loss_before", json_number(c.loss_before), "loss_after", json_number(c.loss_after), "distance", json_number(c.distance),
                                                "diagnosis", diagnosis_json(&c.diagnosis)));
    }
    json_t *options = json_pack("{s:s,s:s,s:s,s:b,s:o,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o}", "sampler", sampler_name(t.sampler), "storage", storage_name(t.storage), "batchnorm",
                                t.batchnorm ? "reestimate" : "frozen", "partial", (int)t.partial, "gamma", json_number(t.gamma), "burn_in", (json_int_t)t.burn_in, "thinning",
                                (json_int_t)t.thinning, "minibatch", (json_int_t)t.minibatch, "step_size", json_number(t.step_size), "nbeta", json_number(t.nbeta), "noise",
                                json_number(t.noise), "decay", json_number(t.decay), "epsilon", json_number(t.epsilon));
    return json_pack("{s:I,s:I,s:i,s:I,s:o,s:o,s:o,s:o,s:s,s:o}", "draws", (json_int_t)t.draw_count, "draw_bytes", (json_int_t)t.draw_bytes, "parameters",
                     (int)t.parameter_count, "weights", (json_int_t)t.weight_count, "options", options, "loss_before", json_number(t.loss_before), "loss_after",
                     json_number(t.loss_after), "diagnosis", diagnosis_json(&t.diagnosis), "verdict", t.verdict, "chains", chains);
}

void inspect_trace_text(const fa_sketch *sketch)
{
    fa_trace_info t = {.struct_size = sizeof t};
    if (fa_sketch_get_trace_info(sketch, &t) != FA_OK) return;
    printf("  draws       %lld of %lld weights in %d initialisers, sampler %s, gamma %g", (long long)t.draw_count, (long long)t.weight_count, (int)t.parameter_count,
           sampler_name(t.sampler), t.gamma);
    if (t.draw_bytes) printf("; %s, %s each\n", storage_name(t.storage), in_words(t.draw_bytes).text);
    else printf("; made again from the seed\n");
    if (t.sampler != FA_SAMPLER_GAUSSIAN)
        printf("  chain       step size %g, nbeta %g, noise %g, minibatch %lld, burn-in %lld, thinning %lld, BatchNorm %s\n", t.step_size, t.nbeta, t.noise, (long long)t.minibatch,
               (long long)t.burn_in, (long long)t.thinning, t.batchnorm ? "re-estimated" : "frozen");
    if (t.partial) printf("  traces      the references' mean trace is regressed out\n");
    printf("\n  %10s %6s %8s %12s %12s %9s %7s %6s %6s %7s\n", "seed", "chain", "draws", "loss before", "loss after", "distance", "ess", "r-hat", "drift", "signal");
    for (int32_t i = 0; i < t.chain_count; i++) {
        fa_chain_info c = {.struct_size = sizeof c};
        if (fa_sketch_get_chain(sketch, i, &c) != FA_OK) continue;
        printf("  %10llu %6llu %8lld %12.5f %12.5f %9.3g %7.1f %6.3f %6.2f %7.1f\n", (unsigned long long)c.seed, (unsigned long long)c.id, (long long)c.draws, c.loss_before,
               c.loss_after, c.distance, c.diagnosis.ess, c.diagnosis.split_rhat, c.diagnosis.drift, c.diagnosis.signal);
    }
    printf("  %17s %8lld %12.5f %12.5f %9s %7.1f %6.3f %6.2f %7.1f\n", "all", (long long)t.draw_count, t.loss_before, t.loss_after, "", t.diagnosis.ess, t.diagnosis.split_rhat,
           t.diagnosis.drift, t.diagnosis.signal);
    printf("  diagnosis: %s\n", t.verdict);
}
