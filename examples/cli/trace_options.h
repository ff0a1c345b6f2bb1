/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_TRACE_OPTIONS_H
#define FATTR_CLI_TRACE_OPTIONS_H

#include "cli.h"

/* The options of `fattr build` that are about trace sketches. */
typedef struct trace_arguments {
    bool wanted;          /* --kind trace, or --preset */
    bool any;             /* one of the others was given */
    const char *preset;
    const char *sampling; /* file */
    const char *checkpoint;
    bool resume;
    fa_trace_options options;
} trace_arguments;

/* A child parser for struct argp; its input is a trace_arguments. */
extern const struct argp trace_argp;

const char *sampler_name(int32_t sampler);
const char *storage_name(int32_t storage);

#endif
