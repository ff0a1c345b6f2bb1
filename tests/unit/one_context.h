/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_ONE_CONTEXT_H
#define TEST_ONE_CONTEXT_H

#include <check.h>
#include <fattr/fattr.h>

/* The fixture of tests that need a context and must leave nothing in it. */

static fa_context *context;

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

#endif
