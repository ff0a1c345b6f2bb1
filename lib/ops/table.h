/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_TABLE_H
#define FA_OPS_TABLE_H

#include "graph/op.h"

/* The reference operators, in float (what the library runs on) and in double (what gradients are checked in; not part of the library). */
extern const fa_op_table fa_op_table_f32, fa_op_table_f64;

#endif
