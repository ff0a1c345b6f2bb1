/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "scoring.h"

#include <math.h>

enum { KEY_JSON = 256, KEY_CLEAN, KEY_ANOMALOUS, KEY_ALPHA, KEY_SCORE, KEY_SCALE, KEY_OUTPUT, KEY_CONFIDENCE, KEY_LOSS, KEY_SIGNATURES, KEY_PRECISION, KEY_PACKING };

typedef struct evaluate {
    operands operands;
    const char *clean, *anomalous;
    double scale;
    bool json;
    session_options open;
    scoring how;
} evaluate;

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Files:", 1},
    {"model", 'm', "MODEL.onnx", 0, "The network that the sketch was made of (needed)", 1},
    {"clean", KEY_CLEAN, "A.npz", 0, "Inputs that should pass (needed); labels y give the accuracy that enters DER", 1},
    {"anomalous", KEY_ANOMALOUS, "B.npz", 0, "Inputs that should be flagged (needed)", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value taken as output: logits (default: the first output)", 1},
    {"loss", KEY_LOSS, "NAME", 0, "Refuse a sketch that was built with another loss (default: whatever it was built with)", 1},
    {NULL, 0, NULL, 0, "Scoring:", 2},
    {"score", KEY_SCORE, "NAME", 0, "cone, span, topk, class or mean; trace sketches also mean_ccc or class_ccc (default cone)", 2},
    {"confidence", KEY_CONFIDENCE, "C", 0, "Trace sketches: stop drawing once the verdict is settled with this probability (default: use every draw)", 2},
    {"alpha", KEY_ALPHA, "A", 0, "False positive rate to hold (default 0.05)", 2},
    {"batch", 'b', "N", 0, "Inputs per pass (default 16)", 2},
    {"signatures", KEY_SIGNATURES, "KIND", 0, "How the references' signatures are read for couplings: int16, f32 or int8 (default int16)", 2},
    {"precision", KEY_PRECISION, "TYPE", 0, PRECISION_HELP, 2},
    {"packing", KEY_PACKING, "WAY", 0, PACKING_HELP, 2},
    {"threads", 't', "N", 0, "Threads (default 1)", 2},
    {NULL, 0, NULL, 0, "Output:", 3},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object and no progress", 3},
    {NULL},
};

static const char doc[] =
    "Measure detection: area under the ROC curve, average precision, false positives at 95 % true positives, and the defence effectiveness rate "
    "(ASR * TPR - ACC * FPR + 1) / 2 at its best threshold and at the one calibrated beforehand.\v"
    "Example:\n"
    "  fattr evaluate model.fattr --model model.onnx --clean test.npz --anomalous triggered.npz\n"
    "\n"
    "ACC is the network's accuracy on the clean inputs when they have labels, else 1. ASR is 1. "
    "Without calibration inputs in the sketch tpr, fpr and der are null.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    evaluate *c = state->input;
    switch (key) {
    case 'm': c->open.model = arg; return 0;
    case KEY_CLEAN: c->clean = arg; return 0;
    case KEY_ANOMALOUS: c->anomalous = arg; return 0;
    case KEY_SCALE: c->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_LOSS: c->open.loss = fa_loss_name(loss_argument(state, arg)); return 0;
    case KEY_SCORE: c->how.score = score_argument(state, arg); return 0;
    case KEY_CONFIDENCE: c->how.confidence = real_argument(state, "--confidence", arg, 1e-9, 1 - 1e-9); return 0;
    case KEY_ALPHA: c->how.alpha = real_argument(state, "--alpha", arg, 1e-9, 1 - 1e-9); return 0;
    case 'b': c->how.batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case KEY_SIGNATURES: c->how.signatures = signatures_argument(state, arg); return 0;
    case KEY_PRECISION: c->open.precision = precision_argument(state, arg); return 0;
    case KEY_PACKING: c->open.packing = packing_argument(state, arg); return 0;
    case 't': c->how.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case KEY_JSON: c->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 1) usage_error(state, "evaluate needs a sketch");
        if (!c->open.model || !c->clean || !c->anomalous) {
            usage_error(state, "evaluate needs %s", !c->open.model ? "--model" : !c->clean ? "--clean" : "--anomalous");
        }
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* Draws that an input took; NaN for a gradient sketch. */
static double mean_draws(const scored *a, const scored *b)
{
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) sum += (double)a->draws[i];
    for (int64_t i = 0; i < b->n; i++) sum += (double)b->draws[i];
    return sum > 0 ? sum / (double)(a->n + b->n) : (double)NAN;
}

/* Share of flagged inputs; NaN without calibration. */
static double flag_rate(const scored *r)
{
    int64_t flagged = 0;
    for (int64_t i = 0; i < r->n; i++) {
        if (r->flagged[i] < 0) return NAN;
        flagged += r->flagged[i];
    }
    return (double)flagged / (double)r->n;
}

static void print_rate(const char *what, double value, const char *meaning)
{
    if (isnan(value)) printf("  %-9s      -  %s\n", what, meaning);
    else printf("  %-9s %6.4f  %s\n", what, value, meaning);
}

static int print(const evaluate *c, const scored *clean, const scored *anomalous, double acc)
{
    fa_detection_metrics m = {.struct_size = sizeof m};
    if (fa_detection_metrics_compute(clean->score, clean->n, anomalous->score, anomalous->n, acc, 1, &m) != FA_OK) return say_failure();
    double tpr = flag_rate(anomalous), fpr = flag_rate(clean), alpha = c->how.alpha > 0 ? c->how.alpha : 0.05;
    double der = (tpr - acc * fpr + 1) / 2;
    const char *name = fa_score_name(c->how.score);
    if (c->json) {
        return json_print(json_pack("{s:I,s:I,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
                                    "n_clean", (json_int_t)clean->n, "n_anomalous", (json_int_t)anomalous->n, "score", name,
                                    "auroc", json_number(m.auroc), "aupr", json_number(m.aupr), "fpr95", json_number(m.fpr95),
                                    "der_best", json_number(m.der_best), "alpha", json_number(alpha), "tpr", json_number(tpr),
                                    "fpr", json_number(fpr), "der", json_number(der), "acc", json_number(acc), "draws", json_number(mean_draws(clean, anomalous))));
    }
    printf("%lld clean and %lld anomalous inputs, score '%s'\n", (long long)clean->n, (long long)anomalous->n, name);
    print_rate("AUROC", m.auroc, "1 is perfect, 0.5 is chance");
    print_rate("AUPR", m.aupr, "average precision, anomalous = positive");
    print_rate("FPR@95TPR", m.fpr95, "clean inputs flagged where 95 % of the anomalous ones are");
    print_rate("DER best", m.der_best, "at the threshold that is best in hindsight");
    printf("at the threshold calibrated for a false positive rate of %g\n", alpha);
    print_rate("TPR", tpr, "anomalous inputs flagged");
    print_rate("FPR", fpr, "clean inputs flagged");
    char weights[64];
    snprintf(weights, sizeof weights, "with an accuracy of %.4f", acc);
    if (!isnan(mean_draws(clean, anomalous))) printf("  %-9s %6.1f  per input\n", "draws", mean_draws(clean, anomalous));
    print_rate("DER", der, isnan(der) ? "the sketch has no calibration inputs" : weights);
    return EXIT_DONE;
}

int cmd_evaluate(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr", doc, NULL, NULL, NULL};
    evaluate c = {.scale = 1, .how = {.score = FA_SCORE_CONE, .batch = 16, .threads = 1}};
    parse_command(&argp, "evaluate", argc, argv, &c);
    c.open.sketch = c.operands.value[0];
    c.how.show_progress = !c.json;

    session s = {NULL};
    fa_refset *clean = NULL, *anomalous = NULL;
    scored scored_clean = {0}, scored_anomalous = {0};
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE) code = session_inputs(&s, c.clean, c.scale, &clean);
    if (code == EXIT_DONE) code = session_inputs(&s, c.anomalous, c.scale, &anomalous);
    c.how.stage = "scoring clean inputs";
    if (code == EXIT_DONE) code = score_all(&s, clean, &c.how, &scored_clean);
    c.how.stage = "scoring anomalous inputs";
    if (code == EXIT_DONE) code = score_all(&s, anomalous, &c.how, &scored_anomalous);
    if (code == EXIT_DONE) code = print(&c, &scored_clean, &scored_anomalous, accuracy(clean, scored_clean.predicted));
    scored_destroy(&scored_clean);
    scored_destroy(&scored_anomalous);
    fa_refset_release(clean);
    fa_refset_release(anomalous);
    session_close(&s);
    return code;
}
