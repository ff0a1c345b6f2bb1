/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_BACKEND_FAST_REWRITE_H
#define FA_BACKEND_FAST_REWRITE_H

#include "backend/rewrite.h"
#include "graph/edit.h"
#include "kernels/chain.h"

/*
 * State of the rewrite onto fast kernels. A value of the old graph that is an image, [n, c, h, w], gets a twin in the new one, [n, h, w, c], as soon
 * as something makes or wants it channels-last; the value itself is made from the twin only where something wants that.
 */
typedef struct fa_image {
    int32_t twin;     /* value index, -1: none */
    int32_t space;    /* images of the same space certainly have the same n, h and w; negative: h and w are 1 */
    int64_t channels; /* -1: unknown */
    bool exists;      /* the value itself is made too */
} fa_image;

/* The space that windows of this effect make of another one. */
typedef struct fa_window_effect {
    int32_t from, to;
    int64_t grow_h, stride_h, grow_w, stride_w; /* (in + grow - 1) / stride + 1 outputs */
} fa_window_effect;

/* A value of the old graph that is made by a Chain of the new one. */
typedef struct fa_chain_of {
    int32_t source; /* the value that the steps are applied to */
    int32_t node;   /* in the new graph */
    int32_t n_step; /* 0: there is no chain */
    fa_chain_step step[FA_CHAIN_MOST];
} fa_chain_of;

typedef struct fa_fast {
    const fa_graph *base, *source; /* source: the model's */
    fa_packings *packings;         /* or NULL */
    bool once;                     /* FA_PACKING_ONCE */
    fa_edit edit;
    fa_arena work;
    fa_image *image;   /* [base->n_value] */
    bool *kept;        /* [base->n_value] graph outputs and logits: not to be fused away */
    int32_t *readers;  /* [base->n_value] nodes of base that read it, as often as they do */
    int32_t *maker;    /* [base->n_value] ConvNhwc or GemmFast of the new graph that a Relu or an Add may still be joined to, or -1 */
    fa_chain_of *chain; /* [base->n_value] */
    int32_t *layer;    /* [n_layer] node of each layer in the edit */
    int32_t n_layer;
    fa_window_effect *effect;
    int32_t n_effect, n_space;
} fa_fast;

/* The twin of `value`, from a layout change where there is none yet. */
fa_status fa_fast_need_twin(fa_fast *f, int32_t value, int64_t channels, int32_t *twin);
/* A fresh twin for `value`, which is made by a node of the new graph from now on. */
fa_status fa_fast_new_twin(fa_fast *f, int32_t value, int32_t space, int64_t channels, int32_t *twin);
/* A new node with the attributes of base's node `n` and room for `more`; its index. Fills in nothing else. */
fa_status fa_fast_new_node(fa_fast *f, int32_t n, const char *op, const char *domain, int32_t n_in, int32_t more, int32_t *node);
fa_attr *fa_fast_int_attr(fa_fast *f, int32_t node, int32_t index, const char *name, int64_t value);

/* The space of a window's outputs; a new one when it cannot be told. */
int32_t fa_fast_window_space(fa_fast *f, int32_t from, const fa_node *node, const int64_t kernel[2]);
int32_t fa_fast_new_space(fa_fast *f);

/* A real initialiser's elements as floats: as they lie, or (float64) in the work arena; NULL with FA_ERR_MEMORY set. */
const float *fa_fast_floats(fa_fast *f, const fa_view *view);

/* fast_layers.c: each sets *done when it has replaced base's node `n`. */
fa_status fa_fast_conv(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_gemm(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_join_relu(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_join_add(fa_fast *f, int32_t n, bool *done);

/* fast_chain.c: the same for functions of one number. */
fa_status fa_fast_chain(fa_fast *f, int32_t n, bool *done);

/* fast_upsample.c: the same for images of repeated pixels. */
fa_status fa_fast_upsample(fa_fast *f, int32_t n, bool *done);

/* fast_images.c: the same for nodes that work on images without weights. */
fa_status fa_fast_unary(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_broadcast(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_concat(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_batchnorm(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_pool(fa_fast *f, int32_t n, bool *done);
fa_status fa_fast_mean(fa_fast *f, int32_t n, bool *done);

#endif
