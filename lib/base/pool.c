/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include "base/context.h"
#include "base/error.h"
#include "base/pool_private.h"

#include <signal.h>

/* Nanoseconds that a thread whose work is done looks for more before it sleeps: calls that follow each other find it awake. */
#define IDLE_NS 50000

/* A range that is shared costs at least this much: handing it over costs about a microsecond. */
#define LEAST 2.5e5
/* And a call that threads are woken for: at 5e7, a fifth of a millisecond, sharing gains 2 % on an idle machine and loses 20 % on a busy one; at 3e8 it gains 30 %. */
#define LEAST_CALL 1e8

/* What a worker has seen. */
typedef struct seen {
    const fa_pool *pool;
    uint64_t round, calls;
} seen;

static bool is_wanted(const void *user)
{
    const seen *s = user;
    return atomic_load(&s->pool->round) != s->round || atomic_load(&s->pool->calls) != s->calls || atomic_load(&s->pool->quit);
}

/* Under the mutex, which is given back in between. */
static void run_share(fa_worker *w)
{
    fa_pool *p = w->pool;
    pthread_mutex_unlock(&p->mutex);
    p->work(p->user, w->index);
    pthread_mutex_lock(&p->mutex);
    if (--p->busy == 0) pthread_cond_signal(&p->end);
}

static void help(fa_worker *w)
{
    fa_sharing *s = &w->pool->sharing;
    if (!atomic_load(&s->open)) return;
    atomic_fetch_add(&s->inside, 1);
    pthread_mutex_unlock(&w->pool->mutex);
    fa_pool_help(w->pool, w->index);
    pthread_mutex_lock(&w->pool->mutex);
    atomic_fetch_sub(&s->here, 1);
    if (atomic_fetch_sub(&s->inside, 1) == 1) pthread_cond_signal(&w->pool->end);
}

static void *worker_main(void *arg)
{
    fa_worker *w = arg;
    fa_pool *p = w->pool;
    seen s = {.pool = p};
    pthread_mutex_lock(&p->mutex);
    while (!atomic_load(&p->quit)) {
        if (atomic_load(&p->round) != s.round) {
            s.round = atomic_load(&p->round);
            run_share(w);
        } else if (atomic_load(&p->calls) != s.calls) {
            s.calls = atomic_load(&p->calls);
            help(w);
        }
        pthread_mutex_unlock(&p->mutex);
        fa_pool_watch(is_wanted, &s, IDLE_NS);
        pthread_mutex_lock(&p->mutex);
        while (!is_wanted(&s)) pthread_cond_wait(&p->begin, &p->mutex);
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
    p->sharing.least = LEAST;
    p->sharing.call = LEAST_CALL;
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
        fa_worker *w = &p->worker[i];
        *w = (fa_worker){.pool = p, .index = i + 1};
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
    return !p ? 1 : p->hosted ? p->hosted : p->workers + 1;
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
        atomic_fetch_add(&p->round, 1);
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
    atomic_store(&p->quit, true);
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
    for (int32_t i = 0; i < p->workers; i++) pthread_join(p->worker[i].thread, NULL);
    pthread_cond_destroy(&p->end);
    pthread_cond_destroy(&p->begin);
    pthread_mutex_destroy(&p->mutex);
    fa_delete(p->context, p);
}
