/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_H
#define FATTR_CLI_H

#include <argp.h>
#include <fattr/fattr.h>
#include <stdbool.h>
#include <stdio.h>

/* What scripts see. */
#define EXIT_DONE 0
#define EXIT_FLAGGED 1 /* score --fail-on-flag */
#define EXIT_USAGE 2
#define EXIT_FAILED 3 /* a bad file, or whatever else the library refused */

int cmd_build(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_evaluate(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_features(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_mechanisms(int argc, char **argv);
int cmd_tokens(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* Parses a command's arguments; `argp->parser` gets `input`. Ends the program on --help and on wrong usage. */
void parse_command(const struct argp *argp, const char *command, int argc, char **argv, void *input);

/* "fattr: message" and where to read more; ends the program with EXIT_USAGE. */
void usage_error(const struct argp_state *state, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn, cold));

/* The option's argument as a number in [low, high], or a usage error that names the option. */
int64_t integer_argument(const struct argp_state *state, const char *option, const char *argument, int64_t low, int64_t high);
double real_argument(const struct argp_state *state, const char *option, const char *argument, double low, double high);

/* The number of a loss by its name, or a usage error that lists the names. */
int32_t loss_argument(const struct argp_state *state, const char *argument);

/* FA_PRECISION_... and FA_PACKING_... by name; the options have the same words in every command. */
int32_t precision_argument(const struct argp_state *state, const char *argument);
int32_t packing_argument(const struct argp_state *state, const char *argument);
#define PRECISION_HELP "What layers are computed in: f32 (default), or bf16, up to twice as fast on CPUs that multiply bfloat16"
#define PACKING_HELP "How weights are held: fast (default), or once, in about the file's size and more time"

/* The number of a score by its name, or a usage error that lists the names. */
int32_t score_argument(const struct argp_state *state, const char *argument);
int32_t signatures_argument(const struct argp_state *state, const char *argument); /* FA_SIGNATURES_... */

/* The positional arguments of a command: at most `most` of them are taken down, more are a usage error. */
typedef struct operands {
    const char *value[4];
    int count;
} operands;
void take_operand(const struct argp_state *state, operands *list, int most, const char *argument);

/* "fattr: message" on stderr. Both return EXIT_FAILED. */
int say_error(const char *format, ...) __attribute__((format(printf, 1, 2), cold));
int say_failure(void); /* what the library said */

double seconds_now(void);

/* "3.2 MB" */
typedef struct size_text {
    char text[24];
} size_text;
size_text in_words(uint64_t bytes);

/* A bar on stderr, when that is a terminal and `wanted`; otherwise nothing. */
typedef struct progress {
    bool shown, drawn;
    double last;
} progress;
void progress_begin(progress *bar, bool wanted);
void progress_draw(progress *bar, const char *stage, int64_t done, int64_t total);
void progress_end(progress *bar);
int32_t progress_callback(void *bar, const char *stage, int64_t done, int64_t total); /* an fa_progress that draws and never cancels */

#endif
