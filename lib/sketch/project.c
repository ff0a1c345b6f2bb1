/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/project.h"

#include "base/context.h"
#include "base/error.h"
#include "kernels/normal.h"
#include "sketch/eigen.h"

#include <math.h>

#define EIGEN_SEED 1 /* of the solver's starting block: any will do, always the same */

typedef struct projecting {
    const fa_blocks *blocks;
    const fa_sketch_options *options;
    const fa_sketch_body *body;
    const fa_dot_kernels *kernels;
    fa_context *context;
    const double *total;
    int64_t n;
    const int32_t *kept; /* [body->n_layer] block of each layer with signal */
} projecting;

static double trace(const double *lower, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += lower[i * (i + 1) / 2 + i];
    return sum;
}

/* Seeded normal numbers over sqrt(k); a stream for each side of each layer. */
static void random_side(const projecting *p, const fa_block *block, int e, float *out)
{
    const fa_side *s = &block->side[e];
    float scale = (float)(1 / sqrt((double)s->k));
    fa_normal(p->options->seed, 2 * (uint64_t)block->layer + (uint64_t)e, 0, s->n * s->k, out);
    for (int64_t i = 0; i < s->n * s->k; i++) out[i] *= scale;
}

/* The eigenvalue's factor; 0 where even damping leaves nothing, a direction in which no reference acts. */
static double factor(double value, double mean, const fa_sketch_options *o)
{
    double damped = value + o->damping * mean;
    return damped > 0 ? pow(damped, -o->beta) : 0;
}

static fa_status eigen_side(const projecting *p, const fa_side *s, float *out)
{
    const double *lower = p->total + s->total_at;
    double mean = trace(lower, s->n) / (double)p->n / (double)s->n;
    double *values = fa_new_array(p->context, (size_t)s->k * (size_t)(s->n + 1), sizeof *values), *vectors = values + s->k;
    if (!values) return FA_ERR_MEMORY;
    fa_status status = fa_eigen_top(p->context, p->kernels, lower, s->n, s->k, EIGEN_SEED, values, vectors);
    for (int32_t c = 0; c < s->k && status == FA_OK; c++) {
        double scale = factor(values[c] / (double)p->n, mean, p->options);
        for (int64_t r = 0; r < s->n; r++) out[r * s->k + c] = (float)(vectors[r * s->k + c] * scale);
    }
    fa_delete(p->context, values);
    return status;
}

static fa_status chunk(void *user, int32_t thread, int64_t first, int64_t n)
{
    const projecting *p = user;
    (void)thread;
    for (int64_t j = first; j < first + n; j++) {
        const fa_sketch_layer *l = &p->body->layer[j / 2];
        const fa_block *block = &p->blocks->block[p->kept[j / 2]];
        float *out = (float *)(j % 2 ? l->p_out : l->p_in);
        fa_status status = FA_OK;
        if (block->side[j % 2].random) random_side(p, block, (int)(j % 2), out);
        else status = eigen_side(p, &block->side[j % 2], out);
        if (status != FA_OK) return fa_fail_at(status, "layer '%.100s'", l->name);
    }
    return FA_OK;
}

/* A side with a random projection has no moment to ask. */
static fa_status has_signal(const projecting *p, const fa_block *block, const char *name, bool *signal)
{
    *signal = true;
    for (int e = 0; e < 2; e++) {
        const fa_side *s = &block->side[e];
        if (s->random) continue;
        double sum = trace(p->total + s->total_at, s->n);
        if (!isfinite(sum)) return fa_fail(FA_ERR_NOT_FINITE, "layer '%.100s': its inputs or gradients on the references are not finite", name);
        if (!(sum > 0)) *signal = false;
    }
    return FA_OK;
}

static fa_status describe(const projecting *p, const fa_program *program, const fa_block *block, bool dropped, fa_arena *arena, fa_sketch_layer *out)
{
    const fa_layer *l = fa_program_layer(program, block->layer);
    *out = (fa_sketch_layer){.name = fa_arena_string(arena, l->name), .weight = fa_arena_string(arena, l->weight), .index = block->layer,
                             .in = l->in, .out = l->out, .groups = l->groups, .random_in = block->side[0].random, .random_out = block->side[1].random};
    if (!out->name || !out->weight) return FA_ERR_MEMORY;
    for (int e = 0; p->options->keep_moments && e < 2; e++) out->moment[e] = block->side[e].random ? NULL : p->total + block->side[e].total_at;
    if (dropped) return FA_OK;
    out->k_in = block->side[0].k;
    out->k_out = block->side[1].k;
    out->p_in = fa_arena_array(arena, (size_t)l->in * (size_t)out->k_in, sizeof(float));
    out->p_out = fa_arena_array(arena, (size_t)l->out * (size_t)out->k_out, sizeof(float));
    return out->p_in && out->p_out ? FA_OK : FA_ERR_MEMORY;
}

/* The layer table: those with signal, then the others, each in the program's order. */
static fa_status list_layers(const projecting *p, const fa_program *program, fa_sketch_body *body, int32_t *kept)
{
    const fa_blocks *b = p->blocks;
    fa_arena *arena = &body->arena;
    body->layer = fa_arena_array(arena, (size_t)b->count, sizeof *body->layer);
    body->offset = fa_arena_array(arena, (size_t)b->count + 1, sizeof *body->offset);
    if (!body->layer || !body->offset) return FA_ERR_MEMORY;
    for (int dropped = 0; dropped < 2; dropped++)
        for (int32_t i = 0; i < b->count; i++) {
            bool signal;
            FA_TRY(has_signal(p, &b->block[i], fa_program_layer(program, b->block[i].layer)->name, &signal));
            if (signal != !dropped) continue;
            fa_sketch_layer *l = &body->layer[body->n_layer + body->n_dropped];
            FA_TRY(describe(p, program, &b->block[i], dropped, arena, l));
            if (dropped) {
                body->n_dropped++;
                continue;
            }
            kept[body->n_layer] = i;
            body->offset[body->n_layer + 1] = body->offset[body->n_layer] + (int64_t)l->k_in * l->k_out;
            body->n_layer++;
        }
    if (body->n_layer == 0) return fa_fail(FA_ERR_NO_SIGNAL, "none of the %d tapped layers has inputs and gradients on the references", b->count);
    return FA_OK;
}

fa_status fa_project(fa_crew *crew, const fa_blocks *b, const double *total, int64_t n, const fa_sketch_options *o, fa_sketch_body *body)
{
    projecting p = {.blocks = b, .options = o, .body = body, .kernels = fa_dot_kernels_for(crew->context->kernels), .context = crew->context,
                    .total = total, .n = n};
    int32_t *kept = fa_new_array(crew->context, (size_t)b->count, sizeof *kept);
    if (!kept) return FA_ERR_MEMORY;
    p.kept = kept;
    fa_status status = list_layers(&p, crew->network->program, body, kept);
    if (status == FA_OK)
        status = fa_waves_run(&(fa_waves){.pool = crew->pool, .n = 2 * (int64_t)body->n_layer, .batch = 1, .stage = "projections",
                                          .progress = &crew->progress, .user = &p,
                                          .chunk = chunk}, crew->context);
    fa_delete(crew->context, kept);
    FA_TRY(status);
    return fa_progress_add(&crew->progress, "projections", 2 * (int64_t)body->n_dropped);
}

size_t fa_project_bytes(const fa_blocks *b, int32_t threads)
{
    size_t most = 0, wave = 0;
    for (int32_t job = 0; job < 2 * b->count; job++) {
        const fa_side *s = &b->block[job / 2].side[job % 2];
        if (job % threads == 0) wave = 0;
        if (!s->random) wave += (size_t)fa_eigen_bytes(s->n, s->k) + (size_t)s->k * (size_t)(s->n + 1) * sizeof(double) + FA_ALIGN;
        if (wave > most) most = wave;
    }
    return most;
}
