/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_SHARED_POOL_H
#define TEST_SHARED_POOL_H

#include <check.h>

#include "base/pool_private.h"

/* A pool that shares whatever can be cut, however short. */
static inline fa_pool *shared_pool(fa_context *context, int32_t threads)
{
    fa_pool *p;
    ck_assert_int_eq(fa_pool_create(context, threads, &p), FA_OK);
    p->sharing.least = 1e-3;
    return p;
}

#endif
