/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/grouping.h"

#include "base/context.h"
#include "base/error.h"
#include "base/hash.h"
#include "mechanism/linkage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    const float *x;
    size_t bytes;
    uint64_t hash;
    int64_t index;
} item;

/* A group that is looking for one like it. */
typedef struct seeker {
    int64_t group, nearest;
    double likeness;
} seeker;

typedef struct state {
    const fa_grouping *how;
    const fa_dot_kernels *kernels;
    fa_groups *groups;
    fa_pool *pool;
    int64_t fixed;    /* groups that were there from the start */
    item *item;       /* [n] in canonical order */
    int64_t *label;   /* [n] by item's place; group, or -1 */
    int64_t *into;    /* [groups.room] of a group that went into another: that one; else itself */
    seeker *seeker;   /* [n_seeker] room for one per group */
    int64_t n_seeker;
    atomic_llong next; /* seeker that no thread has taken yet */
} state;

/* By content alone; equal ones are interchangeable. */
static int compare_items(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return memcmp(x->x, y->x, x->bytes);
}

static void seek(const state *s, seeker *k)
{
    const fa_groups *g = s->groups;
    int64_t first = k->group < s->fixed ? s->fixed : 0;
    k->nearest = fa_groups_nearest(g, s->kernels, g->sum + k->group * g->length, g->weight[k->group], first, k->group, &k->likeness);
}

static void seek_all(void *user, int32_t thread)
{
    state *s = user;
    (void)thread;
    for (int64_t i; (i = atomic_fetch_add(&s->next, 1)) < s->n_seeker;) seek(s, &s->seeker[i]);
}

static void put(fa_groups *g, int64_t to, const float *x, int64_t count)
{
    float *sum = g->sum + to * g->length;
    for (int64_t k = 0; k < g->length; k++) sum[k] += x[k];
    g->count[to] += count;
}

/* A group of its own for each cluster of items first ... first + n - 1; lead[i] is the first of i's. */
static fa_status add_clusters(state *s, int64_t first, const int64_t *lead, int64_t n)
{
    fa_groups *g = s->groups;
    int64_t first_new = g->n;
    FA_TRY(fa_groups_reserve(g, n));
    for (int64_t i = 0; i < n; i++) {
        const item *x = &s->item[first + i];
        if (lead[i] == i) {
            memset(g->sum + g->n * g->length, 0, (size_t)g->length * sizeof *g->sum);
            g->count[g->n] = 0;
            g->name[g->n] = (int64_t)(x->hash & 0xFFFFFFFFFFFF);
            s->label[first + i] = g->n++;
        } else {
            s->label[first + i] = s->label[first + lead[i]];
        }
        put(g, s->label[first + i], x->x, 1);
    }
    for (int64_t i = first_new; i < g->n; i++) fa_groups_weigh(g, i);
    return FA_OK;
}

/* The seeker whose nearest is most alike; the lowest groups among equals. */
static int64_t most_alike(const state *s)
{
    int64_t best = -1;
    for (int64_t i = 0; i < s->n_seeker; i++)
        if (s->seeker[i].nearest >= 0 && (best < 0 || s->seeker[i].likeness > s->seeker[best].likeness)) best = i;
    return best >= 0 && s->seeker[best].likeness >= s->how->like ? best : -1;
}

/* `from` is no group any more; `to` is another one than it was, and looks for one like it. */
static void follow(state *s, int64_t to, int64_t from)
{
    const fa_groups *g = s->groups;
    int64_t kept = 0;
    bool known = false;
    for (int64_t i = 0; i < s->n_seeker; i++) {
        seeker k = s->seeker[i];
        if (k.group == from) continue;
        known = known || k.group == to;
        s->seeker[kept++] = k;
    }
    s->n_seeker = kept;
    if (!known) s->seeker[s->n_seeker++] = (seeker){.group = to, .nearest = to};
    for (int64_t i = 0; i < s->n_seeker; i++) {
        seeker *k = &s->seeker[i];
        if (k->group == to || k->nearest == to || k->nearest == from) {
            seek(s, k);
            continue;
        }
        if (k->group < s->fixed && to < s->fixed) continue;
        double v = fa_groups_dot(s->kernels, g->sum + k->group * g->length, g->sum + to * g->length, g->length) * (g->weight[k->group] * g->weight[to]);
        if (v > k->likeness || (v == k->likeness && to < k->nearest)) {
            k->likeness = v;
            k->nearest = to;
        }
    }
}

/* The most alike two become one, as long as one of them is new in this batch or has taken such a one in. */
static void join_alike(state *s, int64_t first_new)
{
    fa_groups *g = s->groups;
    s->n_seeker = 0;
    for (int64_t i = first_new; i < g->n; i++) s->seeker[s->n_seeker++] = (seeker){.group = i};
    atomic_store(&s->next, 0);
    if (s->pool) fa_pool_run(s->pool, seek_all, s);
    else seek_all(s, 0);
    for (int64_t at; (at = most_alike(s)) >= 0;) {
        int64_t a = s->seeker[at].group, b = s->seeker[at].nearest, to = a < b ? a : b, from = a < b ? b : a;
        put(g, to, g->sum + from * g->length, g->count[from]);
        fa_groups_weigh(g, to);
        g->count[from] = 0;
        s->into[from] = to;
        follow(s, to, from);
    }
}

/* Takes out the groups that went into others, in items [0, n) too. */
static void close_ranks(state *s, int64_t n)
{
    fa_groups *g = s->groups;
    int64_t kept = 0;
    for (int64_t i = 0; i < g->n; i++) {
        if (s->into[i] != i) {
            s->into[i] = s->into[s->into[i]]; /* a lower group, already at its new place */
            continue;
        }
        s->into[i] = kept;
        if (kept != i) {
            memcpy(g->sum + kept * g->length, g->sum + i * g->length, (size_t)g->length * sizeof *g->sum);
            g->count[kept] = g->count[i];
            g->name[kept] = g->name[i];
            g->weight[kept] = g->weight[i];
        }
        kept++;
    }
    for (int64_t i = 0; i < n; i++) s->label[i] = s->into[s->label[i]];
    g->n = kept;
}

static fa_status batch(state *s, fa_arena *arena, int64_t first, int64_t n)
{
    fa_groups *g = s->groups;
    const float **x = fa_arena_array(arena, (size_t)n, sizeof *x);
    int64_t *lead = fa_arena_array(arena, (size_t)n, sizeof *lead), first_new = g->n;
    if (!x || !lead) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) x[i] = s->item[first + i].x;
    FA_TRY(fa_linkage(s->how->context, s->kernels, s->pool, x, n, g->length, s->how->cut, lead));
    FA_TRY(add_clusters(s, first, lead, n));
    s->into = fa_arena_array(arena, (size_t)g->n, sizeof *s->into);
    s->seeker = fa_arena_array(arena, (size_t)g->n, sizeof *s->seeker);
    if (!s->into || !s->seeker) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < g->n; i++) s->into[i] = i;
    join_alike(s, first_new);
    close_ranks(s, first + n);
    return FA_OK;
}

/* ---- numbers */

typedef struct rank {
    int64_t count, name, group;
} rank;

/* The largest first; equals by name, which content decides. */
static int compare_ranks(const void *a, const void *b)
{
    const rank *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    if (x->name != y->name) return x->name < y->name ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

/* Orders the new groups; moves nothing but one row at a time, along the cycles of the permutation. */
static fa_status number(state *s, fa_arena *arena, int64_t n)
{
    fa_groups *g = s->groups;
    int64_t new_groups = g->n - s->fixed;
    rank *order = fa_arena_array(arena, (size_t)new_groups, sizeof *order);
    int64_t *place = fa_arena_array(arena, (size_t)g->n, sizeof *place);
    float *row = fa_arena_array(arena, (size_t)g->length, sizeof *row);
    if (!order || !place || !row) return FA_ERR_MEMORY;
    size_t bytes = (size_t)g->length * sizeof *row;
    for (int64_t i = 0; i < new_groups; i++) order[i] = (rank){g->count[s->fixed + i], g->name[s->fixed + i], s->fixed + i};
    qsort(order, (size_t)new_groups, sizeof *order, compare_ranks);
    for (int64_t i = 0; i < s->fixed; i++) place[i] = i;
    for (int64_t i = 0; i < new_groups; i++) {
        place[order[i].group] = s->fixed + i;
        g->count[s->fixed + i] = order[i].count;
        g->name[s->fixed + i] = order[i].name;
    }
    for (int64_t i = 0; i < n; i++) s->label[i] = place[s->label[i]];
    for (int64_t i = s->fixed; i < g->n; i++)
        for (int64_t to = place[i]; to != i; to = place[i]) { /* row i belongs at `to`: exchange until what is here belongs here */
            memcpy(row, g->sum + to * g->length, bytes);
            memcpy(g->sum + to * g->length, g->sum + i * g->length, bytes);
            memcpy(g->sum + i * g->length, row, bytes);
            place[i] = place[to];
            place[to] = to;
        }
    for (int64_t i = s->fixed; i < g->n; i++) fa_groups_weigh(g, i);
    return FA_OK;
}

static fa_status run(state *s, fa_arena *arena, const float *x, int64_t n, int64_t *label)
{
    fa_groups *g = s->groups;
    s->item = fa_arena_array(arena, (size_t)n, sizeof *s->item);
    s->label = fa_arena_array(arena, (size_t)n, sizeof *s->label);
    if (!s->item || !s->label) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < n; i++) {
        size_t bytes = (size_t)g->length * sizeof *x;
        s->item[i] = (item){x + i * g->length, bytes, fa_hash64(x + i * g->length, bytes), i};
    }
    qsort(s->item, (size_t)n, sizeof *s->item, compare_items);
    fa_status status = FA_OK;
    for (int64_t i = 0; i < n && status == FA_OK; i += FA_LINKAGE_MOST) {
        int64_t part = n - i < FA_LINKAGE_MOST ? n - i : FA_LINKAGE_MOST;
        fa_arena scratch = {.context = s->how->context};
        status = batch(s, &scratch, i, part);
        fa_arena_clear(&scratch);
    }
    FA_TRY(status);
    FA_TRY(number(s, arena, n));
    for (int64_t i = 0; i < n; i++) label[s->item[i].index] = s->label[i];
    return FA_OK;
}

fa_status fa_group(const fa_grouping *how, const float *x, int64_t n, fa_groups *groups, int64_t *label)
{
    fa_context *c = how->context;
    state s = {.how = how, .kernels = fa_dot_kernels_for(c->kernels), .groups = groups, .fixed = groups->n};
    fa_arena arena = {.context = c};
    if (!n) return FA_OK;
    if (c->threads > 1) FA_TRY(fa_pool_create(c, c->threads, &s.pool));
    fa_status status = run(&s, &arena, x, n, label);
    fa_pool_destroy(s.pool);
    fa_arena_clear(&arena);
    return status;
}
