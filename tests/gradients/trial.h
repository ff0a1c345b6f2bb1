/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_TESTS_GRADIENTS_TRIAL_H
#define FA_TESTS_GRADIENTS_TRIAL_H

#define FA_REAL double
#define FA_REAL_SUFFIX f64
#include "cases.h"
#include "ops/ops.h"

/* A case made concrete: a node of its own with memory for everything around it, outside of any graph or plan. */

#define MOST_IN 16
#define MOST_OUT 8

typedef struct trial {
    const gradient_case *from;
    fa_arena arena;
    fa_node node;
    const fa_op *op;
    void *params;
    size_t scratch;
    fa_view in[MOST_IN], out[MOST_OUT];
    const fa_view *in_at[MOST_IN]; /* NULL where absent */
    bool known[MOST_IN];           /* when the operator is prepared */
    bool varies[MOST_IN];          /* real and to be differentiated */
} trial;

/* Reads the case, finds the operator and prepares it; inputs that only a run would know hold their elements afterwards. The status is what the
 * operator's prepare says; a case that cannot be read, or has no operator, ends the test. */
fa_status trial_begin(trial *t, fa_context *context, const gradient_case *c);
void trial_end(trial *t);

/* Ends the test with words about a case. */
void fail_case(const gradient_case *c, const char *what, const char *text);

/* Exact-size memory from the C library, so that sanitizers see every step beyond it; filled with NaN or with integers out of any range. */
void *filled(const fa_view *v);

/* One call of forward into `out`, where `wanted` (NULL: all) says which outputs are. */
void trial_forward(const trial *t, const fa_view *out, const bool *wanted);

/* One call of backward. Contents that the operator's table entry does not ask for are replaced by NaN. */
void trial_backward(const trial *t, const fa_view *out, const bool *wanted, void *const *grad_in, const void *const *grad_out, const bool *accumulate);

#endif
