/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MECHANISM_MECHANISMS_H
#define FA_MECHANISM_MECHANISMS_H

#include "mechanism/background.h"
#include "mechanism/groups.h"

#include <fattr/mechanisms.h>

struct fa_mechanisms {
    atomic_int references;
    fa_context *context;     /* retained by the public functions */
    fa_background *background;
    fa_mechanisms_options options; /* as used */
    fa_groups groups;
    float *center;           /* [groups.n, length] */
};

/* `options` as used. */
fa_status fa_mechanisms_make(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out);

/* What is known after x [n, length] have been put into groups. */
fa_status fa_mechanisms_extend(const fa_mechanisms *known, const float *x, int64_t n, int64_t *label, fa_mechanisms **out);
void fa_mechanisms_free(fa_mechanisms *mechanisms);

/* Centers from the groups' sums: the last step of a constructor. */
fa_status fa_mechanisms_finish(fa_mechanisms *mechanisms);

/* docs/mechanisms.md, "The file". */
fa_status fa_mechanisms_write(const fa_mechanisms *mechanisms, const char *path);
fa_status fa_mechanisms_read(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out);

#endif
