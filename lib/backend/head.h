/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_HEAD_H
#define FA_BACKEND_HEAD_H

#include "backend/loss.h"
#include "graph/view.h"

/* The output head: how a loss reads the output of one input, `outputs` numbers in the model's layout, and the gradient there from which a pass goes back. */
typedef struct fa_head {
    int32_t loss; /* FA_LOSS_... */
    const fa_loss_kind *kind;
    int64_t outputs;             /* positions * channels */
    int64_t positions, channels; /* number k at position p is z[p * position_step + k * channel_step] */
    int64_t position_step, channel_step;
} fa_head;

/* What a loss says of one input. */
typedef struct fa_loss {
    int64_t predicted; /* as fa_result.predicted */
    double confidence; /* as fa_result.confidence */
    double loss;       /* mean over the positions that count, each as fa_position_loss(), nats; of numbers as fa_numbers_loss() */
} fa_loss;

/* Of a value [batch, ...] called `name`. FA_ERR_SHAPE names the losses that fit. `constant`: it does not depend on the input. */
fa_status fa_head_fit(int32_t loss, const fa_view *value, int64_t batch, const char *name, bool constant, fa_head *out);

/* Columns of the output that stand for a class or label, 0 for numbers. */
int64_t fa_head_classes(const fa_head *head);

/* The output of one input, and what it is held against. */
typedef struct fa_head_row {
    const float *z;
    const int64_t *target; /* [positions] below 0 is none, and the position does not count; NULL: the model's own classes */
    const float *weight;   /* [positions] what each counts, >= 0; NULL: all 1 */
    const float *own;      /* [outputs] of losses of numbers, the output at other weights; NULL: z itself */
} fa_head_row;

/* position [positions] is set. FA_ERR_ARGUMENT for a target that is no class and when no position counts; the caller says which input. */
fa_status fa_head_look(const fa_head *head, const fa_head_row *row, fa_position *position, fa_loss *out);

/* Gradient [outputs] at the output, at unit length over all positions (0 where there is none), after fa_head_look(). Not for FA_LOSS_HOST. */
void fa_head_unit_gradient(const fa_head *head, const fa_head_row *row, const fa_position *position, float *gradient);

/* That of fa_loss.loss. */
void fa_head_loss_gradient(const fa_head *head, const fa_head_row *row, const fa_position *position, float *gradient);

/* Takes a gradient to unit length; one that is 0 stays so. */
void fa_head_normalise(int64_t n, float *gradient);

#endif
