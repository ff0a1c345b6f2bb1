/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_SESSION_H
#define FATTR_CLI_SESSION_H

#include "cli.h"

/* What a command works with. Zero-initialised is closed; every function that returns an int returns EXIT_DONE or has said what is wrong. */
typedef struct session {
    fa_context *context;
    fa_model *model;
    fa_sketch *sketch;
    const char **names; /* [input_count] of the model's inputs */
    int32_t input_count;
} session;

typedef struct session_options {
    const char *model, *output; /* `output`: name of the logits, or NULL */
    const char *sketch;         /* or NULL */
    int32_t precision, packing; /* FA_PRECISION_... and FA_PACKING_... of the model */
    const char *loss;           /* that the sketch is to have been built with, or NULL: any */
    int32_t threads;
} session_options;

int session_open(session *s, const session_options *options);
void session_close(session *s);

/* The inputs of a .npz file as the model takes them. */
int session_inputs(const session *s, const char *path, double scale, fa_refset **out);

/* Some rows of a set, as arrays for the library. */
typedef struct slice {
    fa_array *array; /* [count] */
    int64_t (*shape)[FA_MAX_DIMS];
    int32_t count;
} slice;

int slice_create(const fa_refset *set, slice *out);
void slice_destroy(slice *s);
void slice_move(slice *s, const fa_refset *set, int64_t first, int64_t n);

/* Bytes of an element; 0 for a number that is no type. */
size_t element_size(int32_t dtype);

/* Share of a labelled set's inputs whose label is what the model predicted; 1 without labels. */
double accuracy(const fa_refset *set, const int64_t *predicted);

#endif
