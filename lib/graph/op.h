/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_OP_H
#define FA_GRAPH_OP_H

#include "base/pool.h"
#include "graph/graph.h"

/* What an operator is. lib/ops implements these, one file per family; the plan calls them. */

/* Preparing one node for concrete shapes. */
typedef struct fa_op_setup {
    const fa_node *node;
    int32_t n_in, n_out;
    const fa_view *const *in; /* NULL where an optional input is absent. `data` is set where the contents are known at plan time (initialisers and
                                 what follows from them or from shapes): shapes, axes, pads are read here */
    uint32_t wants;           /* bit i (bit 31: any from 31 on): the gradient at input i may be asked for */
    fa_view *out;             /* to be given dtype and shape (fa_view_set_shape); an unwanted output may be given a shape too */
    fa_arena *arena;          /* for `params`; lives as long as the plan */
    void *params;             /* set by prepare: what forward and backward need beside the shapes */
    size_t scratch;           /* bytes forward or backward need for a call, FA_ALIGN-aligned; set by prepare. Where the batch is cut into slices an operator that reduces
                                 has them to itself, and finds what the reduction left there */
    int32_t threads;          /* that a call may share its work with (fa_op_call.pool), 0: itself alone; `scratch` is for all of them */
    double flops;             /* of forward, multiply and add counted apart; 0 (default) for what is not worth counting */
    bool cheap;               /* forward costs little more than to read and write memory: where backward has the inputs anyway, output 0 is made again for it and not kept. False by default */
} fa_op_setup;

/* One call. Views have concrete shapes and data. */
typedef struct fa_op_call {
    const fa_node *node;
    const void *params;
    void *scratch;
    fa_pool *pool; /* whose threads a call may share its work with; NULL: none. The same bits with any number of them */
    int32_t n_in, n_out;
    const fa_view *const *in; /* NULL where absent; in backward `data` holds contents only where back_in / back_out ask for them */
    const fa_view *const *out;
    int64_t piece, end;       /* operators with `pieces` alone: do pieces piece ... end - 1; end 0: do all */
    int64_t first, rows;      /* operators with `cut_out` alone: do rows first ... first + rows - 1 of the leading dimension; rows 0: do all */
    uint32_t short_in, short_out; /* bit i: the gradient of input, output i has these rows alone and begins with them (fa_op_first()) */
    /* backward alone */
    void *const *grad_in;         /* [n_in] fa_real arrays shaped like the inputs; NULL where no gradient is wanted */
    const void *const *grad_out;  /* [n_out] fa_real arrays; NULL: zero */
    const bool *accumulate;       /* [n_in] used by operators with FA_OP_OVERWRITES: true = add to grad_in, false = overwrite it */
    const struct fa_op_call *const *slope; /* [n_in] or NULL; see fa_op_slope() */
} fa_op_call;

enum {
    FA_OP_VIEW = 1,       /* output 0 holds input 0's elements in the same order under another shape */
    FA_OP_OVERWRITES = 2, /* backward honours `accumulate`; without it grad_in is zeroed before the first contribution and backward always adds */
    FA_OP_STOPS = 4,      /* no gradient flows through it, whatever its inputs want */
    FA_OP_FUNCTION = 8,   /* output 0 is a function of each element of input 0: what multiplies the gradient may be left to whoever finishes it (`slopes`) */
};

#define FA_OPSET_ANY 1000

typedef struct fa_op {
    const char *name;
    const char *domain;
    int32_t since, until; /* versions of the operator set, inclusive, whose meaning this entry has */
    uint32_t flags;
    uint32_t back_in;     /* bit i: backward reads input i's contents (bit 31: every input from 31 on too) */
    uint32_t back_out;    /* bit i: backward reads output i's contents */
    fa_status (*prepare)(fa_op_setup *setup); /* checks input counts, types and attributes; messages need not name the node, the plan does */
    void (*forward)(const fa_op_call *call);
    void (*backward)(const fa_op_call *call); /* NULL: not differentiable (or nothing real to differentiate) */
    uint32_t back_only;   /* bit i: forward does not read input i, which is absent where there is no backward */
    uint32_t first_for;   /* not 0: backward reads input 0 only where it is asked for the gradient at one of these inputs */
    uint32_t slopes;      /* bit i: backward honours fa_op_slope() of input i */
    uint32_t hands_on;    /* bit i: the gradient at input i is the one at output 0 and may lie there: nothing is to be done where grad_in[i] == grad_out[0]. With FA_OP_OVERWRITES */
    /* Operators that can do a slice of the batch at a time, slice after slice. Of inputs and outputs with these bits, and of their gradients, a call with rows has to do with those
     * rows alone. Other inputs are read as a whole; other outputs are whole when the last slice is done, and gradients of other inputs are sums over slices, begun where
     * first is 0. cut_out 0: the operator cannot */
    uint32_t cut_in, cut_out;
    void (*reduce_forward)(const fa_op_call *call); /* what forward wants of all rows before it does any (sums over the batch): called for all slices first, and */
    void (*reduce_backward)(const fa_op_call *call); /* forward, backward with rows for all slices then; with rows 0 they do both. NULL: nothing */
    /* Operators that threads can share without knowing of it: into how many pieces, which may be done in any order and give the same bits however they are put together, forward or
     * backward falls, and what all cost (base/pool.h). NULL: none; such an operator may share by itself (fa_op_call.pool) */
    int64_t (*pieces)(const fa_op_call *call, bool backward, double *cost);
} fa_op;

/* Families of operators, NULL-terminated; each family is an array that ends with name NULL. */
typedef struct fa_op_table {
    size_t real_size; /* sizeof(fa_real) */
    const fa_op *const *families;
} fa_op_table;

/* Bit `i` of a mask of inputs or outputs. */
static inline bool fa_op_bit(uint32_t mask, int32_t i)
{
    return mask >> (i < 31 ? i : 31) & 1;
}

/* Items begin ... end - 1 of `all` that are a call's, of which pieces have `unit` each. */
static inline void fa_op_part(const fa_op_call *call, int64_t unit, int64_t all, int64_t *begin, int64_t *end)
{
    *begin = call->piece * unit;
    *end = call->end && call->end * unit < all ? call->end * unit : all;
}

/* The function that made input i, where backward is to multiply the gradient there, with all that has been added to it, by the derivative; else NULL. Of its call,
 * params and what its own backward reads are there. */
static inline const fa_op_call *fa_op_slope(const fa_op_call *call, int32_t i)
{
    return call->slope ? call->slope[i] : NULL;
}

/* The row of the gradient of input or output i, as `mask` is short_in or short_out, that is the first of a call's. */
static inline int64_t fa_op_first(const fa_op_call *call, uint32_t mask, int32_t i)
{
    return fa_op_bit(mask, i) ? 0 : call->first;
}

/* The entry for a node, or NULL. A node of a newer operator set than any entry knows takes the entry whose `until` is FA_OPSET_ANY. */
const fa_op *fa_op_find(const fa_op_table *table, const fa_node *node);

#endif
