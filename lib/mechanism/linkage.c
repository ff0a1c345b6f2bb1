/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/linkage.h"

#include <stdatomic.h>

static const float ones[4] = {1, 1, 1, 1};

typedef struct work {
    const fa_dot_kernels *kernels;
    const float *const *x;
    int64_t n, length;
    float *similar; /* [n, n] */
    atomic_llong next;
} work;

/* Rows of the lower triangle, four columns at a time; each pair is computed once and written twice. */
static void rows(void *user, int32_t thread)
{
    work *w = user;
    const int64_t offset[2] = {0, w->length};
    (void)thread;
    for (;;) {
        int64_t i = w->n - 1 - atomic_fetch_add(&w->next, 1); /* long rows first */
        if (i < 0) return;
        for (int64_t j = 0; j < i; j += 4) {
            const float *four[4];
            float out[4] = {0, 0, 0, 0};
            for (int64_t q = 0; q < 4; q++) four[q] = w->x[j + q < i ? j + q : j];
            w->kernels->weighted(1, &w->x[i], four, four, offset, 1, ones, out, 4);
            for (int64_t q = 0; q < 4 && j + q < i; q++) w->similar[i * w->n + j + q] = w->similar[(j + q) * w->n + i] = out[q];
        }
    }
}

typedef struct clusters {
    int64_t n;
    float *similar;
    int64_t *size;   /* [n] members; 0: gone into another or out of reach of all others */
    int64_t *parent; /* [n] */
    int64_t *chain;  /* [n] */
} clusters;

/* The nearest of `c`'s cluster; `before`, the one it came from, among equals, then the lowest index. -1: there is no other. */
static int64_t nearest(const clusters *s, int64_t c, int64_t before)
{
    const float *row = s->similar + c * s->n;
    int64_t best = before;
    for (int64_t k = 0; k < s->n; k++)
        if (s->size[k] && k != c && (best < 0 || row[k] > row[best])) best = k;
    return best;
}

/* The higher goes into the lower: similarities are means over pairs. */
static void join(clusters *s, int64_t a, int64_t b)
{
    int64_t to = a < b ? a : b, from = a < b ? b : a, n = s->n;
    float share = (float)((double)s->size[to] / (double)(s->size[to] + s->size[from]));
    for (int64_t k = 0; k < n; k++) {
        if (!s->size[k] || k == to || k == from) continue;
        float x = s->similar[to * n + k], y = s->similar[from * n + k], v = share * x + (1 - share) * y, most = x > y ? x : y;
        /* Rounding must not make the mean the larger of the two: a chain could come back to itself. */
        s->similar[to * n + k] = s->similar[k * n + to] = v < most ? v : most;
    }
    s->size[to] += s->size[from];
    s->size[from] = 0;
    s->parent[from] = to;
}

/* A chain goes from cluster to nearest cluster, each link more similar than the one before, until two are each other's nearest. Average linkage is
 * reducible: what is below the cut from all others stays below it whatever they become, and can be left. */
static void link_all(clusters *s, double cut)
{
    int64_t top = 0, first = 0;
    for (;;) {
        while (top == 0 && first < s->n && !s->size[first]) first++;
        if (top == 0 && first == s->n) return;
        if (top == 0) s->chain[top++] = first;
        int64_t c = s->chain[top - 1], before = top > 1 ? s->chain[top - 2] : -1, to = nearest(s, c, before);
        if (to < 0 || !(s->similar[c * s->n + to] >= cut)) {
            s->size[c] = 0;
            top--;
        } else if (to == before) {
            join(s, c, to);
            top -= 2;
        } else {
            s->chain[top++] = to;
        }
    }
}

fa_status fa_linkage(fa_context *context, const fa_dot_kernels *kernels, fa_pool *pool, const float *const *x, int64_t n, int64_t length, double cut,
                     int64_t *label)
{
    fa_arena arena = {.context = context};
    clusters s = {.n = n};
    s.similar = fa_arena_array(&arena, (size_t)n * (size_t)n, sizeof *s.similar);
    s.size = fa_arena_array(&arena, (size_t)n, sizeof *s.size);
    s.parent = fa_arena_array(&arena, (size_t)n, sizeof *s.parent);
    s.chain = fa_arena_array(&arena, (size_t)n + 1, sizeof *s.chain);
    if (!s.similar || !s.size || !s.parent || !s.chain) {
        fa_arena_clear(&arena);
        return FA_ERR_MEMORY;
    }
    work w = {.kernels = kernels, .x = x, .n = n, .length = length, .similar = s.similar};
    if (pool) fa_pool_run(pool, rows, &w);
    else rows(&w, 0);
    for (int64_t i = 0; i < n; i++) {
        s.size[i] = 1;
        s.parent[i] = i;
    }
    link_all(&s, cut);
    for (int64_t i = 0; i < n; i++) label[i] = s.parent[i] == i ? i : label[s.parent[i]]; /* a parent is lower */
    fa_arena_clear(&arena);
    return FA_OK;
}
