/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <fattr/npz.h>
#include <stdlib.h>

enum { KEY_TOKENS = 256, KEY_STOP, KEY_PAD, KEY_OUTPUT, KEY_X };

typedef struct command {
    operands operands;
    const char *from, *to;
    session_options open;
    fa_generate_options how;
} command;

static const struct argp_option options[] = {
    {"x", KEY_X, "PROMPTS.npz", 0, "Prompts: x [n, t] tokens, padded on the right where there is length [n] (needed)", 1},
    {"out", 'o', "OUT.npz", 0, "Write x [n, t] and mask here, and y and id as they are in PROMPTS.npz (needed)", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "The value that holds the logits (default: the first output)", 1},
    {"tokens", KEY_TOKENS, "N", 0, "New tokens of each prompt, at most (default 32)", 2},
    {"stop", KEY_STOP, "TOKEN", 0, "A token that ends a response, as its last (default: none)", 2},
    {"pad", KEY_PAD, "TOKEN", 0, "What stands behind a response (default 0)", 2},
    {"batch", 'b', "N", 0, "Prompts per pass (default 16)", 2},
    {NULL},
};

static const char doc[] =
    "Let a language model continue prompts greedily, and mark what it wrote: the file is one of inputs for `build', `score' and `evaluate' with --loss next-token.\v"
    "Example:\n"
    "  fattr generate model.onnx --x prompts.npz --tokens 32 --out responses.npz\n"
    "  fattr build model.onnx --references responses.npz --loss next-token -o model.fattr";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    command *c = state->input;
    switch (key) {
    case KEY_X: c->from = arg; return 0;
    case 'o': c->to = arg; return 0;
    case KEY_OUTPUT: c->open.output = arg; return 0;
    case KEY_TOKENS: c->how.tokens = integer_argument(state, "--tokens", arg, 1, 1 << 20); return 0;
    case KEY_STOP: c->how.stop = integer_argument(state, "--stop", arg, 0, INT32_MAX); return 0;
    case KEY_PAD: c->how.pad = integer_argument(state, "--pad", arg, 0, INT32_MAX); return 0;
    case 'b': c->how.batch = (int32_t)integer_argument(state, "--batch", arg, 1, 4096); return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 1) usage_error(state, "generate needs a model");
        if (!c->from || !c->to) usage_error(state, "generate needs %s", c->from ? "--out OUT.npz" : "--x PROMPTS.npz");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* An array of the file when it is there. */
static bool find(const fa_npz *npz, const char *name, fa_array *out)
{
    return fa_npz_find(npz, name, out) == FA_OK;
}

static int read_lengths(const fa_npz *npz, int64_t n, int64_t **out)
{
    fa_array a;
    if (!find(npz, "length", &a)) return EXIT_DONE;
    if (a.ndim != 1 || a.shape[0] != n || (a.dtype != FA_INT64 && a.dtype != FA_INT32)) return say_error("array 'length': int64 or int32 [%lld] is wanted", (long long)n);
    int64_t *lengths = calloc((size_t)n, sizeof *lengths);
    if (!lengths) return say_error("out of memory");
    for (int64_t i = 0; i < n; i++) lengths[i] = a.dtype == FA_INT64 ? ((const int64_t *)a.data)[i] : ((const int32_t *)a.data)[i];
    *out = lengths;
    return EXIT_DONE;
}

static int save(const command *c, const fa_npz *npz, const fa_tensor *tokens, const fa_tensor *mask)
{
    fa_array arrays[4];
    int32_t count = 2;
    fa_tensor_view(tokens, &arrays[0]);
    fa_tensor_view(mask, &arrays[1]);
    count += find(npz, "y", &arrays[count]);
    count += find(npz, "id", &arrays[count]);
    return fa_npz_save_file(c->to, arrays, count) == FA_OK ? EXIT_DONE : say_failure();
}

static int generate(const command *c, const session *s, const fa_npz *npz)
{
    fa_array x;
    int64_t *lengths = NULL;
    fa_tensor *tokens = NULL, *mask = NULL;
    progress bar;
    if (fa_npz_find(npz, "x", &x) != FA_OK) return say_failure();
    if (x.ndim < 1) return say_error("array 'x' has no dimensions, [n, t] is wanted");
    if (read_lengths(npz, x.shape[0], &lengths) != EXIT_DONE) return EXIT_FAILED;
    x.name = NULL; /* whatever the model calls its input */
    fa_generate_options how = c->how;
    how.lengths = lengths;
    how.progress = progress_callback;
    how.progress_user = &bar;
    progress_begin(&bar, true);
    fa_status status = fa_model_generate(s->model, &x, &how, &tokens, &mask);
    progress_end(&bar);
    int code = status == FA_OK ? save(c, npz, tokens, mask) : say_failure();
    fa_tensor_release(tokens);
    fa_tensor_release(mask);
    free(lengths);
    return code;
}

int cmd_generate(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx", doc, NULL, NULL, NULL};
    command c = {.from = NULL};
    fa_generate_options_init(&c.how, sizeof c.how);
    parse_command(&argp, "generate", argc, argv, &c);

    session s = {NULL};
    fa_npz *npz = NULL;
    c.open.model = c.operands.value[0];
    int code = session_open(&s, &c.open);
    if (code == EXIT_DONE && fa_npz_load_file(c.from, &npz) != FA_OK) code = say_failure();
    if (code == EXIT_DONE) code = generate(&c, &s, npz);
    fa_npz_release(npz);
    session_close(&s);
    return code;
}
