/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_EXTRACT_H
#define FA_SKETCH_EXTRACT_H

#include "backend/pass.h"
#include "sketch/sketch.h"

/* From inputs to raw blocks: forward, backward, both sides of every tapped layer projected. */

/* The layer whose block `layer` adds to: the first that shares its weight and has the same sides. */
int32_t fa_block_first(const fa_program *program, int32_t layer);

/* Which layers a pass taps for a body: tapped [layers of the program]. */
void fa_body_taps(const fa_program *program, const fa_sketch_body *body, bool *tapped);

/* A body's projections in the form that the kernels want, for passes of one geometry. Immutable: threads share it. */
typedef struct fa_projector fa_projector;
fa_status fa_projector_create(fa_context *context, const fa_program *program, const fa_sketch_body *body, const fa_pass *pass, fa_projector **out);
void fa_projector_destroy(fa_projector *projector);

/* True where one that was made for a pass serves another: the same layers, laid out in the same way, whatever their batches. */
bool fa_projector_serves(const fa_program *program, const fa_pass *made_for, const fa_pass *pass);

/* What fa_projector_create() would take. */
size_t fa_projector_bytes(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass);

/* Scratch of the kernels for any layer of a pass. */
size_t fa_extract_scratch(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass);

/* FLOPs of the projections of one input. */
double fa_extract_flops(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass);

typedef struct fa_extraction {
    fa_pass *pass;
    const fa_projector *projector;
    void *scratch; /* FA_ALIGN-aligned, fa_extract_scratch() bytes */
    uint64_t forward_ns, backward_ns; /* what calls took, added up */
} fa_extraction;

/* Raw blocks [n, offset[n_layer]] of inputs first ... first + n - 1, n <= the pass's batch. */
fa_status fa_extract(fa_extraction *extraction, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, float *blocks, const fa_pass_outputs *outputs);

#endif
