/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "session.h"

#include <stdlib.h>

enum { KEY_JSON = 256 };

typedef struct merge {
    const char *to;
    bool json;
    const char **from; /* [count] */
    int32_t count;
} merge;

static const struct argp_option options[] = {
    {"sketch", 'o', "OUT.fattr", 0, "Write the merged sketch here (needed)", 1},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 2},
    {NULL},
};

static const char doc[] =
    "Join trace sketches of one network with different chains: made with other seeds or chain ids, on other machines, over the same references, "
    "calibration inputs and options. The result is the same in any order.\v"
    "Example:\n"
    "  fattr build model.onnx --references r.npz --kind trace --first-chain 0 -o a.fattr\n"
    "  fattr build model.onnx --references r.npz --kind trace --first-chain 1 -o b.fattr\n"
    "  fattr merge a.fattr b.fattr -o both.fattr";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    merge *m = state->input;
    switch (key) {
    case 'o': m->to = arg; return 0;
    case KEY_JSON: m->json = true; return 0;
    case ARGP_KEY_ARG: m->from[m->count++] = arg; return 0;
    case ARGP_KEY_END:
        if (m->count < 1) usage_error(state, "merge needs sketches");
        if (!m->to) usage_error(state, "merge needs -o OUT.fattr");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int print(const merge *m, const fa_sketch *sketch)
{
    fa_trace_info t = {.struct_size = sizeof t};
    if (fa_sketch_get_trace_info(sketch, &t) != FA_OK) return say_failure();
    if (m->json) {
        return json_print(json_pack("{s:s,s:i,s:i,s:I,s:o,s:o,s:s}", "sketch", m->to, "merged", (int)m->count, "chains", (int)t.chain_count, "draws", (json_int_t)t.draw_count,
                                    "ess", json_number(t.diagnosis.ess), "split_rhat", json_number(t.diagnosis.split_rhat), "verdict", t.verdict));
    }
    printf("%s: %lld draws from %d chains of %d sketches\n", m->to, (long long)t.draw_count, (int)t.chain_count, (int)m->count);
    printf("  diagnosis    %s\n", t.verdict);
    return EXIT_DONE;
}

static int run(const merge *m, fa_context *context, fa_sketch **sketches, fa_sketch **out)
{
    for (int32_t i = 0; i < m->count; i++)
        if (fa_sketch_load_file(context, m->from[i], &sketches[i]) != FA_OK) return say_failure();
    if (fa_sketch_merge((const fa_sketch *const *)sketches, m->count, out) != FA_OK) return say_failure();
    if (fa_sketch_save_file(*out, m->to) != FA_OK) return say_failure();
    return print(m, *out);
}

int cmd_merge(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr...", doc, NULL, NULL, NULL};
    merge m = {.from = calloc((size_t)argc + 1, sizeof *m.from)};
    session s = {NULL};
    fa_sketch *out = NULL;
    if (!m.from) return say_error("out of memory");
    parse_command(&argp, "merge", argc, argv, &m);
    fa_sketch **sketches = calloc((size_t)m.count, sizeof *sketches);
    int code = sketches ? session_open(&s, &(session_options){.threads = 1}) : say_error("out of memory");
    if (code == EXIT_DONE) code = run(&m, s.context, sketches, &out);
    fa_sketch_release(out);
    for (int32_t i = 0; sketches && i < m.count; i++) fa_sketch_release(sketches[i]);
    free(sketches);
    free(m.from);
    session_close(&s);
    return code;
}
