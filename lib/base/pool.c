/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include "base/context.h"
#include "base/error.h"

#include <pthread.h>
#include <signal.h>

typedef struct worker {
    struct fa_pool *pool;
    pthread_t thread;
    int32_t index;
} worker;

struct fa_pool {
    fa_context *context;
    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    void (*work)(void *user, int32_t thread);
    void *user;
    uint64_t round;   /* counts runs; a worker that has seen a smaller number has work */
    int32_t busy;     /* workers that have not finished this run */
    int32_t workers;  /* beside the caller */
    int32_t hosted;   /* calls that the host's executor makes; 0: there is none */
    int quit;
    worker worker[];
};

static void *worker_main(void *arg)
{
    worker *w = arg;
    fa_pool *p = w->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (p->round == seen && !p->quit) pthread_cond_wait(&p->begin, &p->mutex);
        if (p->quit) break;
        seen = p->round;
        pthread_mutex_unlock(&p->mutex);
        p->work(p->user, w->index);
        pthread_mutex_lock(&p->mutex);
        if (--p->busy == 0) pthread_cond_signal(&p->end);
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

fa_status fa_pool_create(fa_context *context, int32_t threads, fa_pool **out)
{
    int32_t extra = threads > 1 ? threads - 1 : 0;
    fa_pool *p = fa_new(context, sizeof *p + (size_t)extra * sizeof p->worker[0]);
    if (!p) return FA_ERR_MEMORY;
    p->context = context;
    if (context->parallel_for) {
        p->hosted = threads > 1 ? threads : 1;
        extra = 0;
    }
    if (pthread_mutex_init(&p->mutex, NULL)) goto no_mutex;
    if (pthread_cond_init(&p->begin, NULL)) goto no_begin;
    if (pthread_cond_init(&p->end, NULL)) goto no_end;
    /* The host's signals are the host's threads' business. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int32_t i = 0; i < extra; i++) {
        worker *w = &p->worker[i];
        *w = (worker){.pool = p, .index = i + 1};
        if (pthread_create(&w->thread, NULL, worker_main, w)) {
            fa_log(context, FA_LOG_WARNING, "the system gave %d of %d threads", i + 1, threads);
            break;
        }
        p->workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    *out = p;
    return FA_OK;
no_end:
    pthread_cond_destroy(&p->begin);
no_begin:
    pthread_mutex_destroy(&p->mutex);
no_mutex:
    fa_delete(context, p);
    return fa_fail(FA_ERR_MEMORY, "the system refuses a mutex or condition variable");
}

int32_t fa_pool_threads(const fa_pool *p)
{
    return p->hosted ? p->hosted : p->workers + 1;
}

void fa_pool_run(fa_pool *p, void (*work)(void *user, int32_t thread), void *user)
{
    if (p->hosted > 1) {
        p->context->parallel_for(p->context->parallel_user, p->hosted, work, user);
        return;
    }
    if (p->workers) {
        pthread_mutex_lock(&p->mutex);
        p->work = work;
        p->user = user;
        p->busy = p->workers;
        p->round++;
        pthread_cond_broadcast(&p->begin);
        pthread_mutex_unlock(&p->mutex);
    }
    work(user, 0);
    if (p->workers) {
        pthread_mutex_lock(&p->mutex);
        while (p->busy) pthread_cond_wait(&p->end, &p->mutex);
        pthread_mutex_unlock(&p->mutex);
    }
}

void fa_pool_destroy(fa_pool *p)
{
    if (!p) return;
    pthread_mutex_lock(&p->mutex);
    p->quit = 1;
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
    for (int32_t i = 0; i < p->workers; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->end);
    pthread_cond_destroy(&p->begin);
    pthread_mutex_destroy(&p->mutex);
    fa_delete(p->context, p);
}
