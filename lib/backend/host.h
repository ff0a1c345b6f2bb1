/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_HOST_H
#define FA_BACKEND_HOST_H

#include "backend/engine.h"

#include <fattr/backend.h>

/* A host's table of callbacks, checked and copied: what stands in the place of a file. */
typedef struct fa_host {
    fa_arena arena;
    fa_backend table; /* of this version: what an earlier one lacks is NULL */
    fa_graph *graph;  /* the inputs and, as output 0, what forward gives; no nodes */
    fa_layers layers; /* `node` NULL */
    fa_parameters parameters; /* all that are declared; `value` NULL */
    uint8_t digest[16];
} fa_host;

fa_status fa_host_create(fa_context *context, const fa_backend *backend, fa_host **out);
void fa_host_destroy(fa_host *host); /* `release` is the owner's to call */

/* The host, which must outlive them, as a program; and one with parameters (fa_engine.vary). */
fa_status fa_host_program(const fa_host *host, fa_program **out);
fa_status fa_host_vary(const fa_program *program, const fa_varied_options *options, fa_program **out);

/* What its passes write, [batch, ...]. */
const fa_view *fa_host_output(const fa_pass *pass);

/* Whole weight gradients in the place of taps: `a` [n, out, in], `d` NULL. */
extern const fa_tap_ops fa_tap_ops_whole;

#endif
