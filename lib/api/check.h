/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_API_CHECK_H
#define FA_API_CHECK_H

#include "base/error.h"

/* Refuses a null pointer by its name in the public header. */
#define FA_CHECK(pointer)                                                                                                                                \
    do {                                                                                                                                                 \
        if (!(pointer)) return fa_fail(FA_ERR_ARGUMENT, "%s: '" #pointer "' is NULL", __func__);                                                         \
    } while (0)

/* Refuses an index outside [0, count). */
#define FA_CHECK_INDEX(index, count)                                                                                                                     \
    do {                                                                                                                                                 \
        if ((index) < 0 || (index) >= (count))                                                                                                           \
            return fa_fail(FA_ERR_ARGUMENT, "%s: index %lld is not below %lld", __func__, (long long)(index), (long long)(count));                       \
    } while (0)

#endif
