/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_NETWORK_H
#define FA_SKETCH_NETWORK_H

#include "backend/pass.h"

/* What a sketch needs of a model. */
typedef struct fa_network {
    fa_context *context;
    const fa_program *program;
    int32_t n_input;
    const char *const *input_name; /* [n_input] in graph order */
    int32_t logits_node;           /* node of the graph that makes the logits, -1 when they are an input */
    uint8_t digest[16];
} fa_network;

/* Arrays that may be given beside the inputs, by name (fattr/array.h). */
#define FA_ASIDE_TARGET 0
#define FA_ASIDE_MASK 1
#define FA_ASIDES 2

/* The caller's arrays in graph order: by name where they have one, by position otherwise, and behind them what was given beside them (shape NULL where it was not), so
 * `ordered` has room for n_input + FA_ASIDES. Checks numbers, names and that there are shapes alone. */
fa_status fa_network_order(const fa_network *network, const fa_array *inputs, int32_t n_inputs, fa_array *ordered);

/* What was given beside the inputs; points into `ordered`. */
fa_asked fa_network_asked(const fa_network *network, const fa_array *ordered);

#endif
