/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/blis.h"

#include "kernels/cpu.h"

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Weverything"
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wshadow"
#endif
#include <blis-serial/blis.h>
#if defined(__clang__)
#pragma clang diagnostic pop
#else
#pragma GCC diagnostic pop
#endif
#include <pthread.h>

/* BLIS 0.9 knows only the CPUs of its time and takes plain C loops on newer ones, so the kernels are chosen here. These two are in every x86-64
 * build of it, but in no header. */
void bli_cntx_init_skx(cntx_t *cntx);
void bli_cntx_init_zen3(cntx_t *cntx);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cntx_t kernels;

static void choose(void)
{
    bli_init();
    if (fa_cpu_avx512())
        bli_cntx_init_skx(&kernels);
    else
        bli_cntx_init_zen3(&kernels);
}

void fa_blis_symmetric(int64_t n, int64_t k, const float *x, int64_t ldx, float *c, int64_t ldc)
{
    pthread_once(&once, choose);
    rntm_t one_thread;
    bli_rntm_init(&one_thread);
    bli_rntm_set_num_threads(1, &one_thread);
    float one = 1.0f;
    bli_ssyrk_ex(BLIS_LOWER, BLIS_TRANSPOSE, k, n, &one, (float *)(uintptr_t)x, ldx, 1, &one, c, ldc, 1, &kernels, &one_thread);
}
