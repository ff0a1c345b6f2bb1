/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

static const fa_op *const families[] = {
    FA_R(fa_ops_activation), FA_R(fa_ops_arithmetic), FA_R(fa_ops_reduce), FA_R(fa_ops_softmax),   FA_R(fa_ops_shape), FA_R(fa_ops_join),
    FA_R(fa_ops_slice),      FA_R(fa_ops_cast),       FA_R(fa_ops_constant), FA_R(fa_ops_transpose), FA_R(fa_ops_pad),   FA_R(fa_ops_gather),
    FA_R(fa_ops_conv),       FA_R(fa_ops_pool),       FA_R(fa_ops_norm),   FA_R(fa_ops_gemm),      FA_R(fa_ops_matmul), NULL,
};

const fa_op_table FA_R(fa_op_table) = {sizeof(fa_real), families};
