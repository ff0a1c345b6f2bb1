/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/window.h"

#include "ops/walk.h"

#include <string.h>

/* Past this a kernel, stride, dilation or pad is a damaged file; below it no sum or product of them and a size overflows. */
#define ATTR_MAX INT32_MAX

static fa_status read_ints(const fa_node *node, const char *name, int32_t rank, int32_t parts, int64_t least, int64_t *out)
{
    int64_t count;
    const int64_t *v = fa_node_ints(node, name, &count);
    if (!v || !count) return FA_OK;
    if (count != (int64_t)parts * rank) return fa_fail(FA_ERR_FORMAT, "%s has %lld numbers for %d axes", name, (long long)count, rank);
    for (int64_t i = 0; i < count; i++) {
        if (v[i] < least || v[i] > ATTR_MAX) return fa_fail(FA_ERR_FORMAT, "%s[%lld] is %lld", name, (long long)i, (long long)v[i]);
        out[i] = v[i];
    }
    return FA_OK;
}

fa_status FA_R(fa_window_read)(const fa_node *node, const fa_view *x, const int64_t *kernel, fa_window *w)
{
    int32_t rank = x->ndim - 2, lead = 3 - rank;
    if (rank < 1) return fa_fail(FA_ERR_SHAPE, "input 0 has %d dimensions; batch, channels and 1 to 3 more are needed", x->ndim);
    if (rank > 3) return fa_fail(FA_ERR_UNSUPPORTED, "a window over %d axes", rank);
    int64_t size[3] = {0}, stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, pad[6] = {0};
    FA_TRY(read_ints(node, "kernel_shape", rank, 1, 1, size));
    FA_TRY(read_ints(node, "strides", rank, 1, 1, stride));
    FA_TRY(read_ints(node, "dilations", rank, 1, 1, dilation));
    FA_TRY(read_ints(node, "pads", rank, 2, 0, pad));
    w->rank = rank;
    for (int32_t i = 0; i < 3; i++) {
        w->in[i] = w->out[i] = w->kernel[i] = w->stride[i] = w->dilation[i] = 1;
        w->pad[i] = w->pad_end[i] = 0;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (kernel && size[i] && size[i] != kernel[i])
            return fa_fail(FA_ERR_SHAPE, "kernel_shape[%d] is %lld, the weight has %lld", i, (long long)size[i], (long long)kernel[i]);
        if (kernel) size[i] = kernel[i];
        if (size[i] < 1 || size[i] > ATTR_MAX) return fa_fail(FA_ERR_FORMAT, "kernel_shape[%d] is %lld or missing", i, (long long)size[i]);
        w->in[lead + i] = x->dim[2 + i];
        w->kernel[lead + i] = size[i];
        w->stride[lead + i] = stride[i];
        w->dilation[lead + i] = dilation[i];
        w->pad[lead + i] = pad[i];
        w->pad_end[lead + i] = pad[rank + i];
    }
    return FA_OK;
}

fa_status FA_R(fa_window_auto_pad)(const fa_node *node, int32_t *mode)
{
    static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    const char *text = fa_node_string(node, "auto_pad", "NOTSET");
    for (int32_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i])) continue;
        *mode = i;
        return FA_OK;
    }
    return fa_fail(FA_ERR_FORMAT, "auto_pad is '%.40s'", text);
}

fa_status FA_R(fa_window_fit)(fa_window *w, int32_t auto_pad, bool ceil)
{
    for (int32_t i = 3 - w->rank; i < 3; i++) {
        int64_t in = w->in[i], stride = w->stride[i], reach = fa_window_reach(w, i);
        if (auto_pad == FA_PAD_SAME_UPPER || auto_pad == FA_PAD_SAME_LOWER) {
            w->out[i] = in / stride + (in % stride != 0);
            int64_t total = in ? (w->out[i] - 1) * stride + reach - in : 0;
            if (total < 0) total = 0;
            w->pad[i] = auto_pad == FA_PAD_SAME_UPPER ? total / 2 : total - total / 2;
            w->pad_end[i] = total - w->pad[i];
            continue;
        }
        if (auto_pad == FA_PAD_VALID) w->pad[i] = w->pad_end[i] = 0;
        int64_t room = in + w->pad[i] + w->pad_end[i] - reach;
        if (room < 0)
            return fa_fail(FA_ERR_SHAPE, "a window of %lld does not fit into %lld + %lld + %lld elements", (long long)reach, (long long)w->pad[i],
                           (long long)in, (long long)w->pad_end[i]);
        w->out[i] = room / stride + 1;
        if (ceil && room % stride && w->out[i] * stride < in + w->pad[i]) w->out[i]++;
    }
    return FA_OK;
}

fa_status FA_R(fa_window_shape)(const fa_window *w, int64_t n, int64_t c, const int64_t sizes[3], int32_t dtype, fa_view *out)
{
    int64_t dim[5] = {n, c};
    for (int32_t i = 0; i < w->rank; i++) dim[2 + i] = sizes[3 - w->rank + i];
    return FA_R(fa_op_set)(out, dtype, 2 + w->rank, dim);
}
