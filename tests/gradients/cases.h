/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_GRADIENTS_CASES_H
#define FA_TESTS_GRADIENTS_CASES_H

#include <stdint.h>

/*
 * One check of one operator's gradient against central finite differences. Inputs and attributes are written as text, separated by blanks.
 *
 * An input is
 *     2,3,4            real, of that shape, values spread over -1..1, all different; every element is differentiated
 *     2,3:0.5..2       the same within another range, to keep away from kinks and poles
 *     2,3:+-0.2..1     the same with either sign
 *     s  s:0.5..2      real, without dimensions
 *     2,3:0.5..2!      real, but not differentiated
 *     4=0,-1,2,1       int64, of that shape, contents known at plan time; `4=` alone for an empty one would be `0=`
 *     2,2?1,0,0,1      bool, contents not known at plan time
 *     2~0,3            int64, contents not known at plan time
 *     3#0.5,nan,-2     real, these values; not differentiated
 *     4#1,1,2,0.5!     the same, contents known at plan time
 *     -                absent
 * and `@` with a number behind it gives another element type: `3=1,2,3@2` is uint8.
 * An attribute is
 *     axis=-1          int
 *     alpha=0.2        float (has a point)
 *     mode=reflect     string
 *     activations=Tanh;Relu    strings; one alone is `activations=Tanh;`
 *     pads=1,0         ints; one alone is `axes=1,` and none at all `axes=,`
 *     scales=0.5,1.    floats
 */
typedef struct gradient_case {
    const char *op; /* "Conv"; "domain:Name" outside the default operator set */
    int32_t opset;
    const char *inputs;
    const char *attrs; /* NULL: none */
    int32_t n_out;     /* outputs of the node; 0: one */
} gradient_case;

/* Tables of cases, each ended by an entry without operator; listed in test_gradients.c. Every entry of the operator table with a backward needs a
 * case whose operator set selects it. */
extern const gradient_case gradient_cases_elementwise[]; /* activation, arithmetic, cast */
extern const gradient_case gradient_cases_reduce[];      /* reduce, softmax, loss */
extern const gradient_case gradient_cases_layout[];      /* shape, join, slice, transpose, pad, gather, scatter, resize */
extern const gradient_case gradient_cases_layers[];      /* conv, pool, norm, gemm, matmul, rnn */

#endif
