/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/run_plans.h"

#include "base/context.h"
#include "base/error.h"
#include "base/lru.h"
#include "ops/table.h"

#include <pthread.h>
#include <string.h>

/* A program that ends at a value which is not the logits, or that has weights which the model's graph has no more. */
typedef struct fa_run_tail {
    fa_program *program;
    int32_t value;
    int32_t users; /* plans, and the table that keeps it */
} fa_run_tail;

struct fa_run_plans {
    fa_context *context;
    const fa_graph *graph;
    const fa_program *program;
    int32_t logits;
    pthread_mutex_t mutex; /* of all below and of what they count; not held while plans and programs are made */
    fa_lru keys;
    fa_run_plan **plan; /* [keys.slots] */
    fa_run_tail *tail;  /* of the last value that took one */
};

#define INPUT_KEY (FA_MAX_DIMS + 2)

fa_status fa_run_plans_create(fa_context *context, const fa_graph *graph, const fa_program *program, int32_t logits, int32_t slots, fa_run_plans **out)
{
    fa_run_plans *p = fa_new(context, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (fa_run_plans){.context = context, .graph = graph, .program = program, .logits = logits};
    fa_status status = fa_lru_begin(&p->keys, context, slots, 1 + graph->n_input * INPUT_KEY);
    if (status == FA_OK && !(p->plan = fa_new_array(context, (size_t)slots, sizeof *p->plan))) status = FA_ERR_MEMORY;
    if (status == FA_OK && pthread_mutex_init(&p->mutex, NULL)) status = fa_fail(FA_ERR_MEMORY, "no mutex can be made");
    if (status != FA_OK) {
        fa_delete(context, p->plan);
        fa_lru_end(&p->keys);
        fa_delete(context, p);
        return status;
    }
    *out = p;
    return FA_OK;
}

/* One user less; under the mutex, or when there is one thread left. */
static void leave_tail(fa_run_plans *p, fa_run_tail *t)
{
    if (!t || --t->users) return;
    fa_program_destroy(t->program);
    fa_delete(p->context, t);
}

static void leave(fa_run_plans *p, fa_run_plan *plan)
{
    if (!plan || --plan->users) return;
    fa_plan_destroy(plan->plan);
    leave_tail(p, plan->tail);
    fa_delete(p->context, plan);
}

static void empty(fa_run_plans *p, int32_t slot)
{
    leave(p, p->plan[slot]);
    p->plan[slot] = NULL;
    fa_lru_drop(&p->keys, slot);
}

void fa_run_plans_put(fa_run_plans *p, fa_run_plan *plan)
{
    pthread_mutex_lock(&p->mutex);
    leave(p, plan);
    pthread_mutex_unlock(&p->mutex);
}

void fa_run_plans_destroy(fa_run_plans *p)
{
    if (!p) return;
    for (int32_t i = 0; i < p->keys.slots; i++) empty(p, i);
    leave_tail(p, p->tail);
    pthread_mutex_destroy(&p->mutex);
    fa_delete(p->context, p->plan);
    fa_lru_end(&p->keys);
    fa_delete(p->context, p);
}

static void make_key(const fa_run_plans *p, int32_t value, const fa_view *inputs, int64_t *key)
{
    *key++ = value;
    for (int32_t i = 0; i < p->graph->n_input; i++, key += INPUT_KEY) {
        key[0] = inputs[i].dtype;
        key[1] = inputs[i].ndim;
        memcpy(key + 2, inputs[i].dim, (size_t)inputs[i].ndim * sizeof *key);
    }
}

/* Whether a value is made by a program; else the file's own graph is run. */
static bool on_kernels(const fa_run_plans *p, int32_t value)
{
    const fa_value *v = &p->graph->value[value];
    return (p->context->kernels == FA_KERNELS_FAST || p->program->precision != FA_PRECISION_F32) && v->producer >= 0 && !v->is_parameter;
}

static fa_status make_tail(fa_run_plans *p, int32_t value, fa_run_tail **out)
{
    fa_run_tail *t = fa_new(p->context, sizeof *t);
    if (!t) return FA_ERR_MEMORY;
    *t = (fa_run_tail){.value = value, .users = 1};
    fa_status status = fa_program_create_tail(p->program, value, on_kernels(p, value) ? p->context->kernels : FA_KERNELS_REFERENCE, &t->program);
    if (status != FA_OK) {
        fa_delete(p->context, t);
        return status;
    }
    *out = t;
    return FA_OK;
}

/* A plan takes over one use of its tail, also on failure. */
static fa_status make_plan(fa_run_plans *p, int32_t value, const fa_view *inputs, fa_run_tail *tail, fa_run_plan **out)
{
    const fa_program *program = tail ? tail->program : on_kernels(p, value) ? p->program : NULL;
    fa_plan_request request = {.graph = program ? program->evaluation.graph : p->graph, .context = p->context, .ops = program ? program->ops : &fa_op_table_f32,
                               .inputs = inputs, .wanted = &value, .n_wanted = 1, .loss = -1};
    fa_run_plan *made = fa_new(p->context, sizeof *made);
    fa_status status = made ? fa_plan_create(&request, &made->plan) : FA_ERR_MEMORY;
    if (status != FA_OK) {
        fa_delete(p->context, made);
        pthread_mutex_lock(&p->mutex);
        leave_tail(p, tail);
        pthread_mutex_unlock(&p->mutex);
        return status;
    }
    made->tail = tail;
    made->users = 1;
    *out = made;
    return FA_OK;
}

/* Keeps a plan, unless another thread has kept its like meanwhile; plans of another tail go, so that there is never more than one. */
static void keep(fa_run_plans *p, const int64_t *key, fa_run_plan *made)
{
    fa_run_tail *tail = made->tail;
    if (tail && p->tail != tail) {
        if (p->tail && p->tail->value == tail->value) return;
        for (int32_t i = 0; i < p->keys.slots; i++)
            if (p->plan[i] && p->plan[i]->tail) empty(p, i);
        leave_tail(p, p->tail);
        p->tail = tail;
        tail->users++;
    }
    if (fa_lru_find(&p->keys, key) >= 0) return;
    int32_t slot = fa_lru_oldest(&p->keys);
    empty(p, slot);
    p->plan[slot] = made;
    made->users++;
    fa_lru_set(&p->keys, slot, key);
}

static fa_status make(fa_run_plans *p, int32_t value, const fa_view *inputs, const int64_t *key, fa_run_tail *tail, fa_run_plan **out)
{
    if (!tail && (on_kernels(p, value) ? value != p->logits : fa_program_has_taken(p->program))) FA_TRY(make_tail(p, value, &tail));
    FA_TRY(make_plan(p, value, inputs, tail, out));
    pthread_mutex_lock(&p->mutex);
    keep(p, key, *out);
    pthread_mutex_unlock(&p->mutex);
    return FA_OK;
}

fa_status fa_run_plans_get(fa_run_plans *p, int32_t value, const fa_view *inputs, fa_run_plan **out)
{
    int64_t *key = fa_new_array(p->context, (size_t)p->keys.length, sizeof *key);
    if (!key) return FA_ERR_MEMORY;
    make_key(p, value, inputs, key);
    pthread_mutex_lock(&p->mutex);
    int32_t slot = fa_lru_find(&p->keys, key);
    fa_run_plan *kept = slot < 0 ? NULL : p->plan[slot];
    fa_run_tail *tail = !kept && p->tail && p->tail->value == value ? p->tail : NULL;
    if (kept) kept->users++;
    if (tail) tail->users++;
    pthread_mutex_unlock(&p->mutex);
    fa_status status = FA_OK;
    if (kept) *out = kept;
    else status = make(p, value, inputs, key, tail, out);
    fa_delete(p->context, key);
    return status;
}
