/* SPDX-License-Identifier: Apache-2.0 */
#include "base/context.h"
#include "base/pool_private.h"

#include <sched.h>
#include <time.h>

/* Nanoseconds that threads look for work without sleeping, and of these without giving way to other threads. */
#define HELP_NS 100000
#define KEEN_NS 20000

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void rest(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
}

/* One look more, which has found nothing. False when it was the last. */
typedef struct patience {
    uint32_t looks;
    uint64_t since, ns;
} patience;

static bool wait_a_little(patience *p)
{
    rest();
    if (++p->looks % 64) return true;
    const uint64_t now = now_ns();
    if (p->looks == 64) p->since = now;
    if (now - p->since >= p->ns) return false;
    if (now - p->since >= KEEN_NS) sched_yield();
    return true;
}

bool fa_pool_watch(bool (*news)(const void *user), const void *user, uint64_t ns)
{
    patience p = {.ns = ns};
    do
        if (news(user)) return true;
    while (wait_a_little(&p));
    return false;
}

static void run_range(fa_sharing *s, int64_t i, int32_t thread)
{
    s->body(s->user, i * s->n / s->ranges, (i + 1) * s->n / s->ranges, thread);
    atomic_fetch_sub_explicit(&s->left, 1, memory_order_release);
}

/* The thread that leads takes ranges from the front, others from the back: with two threads each stays with its half of everything. */
static bool take(fa_sharing *s, bool front, int32_t thread)
{
    uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
    for (;;) {
        const uint64_t first = word >> 16 & 0xffff, end = word & 0xffff;
        if (first == end) return false;
        const uint64_t rest_of = front ? word + (1u << 16) : word - 1;
        if (!atomic_compare_exchange_weak_explicit(&s->word, &word, rest_of, memory_order_acquire, memory_order_relaxed)) continue;
        run_range(s, (int64_t)(front ? first : end - 1), thread);
        return true;
    }
}

void fa_pool_help(fa_pool *p, int32_t thread)
{
    patience left = {.ns = HELP_NS};
    while (atomic_load_explicit(&p->sharing.open, memory_order_acquire)) {
        if (take(&p->sharing, false, thread)) left.looks = 0;
        else if (!wait_a_little(&left)) return;
    }
}

static int32_t helpers(const fa_pool *p)
{
    return p->hosted ? p->hosted - 1 : p->workers;
}

/* Whoever sleeps is to come. */
static void call(fa_pool *p)
{
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->calls, 1);
    atomic_store(&p->sharing.here, helpers(p));
    pthread_cond_broadcast(&p->begin);
    pthread_mutex_unlock(&p->mutex);
}

static bool all_out(const void *user)
{
    return !atomic_load(&((const fa_pool *)user)->sharing.inside);
}

/* Those that help find it out by themselves; executors' threads may sleep while they do. */
static void dismiss(fa_pool *p)
{
    atomic_store(&p->sharing.open, false);
    if (p->hosted) call(p);
    else if (!fa_pool_watch(all_out, p, HELP_NS)) {
        pthread_mutex_lock(&p->mutex);
        while (!all_out(p)) pthread_cond_wait(&p->end, &p->mutex);
        pthread_mutex_unlock(&p->mutex);
    }
}

typedef struct leading {
    fa_pool *pool;
    void (*work)(void *user);
    void *user;
} leading;

/* An executor's call: the first to come leads, wherever it comes from, so that nobody waits for one that is not there yet. */
static void lead_or_help(void *user, int32_t index)
{
    const leading *l = user;
    fa_pool *p = l->pool;
    (void)index;
    pthread_mutex_lock(&p->mutex);
    const bool leads = !p->sharing.led;
    const int32_t thread = p->sharing.arrived++;
    uint64_t seen = atomic_load(&p->calls);
    p->sharing.led = true;
    pthread_mutex_unlock(&p->mutex);
    if (leads) {
        l->work(l->user);
        dismiss(p);
        return;
    }
    while (atomic_load(&p->sharing.open)) {
        fa_pool_help(p, thread);
        pthread_mutex_lock(&p->mutex);
        atomic_fetch_sub(&p->sharing.here, 1);
        while (atomic_load(&p->sharing.open) && atomic_load(&p->calls) == seen) pthread_cond_wait(&p->begin, &p->mutex);
        seen = atomic_load(&p->calls);
        pthread_mutex_unlock(&p->mutex);
    }
}

void fa_pool_lead(fa_pool *p, void (*work)(void *user), void *user)
{
    if (fa_pool_threads(p) < 2) {
        work(user);
        return;
    }
    fa_sharing *s = &p->sharing;
    s->led = false;
    s->arrived = 0;
    atomic_store(&s->open, true);
    if (p->hosted) {
        leading l = {p, work, user};
        atomic_store(&s->here, helpers(p));
        p->context->parallel_for(p->context->parallel_user, p->hosted, lead_or_help, &l);
        return;
    }
    call(p);
    work(user);
    dismiss(p);
}

void fa_pool_share(fa_pool *p, int64_t n, double cost, void (*body)(void *user, int64_t first, int64_t end, int32_t thread), void *user)
{
    const int64_t most = p ? 2 * (int64_t)fa_pool_threads(p) : 1, affordable = !p || cost >= (double)most * p->sharing.least ? most : (int64_t)(cost / p->sharing.least),
                  ranges = n < affordable ? n : affordable;
    if (ranges < 2 || !atomic_load_explicit(&p->sharing.open, memory_order_relaxed)) {
        if (n) body(user, 0, n, 0);
        return;
    }
    fa_sharing *s = &p->sharing;
    const uint64_t number = (atomic_load_explicit(&s->word, memory_order_relaxed) >> 32) + 1;
    s->body = body;
    s->user = user;
    s->n = n;
    s->ranges = (int32_t)ranges;
    atomic_store_explicit(&s->left, (int)ranges, memory_order_relaxed);
    atomic_store_explicit(&s->word, number << 32 | (uint64_t)ranges, memory_order_release);
    if (atomic_load_explicit(&s->here, memory_order_relaxed) < helpers(p)) call(p);
    while (take(s, true, 0)) {}
    for (patience left = {.ns = UINT64_MAX}; atomic_load_explicit(&s->left, memory_order_acquire);) wait_a_little(&left);
}

bool fa_pool_pays(const fa_pool *p, double cost)
{
    return fa_pool_threads(p) > 1 && cost >= p->sharing.call;
}
