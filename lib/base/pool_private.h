/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BASE_POOL_PRIVATE_H
#define FA_BASE_POOL_PRIVATE_H

#include "base/pool.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>

/* Between pool.c, which has the threads, and share.c, which hands them pieces of what one of them is doing. */

/* What is being shared. Written by the thread that leads, while no range is taken; read by whoever has taken one. */
typedef struct fa_sharing {
    void (*body)(void *user, int64_t first, int64_t end, int32_t thread);
    void *user;
    int64_t n;
    int32_t ranges;
    bool led;             /* a thread leads, for an executor's calls */
    int32_t arrived;      /* of these */
    double least;         /* what a range costs at least */
    double call;          /* what a call costs at least that is worth leading */
    atomic_bool open;     /* a thread leads, and may share */
    atomic_int inside;    /* others that look for ranges */
    atomic_int here;      /* these, and those that are on their way */
    alignas(FA_ALIGN) _Atomic uint64_t word; /* number of this sharing, first range that is not taken, end of those; 32, 16 and 16 bits */
    alignas(FA_ALIGN) atomic_int left;       /* ranges that are not finished */
} fa_sharing;

typedef struct fa_worker {
    struct fa_pool *pool;
    pthread_t thread;
    int32_t index;
} fa_worker;

struct fa_pool {
    fa_context *context;
    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    void (*work)(void *user, int32_t thread);
    void *user;
    _Atomic uint64_t round; /* counts runs; a worker that has seen a smaller number has work */
    _Atomic uint64_t calls; /* counts calls for help with what is shared */
    int32_t busy;           /* workers that have not finished this run */
    int32_t workers;        /* beside the caller */
    int32_t hosted;         /* calls that the host's executor makes; 0: there is none */
    atomic_bool quit;
    fa_sharing sharing;
    fa_worker worker[];
};

/* Takes ranges until nothing has been shared for a while, or nothing will be. */
void fa_pool_help(fa_pool *pool, int32_t thread);

/* Looks for *news to become true for a short time: what comes soon finds a thread awake. */
bool fa_pool_watch(bool (*news)(const void *user), const void *user, uint64_t ns);

#endif
