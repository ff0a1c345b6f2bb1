/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/walk.h"

/*
 * AffineGrid: theta [n, 2, 3] or [n, 3, 4] times the coordinates (x, y, 1) or (x, y, z, 1) of every pixel, from -1 to 1 across the image: a grid [n, height, width, 2] or
 * [n, depth, height, width, 3] for GridSample.
 */
typedef struct affine {
    int64_t n, size[3]; /* of the axes x, y and z */
    int32_t axes;
    bool align; /* -1 and 1 are the outermost pixels' centres, not their edges */
} affine;

static fa_status prepare(fa_op_setup *s)
{
    const int64_t *size;
    int64_t n, dim[5];
    FA_TRY(FA_R(fa_op_need)(s, 2, 2, 1));
    FA_TRY(FA_R(fa_op_constant_ints)(s, 1, "the size", &size, &n));
    const fa_view *theta = s->in[0];
    const int32_t axes = (int32_t)n - 2;
    if (!fa_dtype_is_real(theta->dtype)) return fa_fail(FA_ERR_DTYPE, "theta (input 0) is %s", fa_dtype_name(theta->dtype));
    if ((n != 4 && n != 5) || theta->ndim != 3 || theta->dim[0] != size[0] || theta->dim[1] != axes || theta->dim[2] != axes + 1) {
        char text[FA_SHAPE_TEXT];
        return fa_fail(FA_ERR_SHAPE, "theta of shape %s for a size of %lld numbers", fa_shape_text(theta->ndim, theta->dim, text, sizeof text), (long long)n);
    }
    affine *p = fa_arena_new(s->arena, sizeof *p);
    if (!p) return FA_ERR_MEMORY;
    *p = (affine){.n = size[0], .axes = axes, .align = fa_node_int(s->node, "align_corners", 0) != 0};
    dim[0] = size[0];
    for (int32_t a = 0; a < axes; a++) p->size[axes - 1 - a] = dim[a + 1] = size[a + 2];
    dim[axes + 1] = axes;
    s->params = p;
    return FA_R(fa_op_set)(&s->out[0], theta->dtype, axes + 2, dim);
}

static double coordinate(const affine *p, int32_t axis, int64_t i)
{
    const double n = (double)p->size[axis];
    if (!p->align) return (2 * (double)i + 1) / n - 1;
    return n > 1 ? 2 * (double)i / (n - 1) - 1 : 0;
}

/* `statement` for element k of the grid's point `at`, whose coordinates are c[0 ... axes]; row: theta's of that element. */
#define EACH(statement)                                                                                                                                  \
    {                                                                                                                                                    \
        const affine *p = call->params;                                                                                                                  \
        const int64_t depth = p->axes > 2 ? p->size[2] : 1;                                                                                              \
        int64_t at = 0;                                                                                                                                  \
        for (int64_t n = 0; n < p->n; n++)                                                                                                               \
            for (int64_t z = 0; z < depth; z++)                                                                                                          \
                for (int64_t y = 0; y < p->size[1]; y++)                                                                                                 \
                    for (int64_t x = 0; x < p->size[0]; x++)                                                                                             \
                        for (int32_t k = 0; k < p->axes; k++, at++) {                                                                                    \
                            const double c[4] = {coordinate(p, 0, x), coordinate(p, 1, y), p->axes > 2 ? coordinate(p, 2, z) : 1, 1};                    \
                            const int64_t row = (n * p->axes + k) * (p->axes + 1);                                                                       \
                            statement;                                                                                                                   \
                        }                                                                                                                                \
    }

static void forward(const fa_op_call *call)
{
    const fa_real *theta = call->in[0]->data;
    fa_real *grid = call->out[0]->data;
    EACH({
        double sum = 0;
        for (int32_t a = 0; a <= p->axes; a++) sum += (double)theta[row + a] * c[a];
        grid[at] = (fa_real)sum;
    })
}

static void backward(const fa_op_call *call)
{
    const fa_real *g = call->grad_out[0];
    fa_real *t = call->grad_in[0];
    if (!t) return;
    EACH(for (int32_t a = 0; a <= p->axes; a++) t[row + a] += (fa_real)((double)g[at] * c[a]))
}

const fa_op FA_R(fa_ops_affinegrid)[] = {
    {"AffineGrid", "", 20, FA_OPSET_ANY, 0, 0, 0, prepare, forward, backward},
    {NULL},
};
