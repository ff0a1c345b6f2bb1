/* SPDX-License-Identifier: Apache-2.0 */
/* The fast kernels against the reference on random networks: what comes out, and what every layer's tap sees. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agree.h"
#include "kernels/kernels.h"
#include "one_context.h"

START_TEST(fast_equals_reference)
{
    if (!fa_kernels_available()) return; /* nothing to compare */
    int seen = 0, fast = 0;
    for (uint64_t seed = 0; seed < WIDER_FROM + 12; seed++) {
        fa_graph *base = empty_graph(context);
        int64_t shape[4];
        int32_t logits;
        fa_graph *g = random_network(base, seed, shape, &logits);
        const int64_t count = shape[0] * shape[1] * shape[2] * shape[3], n = seed % 4 ? BATCH : 1;
        float *data = malloc((size_t)count * sizeof *data);
        fa_normal(5, seed, 0, count, data);
        record *want = malloc(sizeof *want), *got = malloc(sizeof *got);
        run(context, g, logits, FA_KERNELS_REFERENCE, shape, data, n, want);
        run(context, g, logits, FA_KERNELS_FAST, shape, data, n, got);
        ck_assert_int_eq(want->layers, got->layers);
        for (int64_t i = 0; i < n; i++) ck_assert_msg(fabsf(got->loss[i] - want->loss[i]) <= 1e-4f * (1 + want->loss[i]), "network %d: loss", (int)seed);
        for (int32_t l = 0; l < want->layers; l++) {
            const layer_record *a = &got->layer[l], *b = &want->layer[l];
            ck_assert_int_eq(a->seen, b->seen);
            if (!b->seen) continue;
            ck_assert_int_eq(a->n_a, b->n_a);
            ck_assert_int_eq(a->n_d, b->n_d);
            compare(a->a, b->a, b->n_a, 1e-4, "input", seed, l);
            compare(a->d, b->d, b->n_d, 1e-4, "gradient", seed, l);
            compare(a->A, b->A, b->n_A, 1e-4, "A", seed, l);
            compare(a->G, b->G, b->n_G, 2e-4, "G", seed, l);
            compare(a->blocks, b->blocks, b->n_blocks, 2e-4, "block", seed, l);
            seen++;
        }
        fast += got->channels_last;
        ck_assert_int_eq(want->channels_last, 0);
        release(want), release(got);
        free(want), free(got), free(data);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
    ck_assert_int_gt(seen, 150);
    ck_assert_int_gt(fast, 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("backend agreement");
    TCase *t = tcase_create("agreement");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_test(t, fast_equals_reference);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
