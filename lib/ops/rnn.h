/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_RNN_H
#define FA_OPS_RNN_H

#include "ops/ops.h"

/* Recurrent cells. One step of one sequence takes the state h0 (and c0) to h1 (and c1) through `gates` times `hidden` activations. */

typedef enum fa_rnn_kind { FA_RNN, FA_GRU, FA_LSTM } fa_rnn_kind;

typedef struct fa_rnn_activation {
    int32_t kind; /* index into ONNX's list, see rnn_cells.c */
    double alpha, beta;
} fa_rnn_activation;

typedef struct fa_rnn_cell {
    fa_rnn_kind kind;
    int64_t hidden, gates;
    bool linear_before_reset, input_forget;
    double clip; /* of what activations see; infinite: none */
    fa_rnn_activation f[3];
    const fa_real *recurrence; /* [gates * hidden, hidden] */
    const fa_real *bias;       /* of the recurrence [gates * hidden], or NULL */
    const fa_real *peephole;   /* [3 * hidden], or NULL */
} fa_rnn_cell;

typedef struct fa_rnn_step {
    const fa_real *h0, *c0;
    fa_real *pre;  /* [gates * hidden] the input's part; the cell adds the state's: what activations see */
    fa_real *gate; /* [gates * hidden] what they give */
    fa_real *linear; /* [hidden] GRU: the recurrence of the last gate, with linear_before_reset */
    fa_real *h1, *c1;
} fa_rnn_step;

typedef struct fa_rnn_gradient {
    fa_real *h1, *c1;   /* [hidden] at the state after the step; c1 is changed */
    fa_real *h0, *c0;   /* [hidden] at the state before, set */
    fa_real *pre;       /* [gates * hidden] at `pre`, set */
    fa_real *linear;    /* [gates * hidden] at the recurrence's part of it, set */
    fa_real *recurrence, *peephole; /* like the cell's, added to; NULL: not wanted */
} fa_rnn_gradient;

/* The activation by its name in ONNX with its default alpha and beta. Returns how many of the two it takes, -1 for an unknown name. */
int32_t FA_R(fa_rnn_activation_find)(const char *name, fa_rnn_activation *out);

void FA_R(fa_rnn_forward)(const fa_rnn_cell *cell, const fa_rnn_step *step);
void FA_R(fa_rnn_backward)(const fa_rnn_cell *cell, const fa_rnn_step *step, const fa_rnn_gradient *g);

#endif
