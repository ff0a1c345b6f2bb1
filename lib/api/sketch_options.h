/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_SKETCH_OPTIONS_H
#define FA_API_SKETCH_OPTIONS_H

#include <fattr/sketch.h>

/* The caller's options with defaults filled in, each in its range; FA_ERR_ARGUMENT names the field. */
fa_status fa_sketch_options_resolve(const fa_sketch_options *given, fa_sketch_options *out);

#endif
