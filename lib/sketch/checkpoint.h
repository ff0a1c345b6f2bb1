/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_CHECKPOINT_H
#define FA_SKETCH_CHECKPOINT_H

#include "sampler/chain.h"
#include "sketch/trace.h"

/*
 * A trace sketch under construction, so that a build that was killed can go on: a safetensors file like a sketch, with the draws and losses so far and the
 * state of the chain that was under way (docs/sketch-format.md). `request` is a digest of everything the build depends on.
 */
typedef struct fa_checkpoint {
    uint8_t request[16];
    int32_t chain;        /* under way */
    int64_t draw;         /* draws done, of all chains */
    fa_chain_state state; /* arrays NULL for gaussian sketches */
} fa_checkpoint;

/* Atomically. The sketch has its n_calibration and calibration_loss. */
fa_status fa_checkpoint_write(const fa_sketch *sketch, const fa_checkpoint *checkpoint, const char *path);

/* Fills in draws, losses and chains of a sketch made for the same request, and the state (arrays from `arena`). FA_ERR_IO, FA_ERR_FORMAT, FA_ERR_CHECKSUM,
 * FA_ERR_VERSION, FA_ERR_MISMATCH for another request; the sketch is to be thrown away then. `checkpoint->request` is set by the caller. */
fa_status fa_checkpoint_read(fa_sketch *sketch, fa_checkpoint *checkpoint, const char *path, fa_arena *arena);

/* The same from memory: what the fuzz target reads. */
fa_status fa_checkpoint_parse(fa_sketch *sketch, fa_checkpoint *checkpoint, const void *data, size_t size, fa_arena *arena);

#endif
