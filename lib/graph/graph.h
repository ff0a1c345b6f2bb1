/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_GRAPH_GRAPH_H
#define FA_GRAPH_GRAPH_H

#include "base/alloc.h"
#include "graph/view.h"

/* A network as data: values joined by nodes. Built by a reader or a rewrite, then immutable. Everything lives in its arena, or in that of a
 * graph it was rewritten from (`base`), which it keeps alive. */

typedef enum fa_attr_kind { FA_ATTR_INT, FA_ATTR_FLOAT, FA_ATTR_STRING, FA_ATTR_INTS, FA_ATTR_FLOATS, FA_ATTR_STRINGS, FA_ATTR_TENSOR, FA_ATTR_GRAPH } fa_attr_kind;

typedef struct fa_attr {
    const char *name;
    fa_attr_kind kind;
    int64_t count; /* elements of ints, floats, strings; bytes of a string (NUL-terminated beside) */
    int64_t i;
    float f;
    const char *s;
    const int64_t *ints;
    const float *floats;
    const char *const *strings;
    fa_view tensor; /* storage as for initialisers */
    struct fa_graph *graph; /* body of If, Loop or Scan. Its inputs are those of the file and then what it reads of the graph around it, which are
                               the node's inputs [i, i + count) */
} fa_attr;

typedef struct fa_node {
    const char *name;   /* never empty */
    const char *op;     /* "Conv" */
    const char *domain; /* "" for the default operator set, "fattr" for operators made by rewrites */
    int32_t opset;      /* version of the domain's operator set that the model imports */
    int32_t n_in, n_out, n_attr;
    int32_t *in;  /* value indices, -1 for an absent optional input */
    int32_t *out; /* value indices, -1 for an output that is not wanted */
    fa_attr *attr;
    bool bf16; /* a layer, Conv, Gemm or MatMul, whose factors are rounded to bfloat16 (backend/precision.c); no file says so */
} fa_node;

typedef struct fa_value {
    const char *name;
    int32_t producer;    /* node index, or -1 for an input or initialiser */
    bool is_initialiser; /* `view` holds its elements */
    bool is_parameter;   /* an initialiser, or computed from initialisers alone */
    bool has_shape;      /* the file declares `declared` */
    bool varies;         /* is_parameter, and its contents are set when the network runs (fa_run_set), or computed from such ones */
    fa_view view;        /* of initialisers; of another value that varies the shape alone, where a rewrite has worked it out */
    int32_t dtype;       /* declared element type, 0 when unknown */
    int32_t declared_ndim;
    int64_t declared[FA_MAX_DIMS]; /* -1 where open */
} fa_value;

typedef struct fa_graph {
    fa_arena arena; /* arena.context is the graph's context */
    const struct fa_graph *base;
    fa_value *value;
    fa_node *node; /* in topological order */
    int32_t n_value, n_node;
    int32_t *input, *output; /* value indices; `input` without initialisers */
    int32_t n_input, n_output;
    int32_t opset;        /* of the default domain */
    const char *producer; /* what wrote the file, or "" */
} fa_graph;

const fa_attr *fa_node_attr(const fa_node *node, const char *name);
int64_t fa_node_int(const fa_node *node, const char *name, int64_t fallback);
float fa_node_float(const fa_node *node, const char *name, float fallback);
const char *fa_node_string(const fa_node *node, const char *name, const char *fallback);
/* NULL with *count 0 when absent. */
const int64_t *fa_node_ints(const fa_node *node, const char *name, int64_t *count);

/* The view of an initialiser, or of a value that varies and whose shape is known (`data` must not be read from where `varies`); else NULL. */
static inline const fa_view *fa_graph_constant(const fa_graph *graph, int32_t value)
{
    if (value < 0) return NULL;
    const fa_value *v = &graph->value[value];
    return v->is_initialiser || (v->varies && v->view.dtype) ? &v->view : NULL;
}

const struct fa_graph *fa_node_body(const fa_node *node, const char *name);

/* Shape or Size. */
bool fa_node_reads_shape(const fa_node *node);

/* If, Loop or Scan: a node that has bodies instead of an operator, see unroll.h. */
bool fa_node_is_control(const fa_node *node);

/* Index of a value by name, -1 when there is none. */
int32_t fa_graph_find_value(const fa_graph *graph, const char *name);

/* Whether a shape is what an input declares: FA_ERR_SHAPE names the input and both. */
fa_status fa_value_check_shape(const fa_value *input, const fa_view *given);

/* The number of inputs that the file insists on (a leading dimension that is not open), or 0. */
int64_t fa_graph_fixed_batch(const fa_graph *graph);

/* Sorts nodes topologically, sets producers and `is_parameter`, and checks: every input is produced by exactly one place, no cycle. (That
 * names of values are distinct is the builder's to see to.) The last step of building a graph. FA_ERR_FORMAT names the node. */
fa_status fa_graph_finish(fa_graph *graph);

/* XXH3-128 over structure, attributes and canonical weights (float32 unless declared float64), not names. */
fa_status fa_graph_digest(const fa_graph *graph, uint8_t digest[16]);

/* Frees the graph (allocated with fa_new on arena.context); not its base, nor the bodies of nodes that it has from its base. */
void fa_graph_destroy(fa_graph *graph);

#endif
