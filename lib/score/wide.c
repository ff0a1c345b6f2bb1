/* SPDX-License-Identifier: Apache-2.0 */
#include "score/wide.h"

#include "score/aggregate.h"

#include <string.h>

#define MOST 1536       /* references of a working set: on 10 000 of a real network 320 get a weight, and no input needed 800 */
/* Of the first working set: those with the largest couplings, which say little of who gets a weight. More at first, or fewer at a time, took longer (10 000 references: 53 ms with 384 and 160,
 * 37 with 192 and 160, 34 with 96 and 192, 40 with 64 and 256). */
#define FIRST 96
#define JOIN 192        /* at the most in a round: most of those that would lower the objective no longer would once the strongest of them have joined */
#define TILE 32         /* rows of the working set's Gram matrix that are made together, so that they stay in cache */
#define TOLERANCE 2e-4f /* of the gradient: a reference left out lowers the score by less than the square of this */
#define MOST_ROUNDS 24

struct fa_wide {
    fa_context *context;
    const fa_dot_kernels *kernels;
    fa_space space;
    fa_rows rows;
    fa_cone *cone;    /* over the working set */
    int64_t most;     /* room of the working set */
    int64_t *member;  /* [most] the working set, as places among the rows that are taken */
    int64_t *row;     /* [most] and as rows */
    uint8_t *inside;  /* [n] whether a reference is a member */
    float *gram;      /* [most, most] of the members */
    float *c, *w;     /* [most] of the members */
    float *gradient;  /* [2, n] */
    float *sum;       /* [2, length] what the members explain */
    float *share;     /* [2, n_layer] and */
    float tau[2];     /*   with `sum` two rows: fa_space_sum() */
    float *heap;      /* [JOIN], more than FIRST */
    float *scratch;
    fa_arena arena;
};

static int64_t room_for(int64_t n)
{
    return n < MOST ? n : MOST;
}

uint64_t fa_wide_bytes(const fa_space *s, int64_t n)
{
    uint64_t m = (uint64_t)room_for(n), floats = m * (m + 2) + 2 * (uint64_t)n + 2 * (uint64_t)(s->offset[s->n_layer] + s->n_layer) + JOIN;
    return sizeof(fa_wide) + FA_ARENA_SLACK + 2 * m * sizeof(int64_t) + (uint64_t)n + floats * sizeof(float) + fa_space_scratch(s) + fa_cone_bytes((int64_t)m);
}

void fa_wide_destroy(fa_wide *o)
{
    if (!o) return;
    fa_cone_destroy(o->cone);
    fa_arena_clear(&o->arena);
    fa_delete(o->context, o);
}

void fa_wide_take(fa_wide *o, const int64_t *pick, int64_t n)
{
    o->rows.n = n;
    o->rows.pick = pick;
}

static fa_status fill(fa_wide *o, double ridge)
{
    size_t n = (size_t)o->rows.n, m = (size_t)o->most, layers = (size_t)o->space.n_layer;
    o->member = fa_arena_array(&o->arena, m, sizeof *o->member);
    o->row = fa_arena_array(&o->arena, m, sizeof *o->row);
    o->inside = fa_arena_array(&o->arena, n, sizeof *o->inside);
    o->gram = fa_arena_array(&o->arena, m * m, sizeof *o->gram);
    o->c = fa_arena_array(&o->arena, m, sizeof *o->c);
    o->w = fa_arena_array(&o->arena, m, sizeof *o->w);
    o->gradient = fa_arena_array(&o->arena, 2 * n, sizeof *o->gradient);
    o->sum = fa_arena_array(&o->arena, 2 * (size_t)o->space.offset[layers], sizeof *o->sum);
    o->share = fa_arena_array(&o->arena, 2 * layers, sizeof *o->share);
    o->heap = fa_arena_array(&o->arena, JOIN, sizeof *o->heap);
    o->scratch = fa_arena_new(&o->arena, fa_space_scratch(&o->space));
    if (!o->member || !o->row || !o->inside || !o->gram || !o->c || !o->w || !o->gradient || !o->sum || !o->share || !o->heap || !o->scratch) return FA_ERR_MEMORY;
    for (size_t l = 0; l < layers; l++) o->share[l] = 1;
    o->tau[1] = 1;
    return fa_cone_create(o->context, o->kernels, o->gram, o->most, ridge, &o->cone);
}

fa_status fa_wide_create(fa_context *context, const fa_dot_kernels *kernels, const fa_space *space, const fa_rows *rows, double ridge, fa_wide **out)
{
    fa_wide *o = fa_new(context, sizeof *o);
    if (!o) return FA_ERR_MEMORY;
    *o = (fa_wide){.context = context, .kernels = kernels, .space = *space, .rows = *rows, .most = room_for(rows->n), .arena = {.context = context}};
    fa_status status = fill(o, ridge);
    if (status != FA_OK) {
        fa_wide_destroy(o);
        return status;
    }
    *out = o;
    return FA_OK;
}

/* References above `least` and 0 join the working set as far as there is room. Returns its size. */
static int64_t join(fa_wide *o, const float *x, float least, const float *c, int64_t without, int64_t m)
{
    for (int64_t j = 0; j < o->rows.n && m < o->most; j++) {
        if (!(x[j] >= least && x[j] > 0) || o->inside[j] || j == without) continue;
        o->inside[j] = 1;
        o->member[m] = j;
        o->row[m] = o->rows.pick ? o->rows.pick[j] : j;
        o->c[m++] = c[j];
    }
    return m;
}

/* Rows and columns `first` ... m - 1 of the members' Gram matrix. */
static void extend(fa_wide *o, int64_t first, int64_t m)
{
    for (int64_t i0 = first; i0 < m; i0 += TILE) {
        int64_t i1 = m - i0 < TILE ? m : i0 + TILE;
        fa_rows x = o->rows, r = o->rows;
        x.n = i1 - i0;
        x.pick = o->row + i0;
        r.n = i1;
        r.pick = o->row;
        fa_space_couplings(&o->space, o->kernels, &x, &r, o->gram + i0 * o->most, o->most, o->scratch);
        for (int64_t i = i0; i < i1; i++) {
            o->gram[i * o->most + i] = o->rows.tau[o->row[i]] > 0;
            for (int64_t j = 0; j < i; j++) o->gram[j * o->most + i] = o->gram[i * o->most + j];
        }
    }
}

/* Members without a weight leave. Returns how many stay. */
static int64_t compact(fa_wide *o, int64_t m)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < m; i++)
        if (!(o->w[i] > 0)) o->inside[o->member[i]] = 0;
    for (int64_t i = 0; i < m; i++) {
        if (!(o->w[i] > 0)) continue;
        for (int64_t j = 0, to = 0; j < m; j++)
            if (o->w[j] > 0) o->gram[kept * o->most + to++] = o->gram[i * o->most + j];
        o->member[kept] = o->member[i];
        o->row[kept] = o->row[i];
        o->c[kept++] = o->c[i];
    }
    kept = 0;
    for (int64_t i = 0; i < m; i++)
        if (o->w[i] > 0) o->w[kept++] = o->w[i];
    return kept;
}

/* gradient = c - R (what the members explain), the ridge's part left out: it is nothing where there is no weight. Returns how many references are to join. */
static int64_t check(fa_wide *o, const float *c, int64_t without, int64_t m)
{
    int64_t n = o->rows.n, wanting = 0;
    fa_space_sum(&o->space, &o->rows, o->row, o->w, m, o->sum);
    fa_rows two = {.n = 2, .block = o->sum, .share = o->share, .tau = o->tau};
    fa_space_couplings(&o->space, o->kernels, &two, &o->rows, o->gradient, n, o->scratch);
    for (int64_t j = 0; j < n; j++) {
        o->gradient[j] = c[j] - (o->gradient[j] + o->gradient[n + j]);
        if (o->inside[j] || j == without) o->gradient[j] = 0;
        wanting += o->gradient[j] > TOLERANCE;
    }
    return wanting;
}

double fa_wide_solve(fa_wide *o, const float *c, int64_t without, float *w, fa_cone_work *work)
{
    int64_t n = o->rows.n, m, first = 0, solved = 0;
    fa_cone_work spent = {0, 0, 0, 0}, part;
    double score = 1;
    memset(o->inside, 0, (size_t)n);
    memset(w, 0, (size_t)n * sizeof *w);
    fa_largest(c, n, without, FIRST, o->heap);
    m = join(o, c, o->heap[0], c, without, 0);
    for (int round = 0; round < MOST_ROUNDS && m > first; round++) {
        extend(o, first, m);
        fa_cone_take(o->cone, m);
        score = fa_cone_solve(o->cone, o->c, -1, o->w, &part);
        solved = m;
        spent = (fa_cone_work){spent.steps + part.steps, spent.rounds + part.rounds, part.active, spent.conjugate + part.conjugate};
        int64_t wanting = check(o, c, without, m);
        if (!wanting) break;
        m = solved = compact(o, m); /* rows of the Gram matrix are the greater part of the cost: none is made with a member that has no weight */
        first = m;
        fa_largest(o->gradient, n, without, JOIN, o->heap);
        m = join(o, o->gradient, o->heap[0] > TOLERANCE ? o->heap[0] : TOLERANCE, c, without, m);
    }
    for (int64_t i = 0; i < solved; i++) w[o->member[i]] = o->w[i];
    if (work) *work = spent;
    return score;
}
