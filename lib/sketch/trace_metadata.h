/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TRACE_METADATA_H
#define FA_SKETCH_TRACE_METADATA_H

#include "sketch/fields.h"
#include "sketch/trace.h"

/* The parts of `__metadata__` that describe draws: "trace", "parameters", "chains" (docs/sketch-format.md). */
void fa_trace_metadata_write(const fa_sketch_body *body, fa_json_writer *w);

/* Into body->trace, zeroed before; the chains wait for fa_trace_new() in trace->chain. */
fa_status fa_trace_metadata_read(const fa_json *metadata, fa_sketch_body *body);

#endif
