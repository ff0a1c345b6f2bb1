/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_FATTR_H
#define FATTR_FATTR_H

/*
 * libfattr: was this output produced by the mechanisms the network uses on inputs we trust, or by something else?
 *
 *     fa_context *ctx;  fa_model *model;  fa_sketch *sketch;  fa_scorer *scorer;  fa_result result;
 *
 *     fa_context_create(NULL, &ctx);                              once per process
 *     fa_model_load_file(ctx, "model.onnx", NULL, &model);
 *     fa_sketch_load_file(ctx, "model.fattr", &sketch);           made offline: fattr build, or fa_sketch_build()
 *
 *     fa_scorer_create(sketch, model, NULL, &scorer);             once per thread
 *     int64_t shape[] = {1, 1, 28, 28};
 *     fa_array image = {pixels, shape, 4, FA_FLOAT32, NULL};
 *     if (fa_score(scorer, &image, 1, &result) == FA_OK && result.flagged == 1)
 *         the input's output is not attributable to the references at the chosen false positive rate
 *
 * Conventions. Functions return an fa_status; fa_error_message() has the words. Handles are opaque; fa_x_release() takes NULL. Models,
 * reference sets and sketches are immutable and safe from many threads; a scorer is one thread's. Options structs begin with struct_size,
 * are filled by fa_x_options_init(), and only ever grow at the end. Scores: higher = more anomalous. Text is UTF-8.
 */

#include <fattr/array.h>
#include <fattr/backend.h>
#include <fattr/context.h>
#include <fattr/generate.h>
#include <fattr/loss.h>
#include <fattr/mechanisms.h>
#include <fattr/metrics.h>
#include <fattr/model.h>
#include <fattr/monitor.h>
#include <fattr/refset.h>
#include <fattr/score.h>
#include <fattr/sketch.h>
#include <fattr/status.h>
#include <fattr/trace.h>
#include <fattr/version.h>

#endif
