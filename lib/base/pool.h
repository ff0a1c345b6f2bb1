/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_POOL_H
#define FA_BASE_POOL_H

#include "base/alloc.h"

/* Threads for one long piece of work, or the host's executor in their place. Threads sleep between runs. The calling thread is number 0, unless the host decides otherwise. */
typedef struct fa_pool fa_pool;

/* `threads` in all, the caller included. Fewer are made when the system refuses more: ask fa_pool_threads(). */
fa_status fa_pool_create(fa_context *context, int32_t threads, fa_pool **out);
int32_t fa_pool_threads(const fa_pool *pool);

/* Calls work(user, t) once for each t in [0, threads), t = 0 on the calling thread, and waits for all. An executor may make the calls one after the other. */
void fa_pool_run(fa_pool *pool, void (*work)(void *user, int32_t thread), void *user);
void fa_pool_destroy(fa_pool *pool);

#endif
