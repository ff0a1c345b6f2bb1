/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_TRACE_H
#define FA_SKETCH_TRACE_H

#include "sampler/draws.h"
#include "sketch/network.h"
#include "sketch/sketch.h"

/*
 * What a trace sketch holds beside the parts that every sketch has. A chain is a layer of the body: its block of a signature is the chain's trace,
 * centred and at unit length, and its share the length of that part over the length of the whole trace. So the coupling of `plain` blocks is the Pearson
 * correlation of traces centred chain by chain.
 */

typedef struct fa_trace_chain {
    uint64_t seed, id;
    int64_t draws;
    double loss_before, loss_after, distance;
    fa_diagnosis diagnosis;
} fa_trace_chain;

#define FA_TRACE_CHAINS_MOST 8192 /* of a sketch: their table fits the header of a file */
#define FA_TRACE_LOSS_MOST 1e30f /* nats: larger losses count as infinite */

/* What identifies one initialiser that moves. */
typedef struct fa_trace_parameter {
    const char *name;
    int64_t rows, row_length;
} fa_trace_parameter;

typedef struct fa_sketch_trace {
    fa_trace_options options; /* as used; pointers NULL but `parameters` */
    int32_t n_parameter;
    fa_trace_parameter *parameter;
    fa_draw_layout layout;        /* of the parameters */
    int32_t n_chain;
    fa_trace_chain *chain;        /* [n_chain] in the order of (seed, id); draws of chain c are body->offset[c] ... body->offset[c + 1] - 1 */
    size_t draw_bytes;            /* 0: made again from the seed */
    unsigned char *draw;          /* [draws, draw_bytes] */
    int64_t n_statistics;
    float *statistics;            /* [draws, n_statistics] running means and variances of BatchNormalization, or NULL */
    float *loss;                  /* [n_reference, draws] the references' losses */
    float *mean, *deviation;      /* [n_reference, n_chain] of `loss`: not stored */
    float *common;                /* [draws] the references' mean trace, centred and at unit length, for options.partial; NULL without; not stored */
    double loss_before, loss_after;
    fa_diagnosis diagnosis;
} fa_sketch_trace;

/* The trained program with the parameters of a trace sketch free to move. FA_ERR_MISMATCH when they are not those of the sketch (`trace->parameter` set). */
fa_status fa_trace_program(const fa_network *network, const fa_sketch_trace *trace, fa_program **out);

/* Takes the parameters' names and shapes over from a program, into `arena`. */
fa_status fa_trace_describe(const fa_program *program, fa_arena *arena, fa_sketch_trace *trace);

/* Sets layout from parameter [n_parameter]. */
fa_status fa_trace_lay_out(fa_arena *arena, fa_sketch_trace *trace);

/* Room in the body for copies of `chains` [n] with their draws (none are stored while trace->draw_bytes is 0), and for n_reference references (body->n_reference set). */
fa_status fa_trace_new(fa_sketch_body *body, const fa_trace_chain *chains, int32_t n);

/* From the references' losses to raw blocks, means, deviations and the common trace. fa_body_finish() comes next. */
void fa_trace_sign_references(fa_sketch_body *body);

/* From losses [n, draws] to raw blocks [n, draws]: centred chain by chain, the common trace taken out. mean, deviation [n, n_chain]. `block` may be `loss`. */
void fa_trace_sign(const fa_sketch_body *body, int64_t n, const float *loss, float *block, float *mean, float *deviation);

/* Writes weights [layout.n_weight] of draw `t`; `trained` likewise. fa_trace_replay() makes those of a gaussian sketch from their seed, stored or not. */
void fa_trace_replay(const fa_sketch_body *body, int64_t t, const float *trained, float *weights);
void fa_trace_weights(const fa_sketch_body *body, int64_t t, const float *trained, float *weights);
const float *fa_trace_statistics(const fa_sketch_body *body, int64_t t); /* NULL when there are none */

/* The chain a draw belongs to. */
int32_t fa_trace_chain_of(const fa_sketch_body *body, int64_t t);

/* Diagnoses the chains and the whole. */
fa_status fa_trace_diagnose(fa_sketch_body *body);

/* Tells `count` of every array that fa_trace_describe() and fa_trace_new() take from the body's arena beside the references' common parts. */
void fa_trace_sizes(const fa_sketch_body *body, void (*count)(void *user, size_t n, size_t size), void *user);

#endif
