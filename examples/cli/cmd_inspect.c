/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect.h"

enum { KEY_JSON = 256, KEY_NODES, KEY_OUTPUT };

typedef struct inspect {
    operands operands;
    const char *output;
    bool json, nodes;
} inspect;

static const struct argp_option options[] = {
    {"nodes", KEY_NODES, NULL, 0, "List a model's nodes too, the names that `fattr features' takes", 1},
    {"output", KEY_OUTPUT, "NAME", 0, "A model's value that holds the class logits (default: the first output)", 1},
    {"json", KEY_JSON, NULL, 0, "Print one JSON object", 1},
    {NULL},
};

static const char doc[] =
    "Show what a file holds: a network (ONNX) or a sketch. Which of the two is told by its content, not by its name.\v"
    "Example:\n"
    "  fattr inspect model.onnx --nodes\n"
    "  fattr inspect model.fattr";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    inspect *c = state->input;
    switch (key) {
    case KEY_JSON: c->json = true; return 0;
    case KEY_NODES: c->nodes = true; return 0;
    case KEY_OUTPUT: c->output = arg; return 0;
    case ARGP_KEY_ARG: take_operand(state, &c->operands, 1, arg); return 0;
    case ARGP_KEY_END:
        if (c->operands.count < 1) usage_error(state, "inspect needs a file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A sketch is a safetensors file: eight bytes of header length, then JSON. No ONNX file has an opening brace there. */
static bool is_sketch(const char *path)
{
    unsigned char start[9];
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool all = fread(start, 1, sizeof start, f) == sizeof start;
    fclose(f);
    return all && start[8] == '{' && start[5] == 0 && start[6] == 0 && start[7] == 0;
}

int cmd_inspect(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "FILE", doc, NULL, NULL, NULL};
    inspect c = {.json = false};
    parse_command(&argp, "inspect", argc, argv, &c);
    const char *path = c.operands.value[0];
    bool sketch = is_sketch(path);

    session s = {NULL};
    int code = session_open(&s, &(session_options){.model = sketch ? NULL : path, .sketch = sketch ? path : NULL, .output = c.output});
    if (code == EXIT_DONE) code = sketch ? inspect_sketch(&s, path, c.json) : inspect_model(&s, path, c.nodes, c.json);
    session_close(&s);
    return code;
}
