/* SPDX-License-Identifier: Apache-2.0 */
/* The fattr program: libfattr for the shell. It uses the public API alone, so it is also an example of how a host does. */
#include "cli.h"

#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"build", cmd_build, "make a sketch of a network and its trusted inputs"},
    {"merge", cmd_merge, "join trace sketches with different chains into one"},
    {"score", cmd_score, "score inputs: are their outputs attributable to the trusted ones?"},
    {"evaluate", cmd_evaluate, "measure how well anomalous inputs are told from clean ones"},
    {"mechanisms", cmd_mechanisms, "group flagged inputs by what made their outputs"},
    {"inspect", cmd_inspect, "show what a model or a sketch holds"},
    {"features", cmd_features, "save any inner value of a network, input by input"},
    {"tokens", cmd_tokens, "say which trusted inputs explain which token of a language model's response"},
    {"generate", cmd_generate, "let a language model continue prompts, for build and score"},
    {"report", cmd_report, "write an HTML page with pictures of what was found and why"},
    {"bench", cmd_bench, "measure the time of a forward pass and of a score"},
};

static void print_help(FILE *stream)
{
    fputs("Usage: fattr COMMAND [OPTION...]\n"
          "\n"
          "Was a network's output produced by the mechanisms it uses on inputs you trust?\n"
          "Make a sketch of the trusted inputs once, then score any input against it.\n"
          "\n"
          "Commands:\n",
          stream);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) fprintf(stream, "  %-10s %s\n", commands[i].name, commands[i].what);
    fputs("\n"
          "  fattr COMMAND --help   options of a command, with an example\n"
          "  fattr --version        version, build and kernels\n"
          "\n"
          "A first run:\n"
          "  fattr build model.onnx --references trusted.npz --calibration held-out.npz -o model.fattr\n"
          "  fattr score model.fattr --model model.onnx inputs.npz\n"
          "\n"
          "Input files are NumPy .npz: x (float32 or uint8, [n, ...]) and optionally y (labels); of language models x (tokens,\n"
          "[n, t]) and mask (1 where a token belongs to the response).\n"
          "Exit status: 0 success, 1 flagged inputs with --fail-on-flag, 2 wrong usage, 3 a bad file or another failure.\n",
          stream);
}

int main(int argc, char **argv)
{
    argp_err_exit_status = EXIT_USAGE;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "-?") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (strcmp(name, "--usage") == 0) {
        puts("Usage: fattr {build|merge|score|evaluate|mechanisms|inspect|features|tokens|generate|report|bench} [OPTION...]");
        return EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("fattr %s (%s)\n", fa_version_string(), fa_build_info());
        return EXIT_DONE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(name, commands[i].name) != 0) continue;
        argv[1] = (char[]){"fattr"};
        int code = commands[i].run(argc - 1, argv + 1);
        if (fflush(stdout) || ferror(stdout)) return say_error("cannot write the output");
        return code;
    }
    fprintf(stderr, "fattr: '%s' is no command\nTry 'fattr --help' for the list.\n", name);
    return EXIT_USAGE;
}
