/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"
#include "scoring.h"

#include <fattr/npz.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 256, KEY_TOP, KEY_SCORE, KEY_OUTPUT };

typedef struct command {
    operands operands;
    const char *save;
    bool json;
    int32_t top, score;
    session_options open;
} command;

/* What fa_score_tokens() says of one response, and, to be saved, of all of them. */
typedef struct table {
    int64_t references, longest;
    int64_t *ids;              /* [references] */
    fa_token *scored;          /* [longest] */
    float *couplings, *weights; /* [longest, references]; weights NULL for scores without */
    int64_t n, room;
    int64_t *kept_input;    /* [n] */
    fa_token *kept;         /* [n] */
    float *kept_couplings;  /* [n, references] */
} table;

static const struct argp_option options[] = {
    {"model", 'm', "MODEL.onnx", 0, "The network that the sketch was made of (needed)", 1},
    {"save", 's', "FILE.npz", 0, "Save, for each token, input, position, token, loss and score [m], and its coupling c [m, r] with references ids [r]", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the logits (default: the first output)", 1},
    {"score", KEY_SCORE, "NAME", 0, "cone, span, topk, class or mean (default cone); higher is more anomalous", 2},
    {"top", KEY_TOP, "K", 0, "References to name per token (default 5)", 2},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object per token", 3},
    {NULL},
};

static const char doc[] =
    "Take responses of a language model apart: which references explain which token? Prints a line per token of each response: the input's index, the token's position, the "
    "token, its negative log-likelihood in nats, its score, and the references that explain it with their weights. The sketch is one of --loss next-token.\v"
    "Example:\n"
    "  fattr tokens model.fattr --model model.onnx responses.npz";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    command *c = state->input;
    switch (key) {
    case 'm': c->open.model = arg; return 0;
    case 's': c->save = arg; return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_SCORE: c->score = score_argument(state, arg); return 0;
    case KEY_TOP: c->top = (int32_t)integer_argument(state, "--top", arg, 0, 10000); return 0;
    case KEY_JSON: c->json = true; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 2, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 2) usage_error(state, "tokens needs a sketch and a file of inputs");
        if (!c->open.model) usage_error(state, "tokens needs --model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void table_destroy(table *t)
{
    free(t->ids);
    free(t->scored);
    free(t->couplings);
    free(t->weights);
    free(t->kept_input);
    free(t->kept);
    free(t->kept_couplings);
}

/* A response has fewer tokens than any of the arrays has elements in a row. */
static int64_t longest_response(const fa_refset *inputs)
{
    int64_t longest = 1;
    for (int32_t i = 0; i < fa_refset_input_count(inputs); i++) {
        fa_array a;
        int64_t row = 1;
        fa_refset_get_input(inputs, i, &a);
        for (int32_t d = 1; d < a.ndim; d++) row *= a.shape[d];
        if (row > longest) longest = row;
    }
    return longest;
}

static int table_create(const command *c, const session *s, const fa_refset *inputs, table *t)
{
    fa_sketch_info info = {.struct_size = sizeof info};
    if (fa_sketch_get_info(s->sketch, &info) != FA_OK) return say_failure();
    t->references = info.reference_count;
    t->longest = longest_response(inputs);
    size_t cells;
    if (__builtin_mul_overflow((size_t)t->longest, (size_t)t->references, &cells)) return say_error("out of memory");
    t->ids = calloc((size_t)t->references + 1, sizeof *t->ids);
    t->scored = calloc((size_t)t->longest, sizeof *t->scored);
    t->couplings = calloc(cells + 1, sizeof *t->couplings);
    t->weights = c->score == FA_SCORE_CONE || c->score == FA_SCORE_SPAN ? calloc(cells + 1, sizeof *t->weights) : NULL;
    if (!t->ids || !t->scored || !t->couplings || (c->score <= FA_SCORE_SPAN && !t->weights)) return say_error("out of memory");
    for (int64_t j = 0; j < t->references; j++) {
        fa_reference_info reference;
        t->ids[j] = fa_sketch_get_reference(s->sketch, j, &reference) == FA_OK ? reference.id : j;
    }
    return EXIT_DONE;
}

static bool make_room(table *t, int64_t n)
{
    if (t->n + n <= t->room) return true;
    const size_t room = 2 * (size_t)(t->n + n);
    int64_t *input = realloc(t->kept_input, room * sizeof *input);
    if (input) t->kept_input = input;
    fa_token *kept = realloc(t->kept, room * sizeof *kept);
    if (kept) t->kept = kept;
    float *couplings = realloc(t->kept_couplings, room * (size_t)t->references * sizeof *couplings);
    if (couplings) t->kept_couplings = couplings;
    if (!input || !kept || !couplings) return false;
    t->room = (int64_t)room;
    return true;
}

static bool keep(table *t, int64_t input, int64_t n)
{
    if (!make_room(t, n)) return false;
    for (int64_t i = 0; i < n; i++) t->kept_input[t->n + i] = input;
    memcpy(t->kept + t->n, t->scored, (size_t)n * sizeof *t->kept);
    memcpy(t->kept_couplings + t->n * t->references, t->couplings, (size_t)(n * t->references) * sizeof *t->couplings);
    t->n += n;
    return true;
}

static int print(const command *c, const table *t, int64_t input, int64_t i, int64_t *which, float *weight)
{
    const fa_token *token = &t->scored[i];
    keep_largest(t->weights ? t->weights + i * t->references : NULL, t->references, c->top, which, weight);
    if (!c->json) {
        printf("%7lld  %8lld  %6lld  %8.4f  %7.4f  ", (long long)input, (long long)token->position, (long long)token->token, token->loss, token->score);
        for (int32_t k = 0; k < c->top && which[k] >= 0; k++) printf(" %lld:%.2f", (long long)t->ids[which[k]], (double)weight[k]);
        puts(token->no_signal ? " (no signal)" : "");
        return EXIT_DONE;
    }
    json_t *explained = json_array();
    for (int32_t k = 0; k < c->top && which[k] >= 0; k++) json_array_append_new(explained, json_pack("[I,f]", (json_int_t)t->ids[which[k]], (double)weight[k]));
    json_t *line = json_pack("{s:I,s:I,s:I,s:o,s:o,s:o}", "index", (json_int_t)input, "position", (json_int_t)token->position, "token", (json_int_t)token->token, "loss",
                             json_number(token->loss), "score", json_number(token->score), "explained_by", explained);
    if (line && token->no_signal) json_object_set_new(line, "no_signal", json_true());
    return json_print(line);
}

static int save(const command *c, const table *t)
{
    const int64_t shape[2] = {t->n, t->references};
    int64_t *whole = calloc(2 * (size_t)t->n + 1, sizeof *whole);
    double *real = calloc(2 * (size_t)t->n + 1, sizeof *real);
    const fa_array arrays[] = {{t->kept_input, shape, 1, FA_INT64, "input"}, {whole, shape, 1, FA_INT64, "position"}, {whole + t->n, shape, 1, FA_INT64, "token"},
                               {real, shape, 1, FA_FLOAT64, "loss"}, {real + t->n, shape, 1, FA_FLOAT64, "score"}, {t->kept_couplings, shape, 2, FA_FLOAT32, "c"},
                               {t->ids, shape + 1, 1, FA_INT64, "ids"}};
    int code = whole && real ? EXIT_DONE : say_error("out of memory");
    for (int64_t i = 0; i < t->n && code == EXIT_DONE; i++) {
        whole[i] = t->kept[i].position;
        whole[t->n + i] = t->kept[i].token;
        real[i] = t->kept[i].loss;
        real[t->n + i] = t->kept[i].score;
    }
    if (code == EXIT_DONE && fa_npz_save_file(c->save, arrays, sizeof arrays / sizeof *arrays) != FA_OK) code = say_failure();
    free(whole);
    free(real);
    return code;
}

static int score_tokens(const command *c, const session *s, const fa_refset *inputs, fa_scorer *scorer, slice *rows, table *t)
{
    int64_t *which = calloc((size_t)c->top + 1, sizeof *which), count;
    float *weight = calloc((size_t)c->top + 1, sizeof *weight);
    int code = which && weight && table_create(c, s, inputs, t) == EXIT_DONE ? EXIT_DONE : EXIT_FAILED;
    for (int64_t i = 0; i < fa_refset_count(inputs) && code == EXIT_DONE; i++) {
        slice_move(rows, inputs, i, 1);
        if (fa_score_tokens(scorer, rows->array, rows->count, t->longest, t->scored, t->couplings, t->weights, &count) != FA_OK)
            code = say_error("input %lld: %s", (long long)i, fa_error_message());
        if (code == EXIT_DONE && !c->json && i == 0) printf("%7s  %8s  %6s  %8s  %7s  %s\n", "index", "position", "token", "loss", "score", " explained by");
        for (int64_t k = 0; code == EXIT_DONE && k < count; k++) code = print(c, t, i, k, which, weight);
        if (code == EXIT_DONE && c->save && !keep(t, i, count)) code = say_error("out of memory");
    }
    free(which);
    free(weight);
    return code == EXIT_DONE && c->save ? save(c, t) : code;
}

/* Tokens get no verdict: any false positive rate that the calibration set can hold will do. */
static int make_scorer(const command *c, const session *s, fa_scorer **out)
{
    fa_scorer_options how;
    fa_sketch_info info = {.struct_size = sizeof info};
    fa_scorer_options_init(&how, sizeof how);
    how.score = c->score;
    if (fa_sketch_get_info(s->sketch, &info) != FA_OK) return say_failure();
    if (info.calibration_count) how.alpha = 0.5;
    return fa_scorer_create(s->sketch, s->model, &how, out) == FA_OK ? EXIT_DONE : say_failure();
}

int cmd_tokens(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "SKETCH.fattr INPUTS.npz", doc, NULL, NULL, NULL};
    command c = {.top = 5, .score = FA_SCORE_CONE};
    parse_command(&argp, "tokens", argc, argv, &c);
    c.open.sketch = c.operands.value[0];

    session s = {NULL};
    fa_refset *inputs = NULL;
    fa_scorer *scorer = NULL;
    slice rows = {NULL};
    table t = {0};
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE) code = session_inputs(&s, c.operands.value[1], 1, &inputs);
    if (code == EXIT_DONE) code = make_scorer(&c, &s, &scorer);
    if (code == EXIT_DONE) code = slice_create(inputs, &rows);
    if (code == EXIT_DONE) code = score_tokens(&c, &s, inputs, scorer, &rows, &t);
    table_destroy(&t);
    slice_destroy(&rows);
    fa_scorer_destroy(scorer);
    fa_refset_release(inputs);
    session_close(&s);
    return code;
}
