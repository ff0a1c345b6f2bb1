/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_TRACE_BUILD_H
#define FA_SCORE_TRACE_BUILD_H

#include "score/build.h"

/* fa_build() for a trace sketch: options->trace is set, defaults filled in. */
fa_status fa_trace_build(const fa_build_request *request, fa_sketch **out);

/* fa_build_estimate() for a trace sketch. */
fa_status fa_trace_estimate(const fa_build_request *request, fa_memory_estimate *out);

/* fa_build_recalibrate() for a trace sketch. */
fa_status fa_trace_recalibrate(const fa_sketch *sketch, const fa_network *network, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);

#endif
