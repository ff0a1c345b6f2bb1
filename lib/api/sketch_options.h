/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_SKETCH_OPTIONS_H
#define FA_API_SKETCH_OPTIONS_H

#include <fattr/trace.h>

/* The caller's options with defaults filled in, each in its range; FA_ERR_ARGUMENT names the field. For a trace sketch out->trace is `trace`, NULL otherwise. */
fa_status fa_sketch_options_resolve(const fa_sketch_options *given, fa_sketch_options *out, fa_trace_options *trace);

/* The same of fa_trace_options. */
fa_status fa_trace_options_resolve(const fa_trace_options *given, fa_trace_options *out);

#endif
