/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/tensors.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

void fa_st_add(fa_st_tensor *list, int32_t *n, const char *name, fa_st_type type, int64_t rows, int64_t columns, const void *data)
{
    fa_st_tensor *t = &list[(*n)++];
    *t = (fa_st_tensor){.type = type, .ndim = columns ? 2 : 1, .dim = {rows, columns}, .data = data};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->size = (size_t)rows * (size_t)(columns ? columns : 1) * fa_st_type_size(type);
}

fa_status fa_st_expect(fa_st_file *f, const char *name, fa_st_type type, int64_t rows, int64_t columns, const fa_st_tensor **out)
{
    const fa_st_tensor *t = fa_st_find(f, name);
    if (!t) return fa_fail(FA_ERR_FORMAT, "tensor '%s' is missing", name);
    if (t->type != type || t->ndim != (columns ? 2 : 1) || t->dim[0] != rows || (columns && t->dim[1] != columns))
        return fa_fail(FA_ERR_FORMAT, "tensor '%s' has not the type and shape that the layer table and the number of references ask for", name);
    *out = t;
    return FA_OK;
}

static fa_status check_floats(const char *name, const float *x, int64_t n, float least, float most)
{
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] >= least && x[i] <= most)) return fa_fail(FA_ERR_FORMAT, "tensor '%s': element %lld is out of range", name, (long long)i);
    return FA_OK;
}

fa_status fa_st_take_floats(fa_st_file *f, const char *name, int64_t rows, int64_t columns, float least, float most, float *to)
{
    const fa_st_tensor *t;
    FA_TRY(fa_st_expect(f, name, FA_ST_F32, rows, columns, &t));
    memcpy(to, t->data, t->size);
    return check_floats(name, to, rows * (columns ? columns : 1), least, most);
}
