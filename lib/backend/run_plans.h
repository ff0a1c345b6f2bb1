/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_RUN_PLANS_H
#define FA_BACKEND_RUN_PLANS_H

#include "backend/program.h"
#include "graph/plan.h"

/*
 * Plans of forward runs that end at one value of a model, kept for the next run of inputs of the same shapes. Any thread. Plans that end at the logits share the
 * program that passes run; on fast kernels another value takes a program of its own, so that nothing before it is fused away, and the last one of those is kept.
 */
typedef struct fa_run_plans fa_run_plans;

/* A plan in use. */
typedef struct fa_run_plan {
    fa_plan *plan;
    struct fa_run_tail *tail; /* NULL: the plan's graph is the model's or its program's */
    int32_t users;            /* callers, and the slot that keeps it */
} fa_run_plan;

/* `graph` and `program`, which ends at its value `logits`, must outlive the plans. `slots`: plans that are kept. */
fa_status fa_run_plans_create(fa_context *context, const fa_graph *graph, const fa_program *program, int32_t logits, int32_t slots, fa_run_plans **out);
void fa_run_plans_destroy(fa_run_plans *plans);

/* `inputs` [graph->n_input]: shapes and types. What comes out is given back. */
fa_status fa_run_plans_get(fa_run_plans *plans, int32_t value, const fa_view *inputs, fa_run_plan **out);
void fa_run_plans_put(fa_run_plans *plans, fa_run_plan *plan);

#endif
