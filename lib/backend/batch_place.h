/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_BATCH_PLACE_H
#define FA_BACKEND_BATCH_PLACE_H

#include "graph/plan.h"

/* Where input i of a batch lies in each value of a planned graph. The elements of a value are [outer, batch, step]: `(*step)[value]` is that last number; 0 for
 * what does not depend on the inputs. Lives in `arena`. */
#define FA_BATCH_UNKNOWN (-1)
fa_status fa_batch_place(const fa_graph *graph, const fa_plan *plan, int64_t batch, fa_arena *arena, int64_t **step);

#endif
