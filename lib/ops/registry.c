/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

static const fa_op *const families[] = {FA_OP_FAMILIES, NULL};

const fa_op_table FA_R(fa_op_table) = {sizeof(fa_real), families};
