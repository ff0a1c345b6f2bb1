/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "session.h"
#include "trace_options.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_RIDGE = 256, KEY_BLOCKS, KEY_OUTPUT, KEY_SCALE, KEY_DROP, KEY_MEMORY, KEY_JSON, KEY_K_IN, KEY_K_OUT, KEY_BETA, KEY_DAMPING, KEY_TOPK, KEY_TIMEOUT,
       KEY_LOSS, KEY_MOMENTS, KEY_FORWARDS, KEY_SUBSET, KEY_PRECISION, KEY_PACKING };

typedef struct build {
    operands operands;
    const char *references, *calibration, *to;
    double scale;
    bool json, memory;
    session_options open;
    fa_sketch_options options;
    trace_arguments trace;
} build;

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Files:", 1},
    {"references", 'r', "R.npz", 0, "Trusted inputs; a few hundred are enough (needed)", 1},
    {"calibration", 'c', "C.npz", 0, "Held-out trusted inputs that are not references, for p-values and verdicts", 1},
    {"sketch", 'o', "OUT.fattr", 0, "Write the sketch here (needed)", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value taken as output: logits (default: the first output)", 1},
    {NULL, 0, NULL, 0, "The sketch:", 2},
    {"layers", 'l', "PATTERN", 0, "Layers to tap: comma-separated shell patterns over names, '!' takes out (default: all)", 2},
    {"max-forwards", KEY_FORWARDS, "F", 0, "Of these the last layers alone, as many as keep a score within so many forward passes (more than 1; default: all). Cheap, and blind to what was made to look normal there", 2},
    {"subset", KEY_SUBSET, "KIND", 0, "References that may explain an input: all, or class, those of the class the model predicts (default all)", 2},
    {"k-in", KEY_K_IN, "N", 0, "Eigenvectors on the input side of a layer (default 16)", 2},
    {"k-out", KEY_K_OUT, "N", 0, "Eigenvectors on the output side (default 16)", 2},
    {"beta", KEY_BETA, "B", 0, "Exponent of the preconditioner (default 0.25)", 2},
    {"damping", KEY_DAMPING, "D", 0, "Added to every eigenvalue, in units of their mean (default 0.1)", 2},
    {"ridge", KEY_RIDGE, "R", 0, "Ridge of the scores cone and span (default 1)", 2},
    {"blocks", KEY_BLOCKS, "KIND", 0, "How layers enter the signature: both, plain or layer-unit (default both)", 2},
    {"loss", KEY_LOSS, "NAME", 0, "What the output is held against, whose gradient a signature is: margin (default) or cross-entropy for logits [n, classes]; next-token, per-token, per-pixel, multi-label, regression or embedding for other outputs (docs/method.md)", 2},
    {"topk", KEY_TOPK, "K", 0, "References that the score topk looks at (default 5)", 2},
    {"seed", 's', "N", 0, "Seed of random projections and of draws (default 0)", 2},
    {"drop-misclassified", KEY_DROP, NULL, 0, "Leave out references whose prediction is not their label y", 2},
    {"keep-moments", KEY_MOMENTS, NULL, 0, "Keep the layers' second moments, so that `fattr merge' can join this with sketches over other references", 2},
    {NULL, 0, NULL, 0, "Running:", 3},
    {"precision", KEY_PRECISION, "TYPE", 0, PRECISION_HELP, 3},
    {"packing", KEY_PACKING, "WAY", 0, PACKING_HELP, 3},
    {"threads", 't', "N", 0, "Threads (default 1); the sketch is the same for any number", 3},
    {"batch", 'b', "N", 0, "Inputs per pass (default 16)", 3},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "Give up after this long (default: never)", 3},
    {"memory", KEY_MEMORY, NULL, 0, "Print what it will take and stop", 3},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object and no progress", 3},
    {NULL},
};

static const char doc[] =
    "Make a sketch: what the network does on trusted inputs, compressed to a file that `fattr score' works with.\v"
    "Example:\n"
    "  fattr build model.onnx --references trusted.npz \\\n"
    "      --calibration held-out.npz --threads 4 -o model.fattr\n"
    "\n"
    "With m calibration inputs p-values go down to 1/(m+1): 100 are enough for a false positive rate of 0.05.\n"
    "\n"
    "A trace sketch of 200 draws; killed, it goes on where it was with --resume:\n"
    "  fattr build model.onnx --references trusted.npz --kind trace \\\n"
    "      --sampler rmsprop_sgld --draws 200 -o model.fattr";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    build *b = state->input;
    fa_sketch_options *o = &b->options;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &b->trace; return 0;
    case 'r': b->references = arg; return 0;
    case 'c': b->calibration = arg; return 0;
    case 'o': b->to = arg; return 0;
    case KEY_SCALE: b->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_OUTPUT: b->open.output = arg; return 0;
    case 'l': o->layers = arg; return 0;
    case KEY_K_IN: o->k_in = (int32_t)integer_argument(state, "--k-in", arg, 1, 256); return 0;
    case KEY_K_OUT: o->k_out = (int32_t)integer_argument(state, "--k-out", arg, 1, 256); return 0;
    case KEY_BETA: o->beta = real_argument(state, "--beta", arg, 0, 1); return 0;
    case KEY_DAMPING: o->damping = real_argument(state, "--damping", arg, 0, 1e6); return 0;
    case KEY_RIDGE: o->ridge = real_argument(state, "--ridge", arg, 1e-9, 1e6); return 0;
    case KEY_TOPK: o->topk = (int32_t)integer_argument(state, "--topk", arg, 1, 1 << 20); return 0;
    case KEY_BLOCKS:
        if (strcmp(arg, "both") == 0) o->blocks = FA_BLOCKS_BOTH;
        else if (strcmp(arg, "plain") == 0) o->blocks = FA_BLOCKS_PLAIN;
        else if (strcmp(arg, "layer-unit") == 0) o->blocks = FA_BLOCKS_LAYER_UNIT;
        else usage_error(state, "--blocks takes both, plain or layer-unit, not '%s'", arg);
        return 0;
    case KEY_LOSS: o->loss = loss_argument(state, arg); return 0;
    case KEY_FORWARDS: o->max_forwards = real_argument(state, "--max-forwards", arg, 1.001, 1e9); return 0;
    case KEY_SUBSET:
        if (strcmp(arg, "all") && strcmp(arg, "class")) usage_error(state, "--subset takes all or class, not '%s'", arg);
        o->subset = strcmp(arg, "class") ? FA_SUBSET_ALL : FA_SUBSET_CLASS;
        return 0;
    case 's': o->seed = (uint64_t)integer_argument(state, "--seed", arg, 0, INT64_MAX); return 0;
    case KEY_DROP: o->drop_misclassified = 1; return 0;
    case KEY_MOMENTS: o->keep_moments = 1; return 0;
    case KEY_PRECISION: b->open.precision = precision_argument(state, arg); return 0;
    case KEY_PACKING: b->open.packing = packing_argument(state, arg); return 0;
    case 't': b->open.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case 'b': o->batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case KEY_TIMEOUT: o->timeout_ms = (uint64_t)(1000 * real_argument(state, "--timeout", arg, 0.001, 1e9)); return 0;
    case KEY_MEMORY: b->memory = true; return 0;
    case KEY_JSON: b->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &b->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (b->operands.count < 1) usage_error(state, "build needs a model");
        if (!b->references) usage_error(state, "build needs --references");
        if (!b->to && !b->memory) usage_error(state, "build needs -o OUT.fattr");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int print_estimate(const build *b, const session *s, const fa_refset *references, const fa_refset *calibration)
{
    fa_memory_estimate e = {.struct_size = sizeof e};
    if (fa_sketch_memory_estimate(s->model, references, calibration, &b->options, &e) != FA_OK) return say_failure();
    if (b->json) {
        return json_print(json_pack("{s:I,s:I,s:I,s:I,s:I}",
                                    "build_bytes", (json_int_t)e.build_bytes, "sketch_bytes", (json_int_t)e.sketch_bytes,
                                    "scorer_bytes", (json_int_t)e.scorer_bytes, "file_bytes", (json_int_t)e.file_bytes,
                                    "draw_bytes", (json_int_t)e.draw_bytes));
    }
    printf("building takes %s beside the model and its inputs\n", in_words(e.build_bytes).text);
    printf("the sketch     %s in memory, %s as a file", in_words(e.sketch_bytes).text, in_words(e.file_bytes).text);
    if (b->options.trace) printf(", %s of it draws", in_words(e.draw_bytes).text);
    putchar('\n');
    printf("a scorer       %s per thread\n", in_words(e.scorer_bytes).text);
    return EXIT_DONE;
}

typedef struct built {
    fa_sketch_info info;
    fa_trace_info trace; /* of a trace sketch */
    int64_t no_signal, misclassified, labelled;
    uint64_t bytes, peak;
    double seconds;
} built;

/* Of the whole build, calibration and the file among it. */
static double references_per_second(const built *b)
{
    return b->seconds > 0 ? (double)b->info.reference_count / b->seconds : 0;
}

static void look_at_references(const fa_sketch *sketch, built *b)
{
    for (int64_t i = 0; i < b->info.reference_count; i++) {
        fa_reference_info r;
        if (fa_sketch_get_reference(sketch, i, &r) != FA_OK) continue;
        b->no_signal += r.no_signal;
        b->labelled += r.label >= 0 && r.predicted >= 0;
        b->misclassified += r.label >= 0 && r.predicted >= 0 && r.label != r.predicted;
    }
}

static int print_json(const char *path, const fa_sketch *sketch, const built *b)
{
    json_t *dropped = json_array();
    for (int32_t i = 0; i < b->info.dropped_layer_count; i++) {
        fa_sketch_layer_info layer;
        if (fa_sketch_get_layer(sketch, b->info.layer_count + i, &layer) == FA_OK) json_array_append_new(dropped, json_string(layer.name));
    }
    json_t *trace = b->info.is_trace ? json_pack("{s:I,s:i,s:o,s:o,s:o,s:o,s:s}", "draws", (json_int_t)b->trace.draw_count, "chains", (int)b->trace.chain_count,
                                                 "loss_before", json_number(b->trace.loss_before), "loss_after", json_number(b->trace.loss_after),
                                                 "ess", json_number(b->trace.diagnosis.ess), "split_rhat", json_number(b->trace.diagnosis.split_rhat), "verdict",
                                                 b->trace.verdict)
                                     : json_null();
    return json_print(json_pack("{s:s,s:o,s:I,s:o,s:o,s:I,s:I,s:I,s:I,s:i,s:o,s:I,s:I}",
                                "sketch", path, "trace", trace, "bytes", (json_int_t)b->bytes, "seconds", json_number(b->seconds), "references_per_second", json_number(references_per_second(b)),
                                "references", (json_int_t)b->info.reference_count, "calibration", (json_int_t)b->info.calibration_count,
                                "no_signal", (json_int_t)b->no_signal, "misclassified", (json_int_t)b->misclassified,
                                "layers", (int)b->info.layer_count, "dropped_layers", dropped,
                                "signature_length", (json_int_t)b->info.signature_length, "peak_bytes", (json_int_t)b->peak));
}

static int print_text(const char *path, const fa_sketch *sketch, const built *b)
{
    printf("%s: %s, made in %.1f s, %.0f references per second (peak %s)\n", path, in_words(b->bytes).text, b->seconds, references_per_second(b), in_words(b->peak).text);
    printf("  references   %lld", (long long)b->info.reference_count);
    if (b->labelled) printf(", %lld of them misclassified", (long long)b->misclassified);
    if (b->no_signal) printf(", %lld without signal", (long long)b->no_signal);
    if (b->info.calibration_count) printf("\n  calibration  %lld inputs: p-values down to %.2g\n", (long long)b->info.calibration_count, 1 / (1.0 + (double)b->info.calibration_count));
    else printf("\n  calibration  none: scores without p-value and verdict (see --calibration)\n");
    if (b->info.is_trace) {
        printf("  draws        %lld from %d chain%s; the references' loss went from %.4f to %.4f nats\n", (long long)b->trace.draw_count, (int)b->trace.chain_count,
               b->trace.chain_count == 1 ? "" : "s", b->trace.loss_before, b->trace.loss_after);
        printf("  diagnosis    %s\n", b->trace.verdict);
        return EXIT_DONE;
    }
    printf("  layers       %d, signature of %lld numbers\n", (int)b->info.layer_count, (long long)b->info.signature_length);
    for (int32_t i = 0; i < b->info.dropped_layer_count; i++) {
        fa_sketch_layer_info layer;
        if (fa_sketch_get_layer(sketch, b->info.layer_count + i, &layer) == FA_OK) printf("  dropped      %s: no signal on the references\n", layer.name);
    }
    return EXIT_DONE;
}

static int make(build *b, const session *s, const fa_refset *references, const fa_refset *calibration, fa_sketch **out)
{
    progress bar;
    built done = {.info = {.struct_size = sizeof done.info}, .trace = {.struct_size = sizeof done.trace}};
    double start = seconds_now();
    progress_begin(&bar, !b->json);
    b->options.progress = progress_callback;
    b->options.progress_user = &bar;
    fa_context_memory_peak_reset(s->context);
    fa_status status = fa_sketch_build(s->model, references, calibration, &b->options, out);
    progress_end(&bar);
    if (status != FA_OK || (status = fa_sketch_save_file(*out, b->to)) != FA_OK) return say_failure();
    done.seconds = seconds_now() - start;
    done.peak = fa_context_memory_peak(s->context);
    struct stat st;
    if (stat(b->to, &st) == 0) done.bytes = (uint64_t)st.st_size;
    if (b->options.trace && b->trace.options.checkpoint) unlink(b->trace.options.checkpoint);
    if (fa_sketch_get_info(*out, &done.info) != FA_OK) return say_failure();
    if (done.info.is_trace && fa_sketch_get_trace_info(*out, &done.trace) != FA_OK) return say_failure();
    look_at_references(*out, &done);
    return b->json ? print_json(b->to, *out, &done) : print_text(b->to, *out, &done);
}

static void read_arguments(int argc, char **argv, build *b)
{
    static const struct argp_child children[] = {{&trace_argp, 0, NULL, 0}, {NULL}};
    static const struct argp argp = {options, parse, "MODEL.onnx", doc, children, NULL, NULL};
    b->operands.count = 0;
    parse_command(&argp, "build", argc, argv, b);
}

int cmd_build(int argc, char **argv)
{
    build b = {.scale = 1};
    fa_sketch_options_init(&b.options, sizeof b.options);
    fa_trace_options_init(&b.trace.options, sizeof b.trace.options);
    read_arguments(argc, argv, &b);
    if (b.trace.preset && strcmp(b.trace.preset, "last-layers") == 0) {
        if (b.trace.wanted || b.trace.any) {
            fprintf(stderr, "fattr: --preset last-layers makes a gradient sketch\n");
            return EXIT_USAGE;
        }
        if (!(b.options.max_forwards > 0)) b.options.max_forwards = 1.1;
        b.trace.preset = NULL;
    } else if (b.trace.preset) { /* gives way to what was said beside it: the arguments are read once more, over it */
        if (fa_trace_options_preset(&b.options, &b.trace.options, b.trace.preset) != FA_OK) return say_failure();
        read_arguments(argc, argv, &b);
    }
    b.open.model = b.operands.value[0];

    session s = {NULL};
    fa_refset *references = NULL, *calibration = NULL, *sampling = NULL;
    fa_sketch *sketch = NULL;
    char checkpoint[4096];
    int code = session_open(&s, &b.open);
    if (code == EXIT_DONE) code = session_inputs(&s, b.references, b.scale, &references);
    if (code == EXIT_DONE && b.calibration) code = session_inputs(&s, b.calibration, b.scale, &calibration);
    if (code == EXIT_DONE && b.trace.sampling) code = session_inputs(&s, b.trace.sampling, b.scale, &sampling);
    if (b.trace.wanted || b.trace.preset) {
        snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", b.to ? b.to : "");
        b.trace.options.checkpoint = b.trace.checkpoint ? b.trace.checkpoint : checkpoint;
        b.trace.options.resume = b.trace.resume;
        b.trace.options.sampling = sampling;
        b.options.trace = &b.trace.options;
    }
    if (code == EXIT_DONE) code = b.memory ? print_estimate(&b, &s, references, calibration) : make(&b, &s, references, calibration, &sketch);
    fa_sketch_release(sketch);
    fa_refset_release(sampling);
    fa_refset_release(calibration);
    fa_refset_release(references);
    session_close(&s);
    return code;
}
