/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_OPS_OPS_H
#define FA_OPS_OPS_H

/*
 * The reference operators: plain loops, one file per family, shape rule, forward and backward side by side. Each file is compiled twice, with
 * FA_REAL=float (FA_REAL_SUFFIX=f32: what the library runs on) and FA_REAL=double (f64: what gradients are checked in). Names with external
 * linkage go through FA_R().
 */
#include "base/error.h"
#include "ops/table.h"

#ifndef FA_REAL
#error "compile with -DFA_REAL=float -DFA_REAL_SUFFIX=f32, or double and f64"
#endif
typedef FA_REAL fa_real;

#define FA_R__(name, suffix) name##_##suffix
#define FA_R_(name, suffix) FA_R__(name, suffix)
#define FA_R(name) FA_R_(name, FA_REAL_SUFFIX)

/* Families, each ended by an entry without name. */
extern const fa_op FA_R(fa_ops_activation)[], FA_R(fa_ops_prelu)[], FA_R(fa_ops_clip)[], FA_R(fa_ops_arithmetic)[], FA_R(fa_ops_variadic)[],
    FA_R(fa_ops_compare)[], FA_R(fa_ops_bits)[], FA_R(fa_ops_reduce)[], FA_R(fa_ops_cumsum)[], FA_R(fa_ops_topk)[], FA_R(fa_ops_softmax)[],
    FA_R(fa_ops_loss)[], FA_R(fa_ops_shape)[], FA_R(fa_ops_join)[], FA_R(fa_ops_slice)[], FA_R(fa_ops_cast)[], FA_R(fa_ops_constant)[],
    FA_R(fa_ops_onehot)[], FA_R(fa_ops_transpose)[], FA_R(fa_ops_pad)[], FA_R(fa_ops_gather)[], FA_R(fa_ops_scatter)[], FA_R(fa_ops_conv)[],
    FA_R(fa_ops_pool)[], FA_R(fa_ops_norm)[], FA_R(fa_ops_batchnorm)[], FA_R(fa_ops_gemm)[], FA_R(fa_ops_matmul)[], FA_R(fa_ops_matrix)[],
    FA_R(fa_ops_resize)[], FA_R(fa_ops_rnn)[], FA_R(fa_ops_dequantize)[], FA_R(fa_ops_einsum)[], FA_R(fa_ops_mvn)[], FA_R(fa_ops_reverse)[],
    FA_R(fa_ops_select)[], FA_R(fa_ops_unpool)[], FA_R(fa_ops_dft)[], FA_R(fa_ops_filterbank)[], FA_R(fa_ops_gridsample)[], FA_R(fa_ops_roialign)[],
    FA_R(fa_ops_fold)[], FA_R(fa_ops_attention)[], FA_R(fa_ops_affinegrid)[], FA_R(fa_ops_rotary)[],
    FA_R(fa_ops_multihead)[], FA_R(fa_ops_lpnorm)[], FA_R(fa_ops_col2im)[];
/* All of them, for a table. */
#define FA_OP_FAMILIES                                                                                                                               \
    FA_R(fa_ops_activation), FA_R(fa_ops_prelu), FA_R(fa_ops_clip), FA_R(fa_ops_arithmetic), FA_R(fa_ops_variadic), FA_R(fa_ops_compare),            \
    FA_R(fa_ops_bits), FA_R(fa_ops_reduce), FA_R(fa_ops_cumsum), FA_R(fa_ops_topk), FA_R(fa_ops_softmax), FA_R(fa_ops_loss),                         \
    FA_R(fa_ops_shape), FA_R(fa_ops_join), FA_R(fa_ops_slice), FA_R(fa_ops_cast), FA_R(fa_ops_constant), FA_R(fa_ops_onehot),                        \
    FA_R(fa_ops_transpose), FA_R(fa_ops_pad), FA_R(fa_ops_gather), FA_R(fa_ops_scatter), FA_R(fa_ops_conv), FA_R(fa_ops_pool),                       \
    FA_R(fa_ops_norm), FA_R(fa_ops_batchnorm), FA_R(fa_ops_gemm), FA_R(fa_ops_matmul), FA_R(fa_ops_matrix), FA_R(fa_ops_resize),                     \
    FA_R(fa_ops_rnn), FA_R(fa_ops_dequantize), FA_R(fa_ops_einsum), FA_R(fa_ops_mvn), FA_R(fa_ops_reverse), FA_R(fa_ops_select),                     \
    FA_R(fa_ops_unpool), FA_R(fa_ops_dft), FA_R(fa_ops_filterbank), FA_R(fa_ops_gridsample), FA_R(fa_ops_roialign), FA_R(fa_ops_fold),               \
    FA_R(fa_ops_attention), FA_R(fa_ops_affinegrid), FA_R(fa_ops_rotary),                                                             \
    FA_R(fa_ops_multihead), FA_R(fa_ops_lpnorm), FA_R(fa_ops_col2im)

/* Helpers that families share. */

/* fa_fail(FA_ERR_UNSUPPORTED/...) unless input `i` is present. */
fa_status FA_R(fa_op_need)(const fa_op_setup *s, int32_t min_in, int32_t max_in, int32_t max_out);
/* FA_ERR_DTYPE unless every input that is present is real. */
fa_status FA_R(fa_op_need_real)(const fa_op_setup *s);
/* FA_ERR_SHAPE unless input `input`, which is present, has `count` elements in whatever shape. */
fa_status FA_R(fa_op_need_count)(const fa_op_setup *s, int32_t input, int64_t count);
/* Contents of an int64 input known at plan time; FA_ERR_UNSUPPORTED with `what` when it is computed from data. */
fa_status FA_R(fa_op_constant_ints)(const fa_op_setup *s, int32_t input, const char *what, const int64_t **data, int64_t *count);
/* Negative axes count from the end; FA_ERR_SHAPE when out of range. */
fa_status FA_R(fa_op_axis)(int64_t axis, int32_t ndim, int32_t *out);
/* The tensor as [outer, n, inner] around an axis. */
void FA_R(fa_op_around)(const fa_view *v, int32_t axis, int64_t *outer, int64_t *n, int64_t *inner);
/* Which of `names` a string attribute is; FA_ERR_FORMAT for another. */
fa_status FA_R(fa_op_choice)(const fa_op_setup *s, const char *attribute, const char *fallback, const char *const *names, int32_t n, int32_t *out);
/* Row-major strides in elements. */
void FA_R(fa_op_strides)(const fa_view *v, int64_t *stride);

#endif
