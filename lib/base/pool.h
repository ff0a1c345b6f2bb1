/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_POOL_H
#define FA_BASE_POOL_H

#include "base/alloc.h"

/* Threads for one long piece of work, or the host's executor in their place. Threads sleep between runs. The calling thread is number 0, unless the host decides otherwise. */
typedef struct fa_pool fa_pool;

/* `threads` in all, the caller included. Fewer are made when the system refuses more: ask fa_pool_threads(). */
fa_status fa_pool_create(fa_context *context, int32_t threads, fa_pool **out);
int32_t fa_pool_threads(const fa_pool *pool); /* NULL: 1 */

/* Calls work(user, t) once for each t in [0, threads), t = 0 on the calling thread, and waits for all. An executor may make the calls one after the other. */
void fa_pool_run(fa_pool *pool, void (*work)(void *user, int32_t thread), void *user);
void fa_pool_destroy(fa_pool *pool);

/*
 * share.c: one thread works, the others help with pieces of it that are too short to wake anyone for. fa_pool_lead() calls work(user) once, on the calling thread unless an executor
 * decides otherwise, and until that returns the others look for what it shares: in a loop for a tenth of a millisecond, then they sleep until there is something again.
 * Who comes late, or never, is not waited for.
 */
void fa_pool_lead(fa_pool *pool, void (*work)(void *user), void *user);

/*
 * Within work(): calls body(user, first, end, thread) for ranges that make up [0, n), at the same time where there are threads, and returns when all have returned. `thread` is the
 * number of the thread, for memory of its own: at any time each has one range. `cost`: of the whole, in operations of a product of matrices, some 250 of which take a
 * nanosecond; ranges are no shorter than what sharing costs. How [0, n) is cut depends on the number of threads, so what an item gives must not depend on the items beside it. Without a pool, or
 * without fa_pool_lead(): body(user, 0, n, 0). Nothing is shared within a body.
 */
void fa_pool_share(fa_pool *pool, int64_t n, double cost, void (*body)(void *user, int64_t first, int64_t end, int32_t thread), void *user);

/* Whether work that costs so much is worth leading. */
bool fa_pool_pays(const fa_pool *pool, double cost);

#endif
