/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TRACER_H
#define FA_SKETCH_TRACER_H

#include "backend/varied.h"
#include "sketch/trace.h"

/* One thread's way to the losses of inputs at drawn weights: a varied pass and the weights of one draw. */
typedef struct fa_tracer {
    fa_context *context;
    const fa_program *program;
    fa_pass *pass;
    int64_t batch;
    float *trained, *weights, *statistics; /* [weights], [weights], trained [statistics] */
    int64_t at;                            /* the draw whose weights are set: FA_AT_TRAINED, or FA_AT_NOTHING */
    uint64_t draw_ns, forward_ns;          /* what calls took, added up */
    char *kept;                            /* [slots, kept_bytes] weights of the first draws, ready to run; NULL without */
    size_t kept_bytes;
    int64_t slots;
    bool *has;                             /* [slots] */
} fa_tracer;

/* What the network says of inputs at its trained weights, which its losses at others are held against; rows as the inputs'. */
typedef struct fa_own {
    fa_context *context;
    int64_t *target; /* [rows, positions] under losses of classes, NULL under others */
    float *output;   /* [rows, outputs] under losses of numbers, NULL under others */
} fa_own;

/* `own` is zeroed; fa_own_end() in any case. */
fa_status fa_own_begin(fa_own *own, fa_context *context, const fa_head *head, int64_t rows);
void fa_own_end(fa_own *own);
size_t fa_own_bytes(const fa_head *head, int64_t rows);
fa_asked fa_own_asked(const fa_own *own, const fa_array *mask);

#define FA_AT_TRAINED (-1)
#define FA_AT_NOTHING (-2)

/* `tracer` is zeroed; fa_tracer_end() in any case. `inputs`: shapes; `loss`: FA_LOSS_... */
fa_status fa_tracer_begin(fa_tracer *tracer, fa_context *context, const fa_program *program, const fa_array *inputs, int32_t n_inputs, int64_t batch, int32_t loss);
void fa_tracer_end(fa_tracer *tracer);

/* Keeps the weights of as many of `draws` draws as `bytes` hold, so that they are made once. */
fa_status fa_tracer_keep(fa_tracer *tracer, int64_t draws, uint64_t bytes);

/* Predictions at the trained weights of inputs first ... first + n - 1 (any number). */
fa_status fa_tracer_predict(fa_tracer *tracer, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, const fa_pass_outputs *outputs);

/* Sets the weights of a draw; nothing is done when they are set already. */
fa_status fa_tracer_set(fa_tracer *tracer, const fa_sketch_body *body, int64_t draw);

/* Losses [n] of inputs index[0 ... n - 1] (NULL: first ... first + n - 1) to what is asked of them at the weights set; one that is not finite fails. */
fa_status fa_tracer_losses(fa_tracer *tracer, const fa_array *inputs, const int64_t *index, int64_t first, int64_t n, const fa_asked *asked, float *loss);

#endif
