/* SPDX-License-Identifier: Apache-2.0 */
#include "node_features.h"

#include <fattr/npz.h>
#include <stdlib.h>

enum { KEY_NODE = 256, KEY_SCALE };

typedef struct command {
    operands operands;
    const char *node, *to;
    double scale;
    int32_t batch;
} command;

static const struct argp_option options[] = {
    {"node", KEY_NODE, "NAME", 0, "A node (its first output) or a value of the network (needed); see `fattr inspect'", 1},
    {NULL, 'o', "OUT.npz", 0, "Write x, and y when the inputs have labels, here (needed)", 1},
    {"scale", KEY_SCALE, "F", 0, "Multiply every input by F (default 1)", 1},
    {"batch", 'b', "N", 0, "Inputs per pass (default 64)", 1},
    {NULL},
};

static const char doc[] =
    "Save what an inner value of the network is for each input.\v"
    "Example:\n"
    "  fattr features model.onnx inputs.npz --node /pool/Flatten -o features.npz";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    command *c = state->input;
    switch (key) {
    case KEY_NODE: c->node = arg; return 0;
    case 'o': c->to = arg; return 0;
    case KEY_SCALE: c->scale = real_argument(state, "--scale", arg, -1e30, 1e30); return 0;
    case 'b': c->batch = (int32_t)integer_argument(state, "--batch", arg, 1, 65536); return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 2, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 2) usage_error(state, "features needs a model and a file of inputs");
        if (!c->node || !c->to) usage_error(state, "features needs %s", c->node ? "-o OUT.npz" : "--node");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int save(const command *c, const fa_refset *inputs, const features *f)
{
    int64_t n = fa_refset_count(inputs), *labels = calloc((size_t)n, sizeof *labels);
    if (!labels) return say_error("out of memory");
    bool labelled = true;
    for (int64_t i = 0; i < n && labelled; i++) labelled = fa_refset_get_label(inputs, i, &labels[i]) == FA_OK;
    const fa_array arrays[2] = {{f->data, f->shape, f->ndim, f->dtype, "x"}, {labels, &n, 1, FA_INT64, "y"}};
    fa_status status = fa_npz_save_file(c->to, arrays, labelled ? 2 : 1);
    free(labels);
    return status == FA_OK ? EXIT_DONE : say_failure();
}

int cmd_features(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "MODEL.onnx INPUTS.npz", doc, NULL, NULL, NULL};
    command c = {.scale = 1, .batch = 64};
    parse_command(&argp, "features", argc, argv, &c);

    session s = {NULL};
    fa_refset *inputs = NULL;
    features f = {NULL};
    int code = session_open(&s, &(session_options){.model = c.operands.value[0]});
    if (code == EXIT_DONE) code = session_inputs(&s, c.operands.value[1], c.scale, &inputs);
    if (code == EXIT_DONE) code = features_take(&s, inputs, c.node, c.batch, &f);
    if (code == EXIT_DONE) code = save(&c, inputs, &f);
    features_destroy(&f);
    fa_refset_release(inputs);
    session_close(&s);
    return code;
}
