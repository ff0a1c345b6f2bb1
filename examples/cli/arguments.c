/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define KEY_HELP '?'

static const char *running = ""; /* the command, for what usage_error() says */

/* What every command's arguments go through first: --help under the command's own name, then the command's parser. */
typedef struct parse {
    const struct argp *argp;
    char name[32]; /* "fattr build" */
    void *input;
} parse;

static error_t parse_one(int key, char *argument, struct argp_state *state)
{
    parse *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = p->input; return 0;
    case KEY_HELP:
        state->name = p->name;
        argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
        return 0;
    default: (void)argument; return ARGP_ERR_UNKNOWN;
    }
}

void parse_command(const struct argp *argp, const char *command, int argc, char **argv, void *input)
{
    static const struct argp_option options[] = {{"help", KEY_HELP, NULL, 0, "Show this help", -1}, {NULL}};
    running = command;
    parse p = {.argp = argp, .input = input};
    snprintf(p.name, sizeof p.name, "fattr %s", command);
    const struct argp own = {argp->options, argp->parser, NULL, NULL, argp->children, NULL, NULL};
    const struct argp_child children[] = {{&own, 0, NULL, 0}, {NULL}};
    const struct argp whole = {options, parse_one, argp->args_doc, argp->doc, children, NULL, NULL};
    /* argv[0] is "fattr", so that getopt's messages begin as ours do. */
    error_t error = argp_parse(&whole, argc, argv, ARGP_NO_HELP, NULL, &p);
    if (error) {
        fprintf(stderr, "fattr: %s\n", strerror(error));
        exit(EXIT_USAGE);
    }
}

void usage_error(const struct argp_state *state, const char *format, ...)
{
    (void)state;
    va_list args;
    fputs("fattr: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry 'fattr %s --help' for more information.\n", running);
    exit(EXIT_USAGE);
}

int64_t integer_argument(const struct argp_state *state, const char *option, const char *argument, int64_t low, int64_t high)
{
    char *end;
    errno = 0;
    long long value = strtoll(argument, &end, 10);
    if (end == argument || *end || errno || value < low || value > high) {
        usage_error(state, "%s takes a whole number from %lld to %lld, not '%s'", option, (long long)low, (long long)high, argument);
    }
    return value;
}

double real_argument(const struct argp_state *state, const char *option, const char *argument, double low, double high)
{
    char *end;
    double value = strtod(argument, &end);
    if (end == argument || *end || !(value >= low && value <= high))
        usage_error(state, "%s takes a number from %g to %g, not '%s'", option, low, high, argument);
    return value;
}

int32_t loss_argument(const struct argp_state *state, const char *argument)
{
    int32_t loss = fa_loss_from_name(argument);
    if (loss < 0 || loss == FA_LOSS_HOST)
        usage_error(state, "--loss takes margin, cross-entropy, next-token, per-token, per-pixel, multi-label, regression or embedding, not '%s'", argument);
    return loss;
}

int32_t precision_argument(const struct argp_state *state, const char *argument)
{
    if (strcmp(argument, "f32") == 0) return FA_PRECISION_F32;
    if (strcmp(argument, "bf16") != 0) usage_error(state, "--precision takes f32 or bf16, not '%s'", argument);
    return FA_PRECISION_BF16;
}

int32_t packing_argument(const struct argp_state *state, const char *argument)
{
    if (strcmp(argument, "fast") == 0) return FA_PACKING_FAST;
    if (strcmp(argument, "once") != 0) usage_error(state, "--packing takes fast or once, not '%s'", argument);
    return FA_PACKING_ONCE;
}

int32_t score_argument(const struct argp_state *state, const char *argument)
{
    int32_t score = fa_score_from_name(argument);
    if (score >= 0) return score;
    char names[128] = "";
    for (int32_t i = 0; i < FA_SCORE_COUNT; i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", fa_score_name(i));
    }
    usage_error(state, "there is no score '%s' (there are: %s)", argument, names);
}

int32_t signatures_argument(const struct argp_state *state, const char *argument)
{
    static const char *const names[] = {"int16", "f32", "int8"};
    for (int32_t i = 0; i < 3; i++)
        if (!strcmp(argument, names[i])) return i;
    usage_error(state, "there are no signatures '%s' (there are: int16, f32, int8)", argument);
}

void take_operand(const struct argp_state *state, operands *list, int most, const char *argument)
{
    if (list->count == most) usage_error(state, "one argument too many: '%s'", argument);
    list->value[list->count++] = argument;
}
