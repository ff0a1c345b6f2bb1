/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_PATTERN_H
#define FA_BACKEND_PATTERN_H

#include "graph/edit.h"

/*
 * Groups of nodes that are one operator written out, as exporters before its operator set do, found in `base` and replaced by that operator: which has a kernel, and
 * keeps less for the backward pass. Values inside a group have no other reader (but for their
 * shape: what is read for that alone is planned and not run) and are no outputs. Layers with weights are never part of one.
 */
typedef struct fa_pattern {
    const fa_graph *base;
    fa_edit edit;
    fa_arena work;
    int32_t *readers; /* [base->n_value] inputs of nodes that it is, Shape and Size aside, and once more where it is kept */
} fa_pattern;

/* The node that makes `value` when it is of this operator (default domain) with output 0 wanted alone, else NULL; fa_pattern_inner(): and `value` has one reader. */
const fa_node *fa_pattern_made_by(const fa_pattern *p, int32_t value, const char *op);
const fa_node *fa_pattern_inner(const fa_pattern *p, int32_t value, const char *op);

/* The contents of a real initialiser of one element that does not vary. */
bool fa_pattern_scalar(const fa_pattern *p, int32_t value, double *x);
/* Close to a number that exporters write in single precision. */
bool fa_pattern_is(double x, double number);
/* The other input of a node of two inputs one of which is such a scalar, -1 when none is. */
int32_t fa_pattern_beside_scalar(const fa_pattern *p, const fa_node *node, double *x);

/* A product of values and scalars, by Mul and Div: `value` as scale * factor[0] * ... The inner products have one reader each. */
#define FA_PATTERN_FACTORS 4
typedef struct fa_factors {
    double scale;
    int32_t factor[FA_PATTERN_FACTORS], count; /* count is FA_PATTERN_FACTORS + 1 when there are more */
} fa_factors;
fa_factors fa_pattern_product(const fa_pattern *p, int32_t value);

/* True when the node reduces the last axis alone and keeps it. */
bool fa_pattern_reduces_last(const fa_pattern *p, const fa_node *node);

/* A node in the place of base's node `n`, whose output it makes; inputs and attributes are to be filled in. */
fa_status fa_pattern_replace(fa_pattern *p, int32_t n, const char *op, const char *domain, int32_t opset, int32_t n_in, int32_t n_out, int32_t n_attr, fa_node **node);

/* rewrite_layernorm.c, rewrite_gelu.c, rewrite_attention.c: each sets *done when base's node `n` was the last of a group, and is replaced. */
fa_status fa_pattern_layernorm(fa_pattern *p, int32_t n, bool *done);
fa_status fa_pattern_rmsnorm(fa_pattern *p, int32_t n, bool *done);
fa_status fa_pattern_gelu(fa_pattern *p, int32_t n, bool *done);
fa_status fa_pattern_attention(fa_pattern *p, int32_t n, bool *done);

#endif
