/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/rewrite.h"

/* The fast operators, and the reference ones for whatever the rewrite leaves alone. */
static const fa_op *const families[] = {fa_fast_ops_conv, fa_fast_ops_batchnorm, fa_fast_ops_pool, fa_fast_ops_upsample, fa_fast_ops_layout, fa_fast_ops_matmul, fa_fast_ops_rowwise,
                                        fa_fast_ops_elementwise, fa_fast_ops_attention, fa_fast_ops_multihead, FA_OP_FAMILIES, NULL};

const fa_op_table fa_fast_op_table = {sizeof(float), families};
