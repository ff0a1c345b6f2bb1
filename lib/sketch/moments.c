/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/moments.h"

#include "base/error.h"

#include <string.h>

typedef struct summing {
    fa_crew *crew;
    const fa_blocks *blocks;
    const fa_array *inputs;
    double *total;
    float *partial; /* [threads, partial_floats] zero between chunks */
    char *scratch;  /* [threads] */
    size_t scratch_bytes;
} summing;

typedef struct visiting {
    const summing *s;
    float *partial;
    void *scratch;
} visiting;

size_t fa_moments_scratch(const fa_program *program, const fa_blocks *b, const fa_pass *pass)
{
    size_t most = FA_ALIGN;
    for (int32_t l = 0; l < fa_program_layer_count(program); l++) {
        if (!b->tapped[l] || fa_pass_geometry(pass, l)->n == 0) continue;
        size_t size = fa_program_tap_ops(program)->moments_scratch(fa_pass_geometry(pass, l));
        if (size > most) most = size;
    }
    return (most + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static void visit(void *user, const fa_tap *tap)
{
    const visiting *v = user;
    const fa_blocks *b = v->s->blocks;
    const fa_side *side = b->block[b->of_layer[tap->layer]].side;
    float *A = side[0].random ? NULL : v->partial + side[0].partial_at, *G = side[1].random ? NULL : v->partial + side[1].partial_at;
    if (A || G) fa_program_tap_ops(v->s->crew->network->program)->moments(tap, A, G, v->scratch);
}

static fa_status chunk(void *user, int32_t t, int64_t first, int64_t n)
{
    summing *s = user;
    fa_pass *pass = s->crew->member[t].pass;
    visiting v = {s, s->partial + (size_t)t * s->blocks->partial_floats, s->scratch + (size_t)t * s->scratch_bytes};
    const fa_asked asked = fa_network_asked(s->crew->network, s->inputs);
    FA_TRY(fa_pass_forward(pass, s->inputs, first, n, &asked, NULL));
    return fa_pass_backward(pass, visit, &v);
}

static void reduce(void *user, int32_t t)
{
    summing *s = user;
    const fa_blocks *b = s->blocks;
    float *partial = s->partial + (size_t)t * b->partial_floats;
    for (int32_t i = 0; i < b->count; i++)
        for (int e = 0; e < 2; e++) {
            const fa_side *side = &b->block[i].side[e];
            if (side->random) continue;
            double *total = s->total + side->total_at;
            for (int64_t r = 0; r < side->n; r++) {
                const float *row = partial + side->partial_at + (size_t)(r * side->n);
                for (int64_t c = 0; c <= r; c++) *total++ += row[c];
            }
        }
    memset(partial, 0, b->partial_floats * sizeof *partial);
}

fa_status fa_moments_sum(fa_crew *crew, const fa_blocks *b, const fa_array *inputs, int64_t n, double *total)
{
    summing s = {.crew = crew, .blocks = b, .inputs = inputs, .total = total};
    size_t threads = (size_t)crew->threads, floats, bytes;
    s.scratch_bytes = fa_moments_scratch(crew->network->program, b, crew->member[0].pass);
    if (!fa_mul_size(threads, b->partial_floats, &floats) || !fa_mul_size(threads, s.scratch_bytes, &bytes)) return fa_fail_memory(SIZE_MAX);
    s.partial = fa_new_array(crew->context, floats, sizeof *s.partial);
    s.scratch = s.partial ? fa_new_uncleared(crew->context, bytes) : NULL;
    fa_status status = FA_ERR_MEMORY;
    if (s.scratch)
        status = fa_waves_run(&(fa_waves){.pool = crew->pool, .n = n, .batch = crew->batch, .stage = "second moments", .progress = &crew->progress,
                                          .user = &s,
                                          .chunk = chunk, .reduce = reduce}, crew->context);
    fa_delete(crew->context, s.scratch);
    fa_delete(crew->context, s.partial);
    return status;
}
