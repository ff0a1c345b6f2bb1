/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"
#include "json.h"

#include <math.h>
#include <stdlib.h>

enum { KEY_JSON = 256, KEY_SKETCH, KEY_SHAPE, KEY_OUTPUT, KEY_CACHE, KEY_SIGNATURES, KEY_PRECISION, KEY_PACKING };

typedef struct bench {
    operands operands;
    session_options open;
    int64_t shape[FA_MAX_DIMS];
    int32_t ndim, batch, threads, signatures;
    uint64_t seed, draw_cache;
    bool json, shaped;
} bench;

static const struct argp_option options[] = {
    {"sketch", KEY_SKETCH, "S.fattr", 0, "Time scores against this sketch too", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the class logits (default: the first output)", 1},
    {"batch", 'b', "N", 0, "Inputs per call (default 1)", 1},
    {"draw-cache", KEY_CACHE, "MB", 0, "Trace sketches, batch 1: memory of a scorer to keep draws ready in (default 0)", 1},
    {"signatures", KEY_SIGNATURES, "KIND", 0, "How the references' signatures are read for couplings: int16, f32 or int8 (default int16)", 1},
    {"precision", KEY_PRECISION, "TYPE", 0, PRECISION_HELP, 1},
    {"packing", KEY_PACKING, "WAY", 0, PACKING_HELP, 1},
    {"threads", 't', "N", 0, "Threads, each with a scorer of its own (default 1)", 1},
    {"shape", KEY_SHAPE, "D,D,...", 0, "Shape of one input, e.g. 3,224,224 (default: as the model declares, open dimensions 1)", 1},
    {"seed", 's', "N", 0, "Seed of the made-up inputs (default 1)", 1},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 1},
    {NULL},
};

static const char doc[] =
    "Measure a forward pass and a score: medians over at least half a second, on made-up inputs.\v"
    "Example:\n"
    "  fattr bench model.onnx --sketch model.fattr --batch 32\n"
    "\n"
    "All times are milliseconds for one batch; with several threads wall time over the batches that all of them finished. score_ms includes its "
    "forward pass. gflops is the rate of the forward pass in 10^9 operations per second. The forward pass is the one inside a score. With a "
    "sketch passes_ms is forward, backward and projections together; passes_ratio sets it against the forward pass, as planned_ratio does "
    "by counting operations.";

static void parse_shape(bench *c, const char *arg, const struct argp_state *state)
{
    const char *p = arg;
    c->ndim = 0;
    for (;;) {
        char *end;
        long long size = strtoll(p, &end, 10);
        if (end == p || size < 1 || size > (1LL << 40) || c->ndim == FA_MAX_DIMS - 1)
            usage_error(state, "--shape takes up to %d sizes like 3,224,224, not '%s'", FA_MAX_DIMS - 1, arg);
        c->shape[c->ndim++] = size;
        if (*end == '\0') break;
        if (*end != ',' && *end != 'x') usage_error(state, "--shape takes sizes like 3,224,224, not '%s'", arg);
        p = end + 1;
    }
    c->shaped = true;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bench *c = state->input;
    switch (key) {
    case KEY_SKETCH: c->open.sketch = arg; return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_CACHE: c->draw_cache = (uint64_t)(1e6 * real_argument(state, "--draw-cache", arg, 0, 1e9)); return 0;
    case 'b': c->batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case KEY_SIGNATURES: c->signatures = signatures_argument(state, arg); return 0;
    case KEY_PRECISION: c->open.precision = precision_argument(state, arg); return 0;
    case KEY_PACKING: c->open.packing = packing_argument(state, arg); return 0;
    case 't': c->threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case 's': c->seed = (uint64_t)integer_argument(state, "--seed", arg, 0, INT64_MAX); return 0;
    case KEY_SHAPE: parse_shape(c, arg, state); return 0;
    case KEY_JSON: c->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 1) usage_error(state, "bench needs a model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/*
 * Without a sketch the forward pass is timed inside scores all the same, since that is the pass that serves; a sketch of two made-up inputs will do.
 * A network that has none (no layers with weights, say) leaves `sketch` NULL: fa_model_run() is timed then.
 */
static int stand_in(session *s, const bench *c)
{
    bench_inputs two = {NULL, 0};
    fa_refset *references = NULL;
    fa_sketch_options how;
    int code = bench_inputs_create(s, 2, c->shaped ? c->shape : NULL, c->ndim, c->seed + 1, &two);
    if (code != EXIT_DONE) return code;
    fa_sketch_options_init(&how, sizeof how);
    how.batch = 1;
    how.k_in = how.k_out = 2;
    if (fa_refset_create(s->context, two.array, two.count, NULL, &references) == FA_OK) fa_sketch_build(s->model, references, NULL, &how, &s->sketch);
    fa_refset_release(references);
    bench_inputs_destroy(&two);
    return EXIT_DONE;
}

/* Operations of one forward pass, and of a whole score relative to it (NaN without a sketch). */
static int count_flops(const session *s, const bench_inputs *inputs, const bench *c, double *forward, double *ratio)
{
    *ratio = NAN;
    if (!s->sketch) return bench_forward_flops(s, inputs, c->batch, forward);
    fa_scorer *scorer = NULL;
    double score = 0;
    fa_status status = fa_scorer_create(s->sketch, s->model, NULL, &scorer);
    if (status == FA_OK) status = fa_scorer_get_flops(scorer, forward, &score);
    fa_scorer_destroy(scorer);
    if (status != FA_OK) return say_failure();
    *ratio = score / *forward;
    return EXIT_DONE;
}

static int print(const session *s, const bench *c, const bench_times *t, double flops, double planned)
{
    fa_model_info info = {.struct_size = sizeof info};
    if (fa_model_get_info(s->model, &info) != FA_OK) return say_failure();
    double gflops = flops * c->batch / (t->forward * 1e6), rate = 1e3 * c->batch / (c->open.sketch ? t->score : t->forward);
    double score = c->open.sketch ? t->score : NAN;
    if (c->json) {
        json_t *out = json_pack("{s:o,s:o,s:o,s:i,s:i,s:I,s:o,s:o,s:o,s:s}",
                                "forward_ms", json_number(t->forward), "score_ms", json_number(score),
                                "ratio", json_number(score / t->forward), "batch", (int)c->batch, "threads", (int)c->threads,
                                "parameters", (json_int_t)info.parameter_count, "gflops", json_number(gflops),
                                "forward_mflop", json_number(flops / 1e6), "inputs_per_second", json_number(rate),
                                "kernels", fa_context_kernels(s->context));
        if (out && c->open.sketch) {
            json_object_set_new(out, "passes_ms", json_number(t->passes));
            json_object_set_new(out, "coupling_ms", json_number(t->coupling));
            json_object_set_new(out, "solve_ms", json_number(t->solve));
            json_object_set_new(out, "draw_ms", json_number(t->draw));
            json_object_set_new(out, "passes_ratio", json_number(t->passes / t->forward));
            json_object_set_new(out, "planned_ratio", json_number(planned));
        }
        return json_print(out);
    }
    printf("%s: %lld parameters, %.3g MFLOP forward; %s kernels, batch %d, %d thread%s\n", c->open.model, (long long)info.parameter_count, flops / 1e6,
           fa_context_kernels(s->context), (int)c->batch, (int)c->threads, c->threads == 1 ? "" : "s");
    printf("  forward   %9.4f ms  %.1f GFLOP/s\n", t->forward, gflops);
    if (c->open.sketch) {
        printf("  passes    %9.4f ms  %.2f x forward (planned %.2f x): %s\n", t->passes, t->passes / t->forward, planned,
               t->draw > 0 ? "one forward pass per draw" : "forward, backward, projections");
        if (t->draw > 0) printf("  draws     %9.4f ms  %.1f %% of the passes: making, folding and packing weights\n", t->draw, 100 * t->draw / t->passes);
        printf("  couplings %9.4f ms\n  solver    %9.4f ms\n", t->coupling, t->solve);
        printf("  score     %9.4f ms  %.2f x forward\n", t->score, t->score / t->forward);
    }
    printf("  %.0f inputs per second\n", rate);
    return EXIT_DONE;
}

int cmd_bench(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx", doc, NULL, NULL, NULL};
    bench c = {.batch = 1, .threads = 1, .seed = 1};
    parse_command(&argp, "bench", argc, argv, &c);
    c.open.model = c.operands.value[0];

    session s = {NULL};
    bench_inputs inputs = {NULL, 0};
    bench_times times;
    double flops = 0, planned = NAN;
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE) code = bench_inputs_create(&s, c.batch, c.shaped ? c.shape : NULL, c.ndim, c.seed, &inputs);
    if (code == EXIT_DONE && !s.sketch) code = stand_in(&s, &c);
    if (code == EXIT_DONE) code = count_flops(&s, &inputs, &c, &flops, &planned);
    if (code == EXIT_DONE) code = bench_run(&s, &inputs, c.batch, c.threads, c.draw_cache, c.signatures, &times);
    if (code == EXIT_DONE) code = print(&s, &c, &times, flops, planned);
    bench_inputs_destroy(&inputs);
    session_close(&s);
    return code;
}
