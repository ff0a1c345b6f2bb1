/* SPDX-License-Identifier: Apache-2.0 */
#include "fingerprints.h"
#include "json.h"
#include "scoring.h"

#include <stdlib.h>

enum { KEY_JSON = 256, KEY_KNOWN, KEY_SAVE, KEY_ALPHA, KEY_SCALE, KEY_OUTPUT, KEY_LINKAGE, KEY_LIKENESS };

typedef struct command {
    operands operands;
    const char *known, *save;
    double scale;
    bool json;
    fa_mechanisms_options mechanisms;
    session_options open;
    scoring how;
} command;

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Files:", 1},
    {"model", 'm', "MODEL.onnx", 0, "The network that the sketch was made of (needed)", 1},
    {"known", KEY_KNOWN, "FILE", 0, "Groups known from earlier runs; they keep their numbers", 1},
    {"save", KEY_SAVE, "FILE", 0, "Save all groups known at the end; may be the file that --known reads", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the class logits (default: the first output)", 1},
    {NULL, 0, NULL, 0, "Grouping:", 2},
    {"alpha", KEY_ALPHA, "A", 0, "False positive rate at which inputs are flagged (default 0.05)", 2},
    {"linkage", KEY_LINKAGE, "S", 0, "Mean similarity down to which inputs are put together (default 0.35, or that of --known)", 2},
    {"likeness", KEY_LIKENESS, "L", 0, "Likeness from which groups are one; higher makes more and purer groups (default 0.55, or that of --known)", 2},
    {"threads", 't', "N", 0, "Threads (default 1)", 2},
    {NULL, 0, NULL, 0, "Output:", 3},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object per input and no progress", 3},
    {NULL},
};

static const char doc[] =
    "Group flagged inputs by the mechanism that made their outputs: what no trusted input explains of them is alike within a group. How many groups there are "
    "is found out. Prints a line per group.\v"
    "Example:\n"
    "  fattr mechanisms model.fattr --model model.onnx monday.npz --save model.mechanisms\n"
    "  fattr mechanisms model.fattr --model model.onnx tuesday.npz --known model.mechanisms --json\n"
    "\n"
    "With --json each line has index, flagged, and group: -1 for an input that is not flagged; groups are numbered from 0, known ones first, then new ones, the "
    "largest first. The numbers are the same for any order of the inputs. `name` is the group's for good.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    command *c = state->input;
    switch (key) {
    case 'm': c->open.model = arg; return 0;
    case KEY_KNOWN: c->known = arg; return 0;
    case KEY_SAVE: c->save = arg; return 0;
    case KEY_SCALE: c->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_ALPHA: c->how.alpha = real_argument(state, "--alpha", arg, 1e-9, 1 - 1e-9); return 0;
    case KEY_LINKAGE: c->mechanisms.linkage = real_argument(state, "--linkage", arg, 1e-6, 1 - 1e-6); return 0;
    case KEY_LIKENESS: c->mechanisms.likeness = real_argument(state, "--likeness", arg, 1e-6, 1); return 0;
    case 't': c->how.threads = c->open.threads = (int32_t)integer_argument(state, "--threads", arg, 1, 256); return 0;
    case KEY_JSON: c->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 2, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 2) usage_error(state, "mechanisms needs a sketch and a file of inputs");
        if (!c->open.model) usage_error(state, "mechanisms needs --model");
        if (c->known && (c->mechanisms.linkage > 0 || c->mechanisms.likeness > 0)) usage_error(state, "--known brings its own --linkage and --likeness");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int print_json(const fingerprints *f, const fa_mechanisms *known, int64_t before)
{
    for (int64_t i = 0; i < f->n; i++) {
        int64_t g = f->group[i];
        json_t *line = json_pack("{s:I,s:b,s:I}", "index", (json_int_t)i, "flagged", g >= 0, "group", (json_int_t)g);
        fa_mechanism_info info;
        if (line && g >= 0 && fa_mechanisms_get(known, g, &info) == FA_OK) {
            json_object_set_new(line, "name", json_string(info.name));
            json_object_set_new(line, "known", json_boolean(g < before));
        }
        if (json_print(line) != EXIT_DONE) return EXIT_FAILED;
    }
    return EXIT_DONE;
}

/* A line per group that inputs went to, with the first of them. */
static int print_table(const fingerprints *f, const fa_mechanisms *known, int64_t before)
{
    enum { SHOWN = 6 };
    int64_t groups = fa_mechanisms_count(known), flagged = 0;
    int64_t *count = calloc((size_t)groups + 1, sizeof *count), (*first)[SHOWN] = calloc((size_t)groups + 1, sizeof *first);
    if (!count || !first) {
        free(count);
        free(first);
        return say_error("out of memory");
    }
    for (int64_t i = 0; i < f->n; i++) {
        int64_t g = f->group[i];
        if (g < 0) continue;
        if (count[g] < SHOWN) first[g][count[g]] = i;
        count[g]++;
        flagged++;
    }
    printf("%5s  %-12s  %-5s  %7s  %8s  %s\n", "group", "name", "", "inputs", "cohesion", "which");
    for (int64_t g = 0; g < groups; g++) {
        fa_mechanism_info info;
        if (!count[g] || fa_mechanisms_get(known, g, &info) != FA_OK) continue;
        printf("%5lld  %s  %-5s  %7lld  %8.2f ", (long long)g, info.name, g < before ? "known" : "new", (long long)count[g], info.cohesion);
        for (int64_t k = 0; k < count[g] && k < SHOWN; k++) printf(" %lld", (long long)first[g][k]);
        puts(count[g] > SHOWN ? " ..." : "");
    }
    printf("%lld of %lld inputs flagged\n", (long long)flagged, (long long)f->n);
    free(count);
    free(first);
    return EXIT_DONE;
}

static int group_inputs(command *c, const session *s, const fa_refset *inputs, const fa_mechanisms *known)
{
    fingerprints f = {NULL};
    scored r = {0};
    fa_mechanisms *after = NULL;
    int code = fingerprints_create(known, fa_refset_count(inputs), &f);
    c->how.take = fingerprints_take;
    c->how.user = &f;
    if (code == EXIT_DONE) code = score_all(s, inputs, &c->how, &r);
    if (code == EXIT_DONE) code = fingerprints_group(&f, &after);
    if (code == EXIT_DONE && c->save && fa_mechanisms_save_file(after, c->save) != FA_OK) code = say_failure();
    if (code == EXIT_DONE) code = (c->json ? print_json : print_table)(&f, after, fa_mechanisms_count(known));
    fa_mechanisms_release(after);
    scored_destroy(&r);
    fingerprints_destroy(&f);
    return code;
}

int cmd_mechanisms(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr INPUTS.npz", doc, NULL, NULL, NULL};
    /* One input per pass: which inputs share a pass changes the last bits of a result, and groups must not depend on it. */
    command c = {.scale = 1, .how = {.score = FA_SCORE_CONE, .batch = 1, .threads = 1, .stage = "scoring"}, .open = {.threads = 1}};
    c.mechanisms.struct_size = sizeof c.mechanisms;
    parse_command(&argp, "mechanisms", argc, argv, &c);
    c.open.sketch = c.operands.value[0];
    c.how.show_progress = !c.json;

    session s = {NULL};
    fa_refset *inputs = NULL;
    fa_mechanisms *known = NULL;
    fa_sketch_info info = {.struct_size = sizeof info};
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE && fa_sketch_get_info(s.sketch, &info) != FA_OK) code = say_failure();
    if (code == EXIT_DONE && !info.calibration_count)
        code = say_error("%s: the sketch has no calibration inputs, so nothing can be flagged (fattr build --calibration)", c.open.sketch);
    if (code == EXIT_DONE) code = session_inputs(&s, c.operands.value[1], c.scale, &inputs);
    if (code == EXIT_DONE && (c.known ? fa_mechanisms_load_file(s.sketch, c.known, &known) : fa_mechanisms_create(s.sketch, &c.mechanisms, &known)) != FA_OK)
        code = say_failure();
    if (code == EXIT_DONE) code = group_inputs(&c, &s, inputs, known);
    fa_mechanisms_release(known);
    fa_refset_release(inputs);
    session_close(&s);
    return code;
}
