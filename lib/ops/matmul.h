/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_MATMUL_H
#define FA_OPS_MATMUL_H

#include "ops/ops.h"

/* What MatMul multiplies, at concrete shapes: `batch` products [m, k] [k, n]. For the reference operator and the fast one. */
typedef struct fa_matmul {
    int64_t m, n, k, batch;
    int32_t axes; /* of the batch */
    int64_t dim[FA_MAX_DIMS], step_a[FA_MAX_DIMS], step_b[FA_MAX_DIMS]; /* steps in matrices, 0 where broadcast */
    bool bf16; /* fa_node.bf16 */
} fa_matmul;

/* Sets params, a fa_matmul. */
fa_status FA_R(fa_matmul_prepare)(fa_op_setup *s);
/* Where the factors of product `i` begin, in elements. */
void FA_R(fa_matmul_place)(const fa_matmul *p, int64_t i, int64_t *a, int64_t *b);

#endif
