/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/envelope.h"

#include "base/error.h"

#include <math.h>

static int64_t next_rank(int64_t k, int64_t m)
{
    int64_t next = (int64_t)ceil((double)k * 1.15);
    if (next <= k) next = k + 1;
    return next < m ? next : m;
}

/* Relative entropy of a coin of chance x from one of chance u, in nats. */
static double entropy(double x, double u)
{
    return (x > 0 ? x * log(x / u) : 0) + (1 - x) * log((1 - x) / (1 - u));
}

/* The u > (k - 1) / m at which m uniform numbers of which fewer than k are <= u have a chance of exp(-nats). */
static double solve(int64_t k, int64_t m, double nats)
{
    double x = (double)(k - 1) / (double)m, low = x, high = 1;
    for (int step = 0; step < 60; step++) {
        double u = (low + high) / 2;
        if ((double)m * entropy(x, u) < nats) low = u;
        else high = u;
    }
    return high;
}

fa_status fa_envelope_make(fa_context *context, int64_t m, double a, fa_envelope *e)
{
    e->m = m;
    e->n = 1;
    for (int64_t k = 1; k < m; k = next_rank(k, m)) e->n++;
    e->rank = fa_new_array(context, (size_t)e->n, sizeof *e->rank);
    e->bound = fa_new_array(context, (size_t)e->n, sizeof *e->bound);
    if (!e->rank || !e->bound) return FA_ERR_MEMORY;
    double nats = log((double)e->n / a);
    int64_t k = 1;
    for (int32_t i = 0; i < e->n; i++, k = next_rank(k, m)) {
        e->rank[i] = k;
        e->bound[i] = solve(k, m, nats);
    }
    return FA_OK;
}

double fa_envelope_of(const fa_envelope *e, double p)
{
    double rank = ceil(p * (double)(e->m + 1) - 1e-6);
    for (int32_t i = 0; i < e->n; i++)
        if (rank <= (double)e->rank[i]) return e->bound[i];
    return 1;
}
