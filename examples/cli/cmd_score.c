/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "scoring.h"

#include <fattr/npz.h>
#include <math.h>
#include <stdlib.h>

enum { KEY_JSON = 256, KEY_TOP, KEY_ALPHA, KEY_SCORE, KEY_FAIL, KEY_SCALE, KEY_OUTPUT, KEY_CONFIDENCE, KEY_LOSS, KEY_SIGNATURES, KEY_PRECISION, KEY_PACKING };

typedef struct score {
    operands operands;
    const char *couplings;
    double scale;
    bool json, fail_on_flag;
    session_options open;
    scoring how;
} score;

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Files:", 1},
    {"model", 'm', "MODEL.onnx", 0, "The network that the sketch was made of (needed)", 1},
    {"couplings", 'c', "FILE.npz", 0, "Save coupling and weight of every reference: c and weights [n, r], ids [r]", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value taken as output: logits (default: the first output)", 1},
    {"loss", KEY_LOSS, "NAME", 0, "Refuse a sketch that was built with another loss (default: whatever it was built with)", 1},
    {NULL, 0, NULL, 0, "Scoring:", 2},
    {"score", KEY_SCORE, "NAME", 0, "cone, span, topk, class or mean; trace sketches also mean_ccc or class_ccc (default cone); higher is more anomalous", 2},
    {"confidence", KEY_CONFIDENCE, "C", 0, "Trace sketches: stop drawing once the verdict is settled with this probability (default: use every draw)", 2},
    {"alpha", KEY_ALPHA, "A", 0, "False positive rate to hold (default 0.05)", 2},
    {"top", KEY_TOP, "K", 0, "References to name per input (default 5)", 2},
    {"batch", 'b', "N", 0, "Inputs per pass (default 16)", 2},
    {"signatures", KEY_SIGNATURES, "KIND", 0, "How the references' signatures are read for couplings: int16, f32 or int8 (default int16)", 2},
    {"precision", KEY_PRECISION, "TYPE", 0, PRECISION_HELP, 2},
    {"packing", KEY_PACKING, "WAY", 0, PACKING_HELP, 2},
    {"threads", 't', "N", 0, "Threads (default 1)", 2},
    {NULL, 0, NULL, 0, "Output:", 3},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object per input and no progress", 3},
    {"fail-on-flag", KEY_FAIL, NULL, 0, "Exit with 1 when an input is flagged", 3},
    {NULL},
};

static const char doc[] =
    "Score inputs: how much of each output do the trusted inputs fail to explain? Prints a line per input: its index, the class the network "
    "gives it, score, p-value, verdict, and the references that explain it with their weights.\v"
    "Example:\n"
    "  fattr score model.fattr --model model.onnx inputs.npz\n"
    "  fattr score model.fattr --model model.onnx inputs.npz --json | jq 'select(.flagged)'\n"
    "\n"
    "Without calibration inputs in the sketch there is no p-value and no verdict: both are null in JSON.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    score *c = state->input;
    switch (key) {
    case 'm': c->open.model = arg; return 0;
    case 'c': c->couplings = arg; return 0;
    case KEY_SCALE: c->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_LOSS: c->open.loss = fa_loss_name(loss_argument(state, arg)); return 0;
    case KEY_SCORE: c->how.score = score_argument(state, arg); return 0;
    case KEY_CONFIDENCE: c->how.confidence = real_argument(state, "--confidence", arg, 1e-9, 1 - 1e-9); return 0;
    case KEY_ALPHA: c->how.alpha = real_argument(state, "--alpha", arg, 1e-9, 1 - 1e-9); return 0;
    case KEY_TOP: c->how.top = (int32_t)integer_argument(state, "--top", arg, 0, 10000); return 0;
    case 'b': c->how.batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case KEY_SIGNATURES: c->how.signatures = signatures_argument(state, arg); return 0;
    case KEY_PRECISION: c->open.precision = precision_argument(state, arg); return 0;
    case KEY_PACKING: c->open.packing = packing_argument(state, arg); return 0;
    case 't': c->how.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case KEY_JSON: c->json = true; return 0;
    case KEY_FAIL: c->fail_on_flag = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 2, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 2) usage_error(state, "score needs a sketch and a file of inputs");
        if (!c->open.model) usage_error(state, "score needs --model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int64_t reference_id(const fa_sketch *sketch, int64_t index)
{
    fa_reference_info info;
    return fa_sketch_get_reference(sketch, index, &info) == FA_OK ? info.id : index;
}

static int print_json(const session *s, const scored *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        json_t *explained = json_array();
        for (int32_t k = 0; k < r->top && r->explaining[i * r->top + k] >= 0; k++) {
            int64_t id = reference_id(s->sketch, r->explaining[i * r->top + k]);
            json_array_append_new(explained, json_pack("[I,f]", (json_int_t)id, (double)r->explains_with[i * r->top + k]));
        }
        json_t *flagged = r->flagged[i] < 0 ? json_null() : json_boolean(r->flagged[i]);
        json_t *line = json_pack("{s:I,s:o,s:o,s:o,s:o,s:o}",
                                 "index", (json_int_t)i, "class", json_class(r->predicted[i]), "score", json_number(r->score[i]),
                                 "p", json_number(r->p[i]), "flagged", flagged, "explained_by", explained);
        if (line && r->no_signal[i]) json_object_set_new(line, "no_signal", json_true());
        if (line && r->draws[i]) json_object_set_new(line, "draws", json_integer(r->draws[i]));
        if (json_print(line) != EXIT_DONE) return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static double mean_draws(const scored *r)
{
    double sum = 0;
    for (int64_t i = 0; i < r->n; i++) sum += (double)r->draws[i];
    return r->n ? sum / (double)r->n : 0;
}

static void print_table(const session *s, const scored *r, int64_t flagged)
{
    bool calibrated = r->n && !isnan(r->p[0]);
    printf("%7s  %5s  %7s  %7s  %-7s  %s\n", "index", "class", "score", "p", "flagged", "explained by");
    for (int64_t i = 0; i < r->n; i++) {
        if (r->predicted[i] < 0) printf("%7lld  %5s  %7.4f  ", (long long)i, "-", r->score[i]);
        else printf("%7lld  %5lld  %7.4f  ", (long long)i, (long long)r->predicted[i], r->score[i]);
        if (calibrated) printf("%7.4f  %-7s ", r->p[i], r->flagged[i] ? "YES" : "no");
        else printf("%7s  %-7s ", "-", "-");
        for (int32_t k = 0; k < r->top && r->explaining[i * r->top + k] >= 0; k++) {
            printf(" %lld:%.2f", (long long)reference_id(s->sketch, r->explaining[i * r->top + k]), (double)r->explains_with[i * r->top + k]);
        }
        puts(r->no_signal[i] ? " (no signal)" : "");
    }
    if (calibrated) printf("%lld of %lld inputs flagged\n", (long long)flagged, (long long)r->n);
    else printf("no verdicts: the sketch has no calibration inputs (fattr build --calibration)\n");
    if (mean_draws(r) > 0) printf("%.1f draws per input\n", mean_draws(r));
}

static int save_couplings(const session *s, const scored *r, const char *path)
{
    int64_t *ids = calloc((size_t)r->references + 1, sizeof *ids);
    if (!ids) return say_error("out of memory");
    for (int64_t j = 0; j < r->references; j++) ids[j] = reference_id(s->sketch, j);
    const int64_t table[2] = {r->n, r->references};
    fa_array arrays[3] = {{r->couplings, table, 2, FA_FLOAT32, "c"}, {ids, table + 1, 1, FA_INT64, "ids"}, {r->weights, table, 2, FA_FLOAT32, "weights"}};
    fa_status status = fa_npz_save_file(path, arrays, r->weights ? 3 : 2);
    free(ids);
    return status == FA_OK ? EXIT_DONE : say_failure();
}

static int score_inputs(const score *c, const session *s, const fa_refset *inputs)
{
    scored r = {0};
    int64_t flagged = 0;
    int code = score_all(s, inputs, &c->how, &r);
    if (code != EXIT_DONE) return code;
    for (int64_t i = 0; i < r.n; i++) flagged += r.flagged[i] == 1;
    if (c->couplings) code = save_couplings(s, &r, c->couplings);
    if (code == EXIT_DONE && c->json) code = print_json(s, &r);
    else if (code == EXIT_DONE) print_table(s, &r, flagged);
    scored_destroy(&r);
    return code == EXIT_DONE && c->fail_on_flag && flagged ? EXIT_FLAGGED : code;
}

int cmd_score(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr INPUTS.npz", doc, NULL, NULL, NULL};
    score c = {.scale = 1, .how = {.score = FA_SCORE_CONE, .batch = 16, .threads = 1, .top = 5, .stage = "scoring"}};
    parse_command(&argp, "score", argc, argv, &c);
    c.open.sketch = c.operands.value[0];
    c.how.keep_couplings = c.couplings != NULL;
    c.how.show_progress = !c.json;

    session s = {NULL};
    fa_refset *inputs = NULL;
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE) code = session_inputs(&s, c.operands.value[1], c.scale, &inputs);
    if (code == EXIT_DONE) code = score_inputs(&c, &s, inputs);
    fa_refset_release(inputs);
    session_close(&s);
    return code;
}
