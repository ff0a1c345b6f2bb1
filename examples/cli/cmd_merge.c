/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "session.h"

#include <stdlib.h>

enum { KEY_JSON = 256, KEY_MODEL, KEY_OUTPUT, KEY_SCALE, KEY_MOMENTS };

typedef struct merge {
    const char *to, *calibration;
    const char **from, **references; /* [count], [reference_count] */
    int32_t count, reference_count;
    double scale;
    bool json;
    session_options open;
    fa_sketch_options options;
    fa_sketch **sketch;  /* [count] */
    fa_refset **set;     /* [reference_count] */
    fa_refset *held_out; /* or NULL */
} merge;

static const struct argp_option options[] = {
    {"sketch", 'o', "OUT.fattr", 0, "Write the merged sketch here (needed)", 1},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 1},
    {NULL, 0, NULL, 0, "Gradient sketches:", 2},
    {"model", KEY_MODEL, "MODEL.onnx", 0, "The network (needed)", 2},
    {"references", 'r', "R.npz", 0, "What a sketch was built from; once for each, in their order (needed)", 2},
    {"calibration", 'c', "C.npz", 0, "Held-out trusted inputs that are no references, for p-values and verdicts", 2},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1), as when building", 2},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the class logits (default: the first output)", 2},
    {"keep-moments", KEY_MOMENTS, NULL, 0, "Keep the sum of the moments, so that the result can be merged again", 2},
    {"threads", 't', "N", 0, "Threads (default 1); the sketch is the same for any number", 2},
    {"batch", 'b', "N", 0, "Inputs per pass (default 16)", 2},
    {NULL},
};

static const char doc[] =
    "Join sketches of one network; of which kind they are is told by their content. The result is the same in any order.\n\n"
    "Trace sketches with different chains: made with other seeds or chain ids, on other machines, over the same references, calibration inputs and options.\n\n"
    "Gradient sketches over different references, each built with --keep-moments and the same options: projections are taken from the sum of their moments and "
    "one pass signs all references again. Ids must be distinct over all references: give each file an array `id'.\v"
    "Examples:\n"
    "  fattr build model.onnx --references r.npz --kind trace --first-chain 0 -o a.fattr\n"
    "  fattr build model.onnx --references r.npz --kind trace --first-chain 1 -o b.fattr\n"
    "  fattr merge a.fattr b.fattr -o both.fattr\n"
    "\n"
    "  fattr build model.onnx --references a.npz --keep-moments -o a.fattr\n"
    "  fattr build model.onnx --references b.npz --keep-moments -o b.fattr\n"
    "  fattr merge a.fattr b.fattr --model model.onnx --references a.npz \\\n"
    "      --references b.npz --calibration held-out.npz -o both.fattr";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    merge *m = state->input;
    switch (key) {
    case 'o': m->to = arg; return 0;
    case 'r': m->references[m->reference_count++] = arg; return 0;
    case 'c': m->calibration = arg; return 0;
    case 't': m->open.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case 'b': m->options.batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case KEY_MODEL: m->open.model = arg; return 0;
    case KEY_OUTPUT: m->open.output = arg; return 0;
    case KEY_SCALE: m->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_MOMENTS: m->options.keep_moments = 1; return 0;
    case KEY_JSON: m->json = true; return 0;
    case ARGP_KEY_ARG: m->from[m->count++] = arg; return 0;
    case ARGP_KEY_END:
        if (m->count < 1) usage_error(state, "merge needs sketches");
        if (!m->to) usage_error(state, "merge needs -o OUT.fattr");
        if ((m->reference_count || m->calibration) && !m->open.model) usage_error(state, "--references and --calibration need --model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int print_traces(const merge *m, const fa_sketch *sketch)
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

static int print_shards(const merge *m, const fa_sketch *sketch)
{
    fa_sketch_info i = {.struct_size = sizeof i};
    if (fa_sketch_get_info(sketch, &i) != FA_OK) return say_failure();
    if (m->json) {
        return json_print(json_pack("{s:s,s:i,s:I,s:I,s:i,s:i,s:I}", "sketch", m->to, "merged", (int)m->count, "references", (json_int_t)i.reference_count, "calibration",
                                    (json_int_t)i.calibration_count, "layers", (int)i.layer_count, "dropped_layers", (int)i.dropped_layer_count, "signature_length",
                                    (json_int_t)i.signature_length));
    }
    printf("%s: %lld references of %d sketches\n", m->to, (long long)i.reference_count, (int)m->count);
    if (i.calibration_count) printf("  calibration  %lld inputs\n", (long long)i.calibration_count);
    else printf("  calibration  none: scores without p-value and verdict (see --calibration)\n");
    printf("  layers       %d, signature of %lld numbers\n", (int)i.layer_count, (long long)i.signature_length);
    return EXIT_DONE;
}

static int merge_traces(const merge *m, fa_sketch **out)
{
    if (m->reference_count || m->calibration) return say_error("%s is a trace sketch: its references and calibration inputs are not needed again", m->from[0]);
    return fa_sketch_merge((const fa_sketch *const *)m->sketch, m->count, out) == FA_OK ? EXIT_DONE : say_failure();
}

static int merge_shards(merge *m, const session *s, fa_sketch **out)
{
    progress bar;
    if (m->reference_count != m->count || !m->open.model)
        return say_error("%s is a gradient sketch: merging needs --model and, for each sketch, the --references it was built from (%d for %d sketches)", m->from[0],
                         (int)m->reference_count, (int)m->count);
    for (int32_t i = 0; i < m->count; i++)
        if (session_inputs(s, m->references[i], m->scale, &m->set[i]) != EXIT_DONE) return EXIT_FAILED;
    if (m->calibration && session_inputs(s, m->calibration, m->scale, &m->held_out) != EXIT_DONE) return EXIT_FAILED;
    progress_begin(&bar, !m->json);
    m->options.progress = progress_callback;
    m->options.progress_user = &bar;
    fa_status status = fa_sketch_merge_shards(s->model, (const fa_sketch *const *)m->sketch, (const fa_refset *const *)m->set, m->count, m->held_out, &m->options, out);
    progress_end(&bar);
    return status == FA_OK ? EXIT_DONE : say_failure();
}

static int run(merge *m, const session *s, fa_sketch **out)
{
    fa_sketch_info first = {.struct_size = sizeof first};
    for (int32_t i = 0; i < m->count; i++)
        if (fa_sketch_load_file(s->context, m->from[i], &m->sketch[i]) != FA_OK) return say_failure();
    if (fa_sketch_get_info(m->sketch[0], &first) != FA_OK) return say_failure();
    int code = first.is_trace ? merge_traces(m, out) : merge_shards(m, s, out);
    if (code != EXIT_DONE) return code;
    if (fa_sketch_save_file(*out, m->to) != FA_OK) return say_failure();
    return first.is_trace ? print_traces(m, *out) : print_shards(m, *out);
}

int cmd_merge(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr...", doc, NULL, NULL, NULL};
    size_t most = (size_t)argc + 1;
    merge m = {.from = calloc(most, sizeof *m.from), .references = calloc(most, sizeof *m.references), .sketch = calloc(most, sizeof(fa_sketch *)),
               .set = calloc(most, sizeof(fa_refset *)), .scale = 1, .open.threads = 1};
    session s = {NULL};
    fa_sketch *out = NULL;
    int code = EXIT_DONE;
    fa_sketch_options_init(&m.options, sizeof m.options);
    if (!m.from || !m.references || !m.sketch || !m.set) code = say_error("out of memory");
    if (code == EXIT_DONE) {
        parse_command(&argp, "merge", argc, argv, &m);
        code = session_open(&s, &m.open);
    }
    if (code == EXIT_DONE) code = run(&m, &s, &out);
    fa_sketch_release(out);
    for (int32_t i = 0; i < m.count; i++) fa_sketch_release(m.sketch[i]);
    for (int32_t i = 0; i < m.reference_count; i++) fa_refset_release(m.set[i]);
    fa_refset_release(m.held_out);
    session_close(&s);
    free(m.from);
    free(m.references);
    free(m.sketch);
    free(m.set);
    return code;
}
