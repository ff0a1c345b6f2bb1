/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/loss.h"

const char *fa_loss_name(int32_t loss)
{
    return loss >= 0 && loss < FA_LOSS_COUNT ? fa_loss_kind_of(loss)->name : NULL;
}

int32_t fa_loss_from_name(const char *name)
{
    return fa_loss_number(name);
}
