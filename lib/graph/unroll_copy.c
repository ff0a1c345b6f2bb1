/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/unroll_copy.h"

#include "base/error.h"
#include "graph/unroll.h"

#include <stdio.h>
#include <string.h>

/* A body on its way into the graph. */
typedef struct copy {
    fa_edit *edit;
    const fa_node *node;
    const fa_attr *attr;
    const fa_graph *body;
    int32_t formal; /* inputs of the body that are not what it reads of the graph around it */
    int32_t *map;   /* [body->n_value] values of the body as values of the graph */
} copy;

static fa_status begin(fa_edit *e, fa_arena *work, const fa_node *node, const char *attribute, int64_t rounds, copy *out)
{
    const fa_attr *a = fa_node_attr(node, attribute);
    if (!a || a->kind != FA_ATTR_GRAPH) return fa_fail(FA_ERR_FORMAT, "attribute '%s' is no graph", attribute);
    copy c = {e, node, a, a->graph, a->graph->n_input - (int32_t)a->count, fa_arena_array(work, (size_t)a->graph->n_value + 1, sizeof *c.map)};
    if (!c.map) return FA_ERR_MEMORY;
    int64_t most = FA_UNROLL_NODES - e->graph->n_node, each = a->graph->n_node + 4 + 2 * (int64_t)a->graph->n_input + a->graph->n_output;
    if (rounds > most / each) return fa_fail(FA_ERR_LIMIT, "%lld rounds of %d nodes; a graph may grow to %d", (long long)rounds, a->graph->n_node, FA_UNROLL_NODES);
    for (int32_t i = 0; i < a->count; i++) c.map[c.body->input[c.formal + i]] = node->in[a->i + i];
    *out = c;
    return FA_OK;
}

static const char *name_of(copy *c, int64_t round, const char *name)
{
    size_t room = strlen(c->node->name) + strlen(name) + 32;
    char *own = fa_arena_new(&c->edit->graph->arena, room);
    if (own && round < 0) snprintf(own, room, "%s/%s", c->node->name, name);
    else if (own) snprintf(own, room, "%s.%lld/%s", c->node->name, (long long)round, name);
    return own;
}

static fa_status copy_value(copy *c, int64_t round, int32_t v)
{
    const char *name = name_of(c, round, c->body->value[v].name);
    return name ? fa_edit_copy_value(c->edit, name, &c->body->value[v], &c->map[v]) : FA_ERR_MEMORY;
}

/* Once for all rounds: what they share stays one value. */
static fa_status copy_initialisers(copy *c)
{
    for (int32_t v = 0; v < c->body->n_value; v++)
        if (c->body->value[v].is_initialiser) FA_TRY(copy_value(c, -1, v));
    return FA_OK;
}

static fa_status copy_nodes(copy *c, int64_t round)
{
    for (int32_t n = 0; n < c->body->n_node; n++) {
        const fa_node *from = &c->body->node[n];
        const char *name = name_of(c, round, from->name);
        int32_t node;
        if (!name) return FA_ERR_MEMORY;
        FA_TRY(fa_edit_copy_node(c->edit, name, from, &node));
        for (int32_t o = 0; o < from->n_out; o++)
            if (from->out[o] >= 0) FA_TRY(copy_value(c, round, from->out[o]));
        fa_node *to = &c->edit->graph->node[node];
        for (int32_t i = 0; i < from->n_in; i++) to->in[i] = from->in[i] < 0 ? -1 : c->map[from->in[i]];
        for (int32_t o = 0; o < from->n_out; o++) to->out[o] = from->out[o] < 0 ? -1 : c->map[from->out[o]];
    }
    return FA_OK;
}

/* A node with one input and one output; `*out` below 0 makes a new value. */
static fa_status add_node(copy *c, const char *op, int32_t opset, int32_t n_in, const int32_t *in, int32_t *out, const fa_attr *attr)
{
    int32_t node;
    if (*out < 0) {
        const char *name = name_of(c, c->edit->graph->n_value, op); /* a number like no round's before */
        if (!name) return FA_ERR_MEMORY;
        FA_TRY(fa_edit_copy_value(c->edit, name, &(fa_value){0}, out));
    }
    FA_TRY(fa_edit_node(c->edit, c->node->name, op, "", opset, n_in, 1, attr != NULL, &node));
    fa_node *n = &c->edit->graph->node[node];
    if (n_in) memcpy(n->in, in, (size_t)n_in * sizeof *in);
    n->out[0] = *out;
    if (attr) n->attr[0] = *attr;
    return FA_OK;
}

static fa_status add_number(copy *c, int64_t round, const char *what, int32_t dtype, int64_t number, int32_t *value)
{
    fa_view view = {.dtype = dtype, .count = 1};
    const char *name = name_of(c, round, what);
    int64_t *data = fa_arena_new(&c->edit->graph->arena, sizeof *data);
    if (!name || !data) return FA_ERR_MEMORY;
    *data = number;
    view.data = data;
    FA_TRY(fa_edit_copy_value(c->edit, name, &(fa_value){0}, value));
    fa_edit_make_initialiser(c->edit, *value, &view);
    return FA_OK;
}

/* Output `o` of the node is value `from`. */
static fa_status give(copy *c, int32_t o, int32_t from)
{
    int32_t out = c->node->out[o];
    return out < 0 ? FA_OK : add_node(c, "Identity", 13, 1, &from, &out, NULL);
}

/* Without a round there is only what the file declares to give an output its shape. */
static fa_status stack_nothing(copy *c, int32_t o, const fa_value *like)
{
    int64_t dim[FA_MAX_DIMS + 1] = {0};
    int32_t value;
    void *data;
    bool known = like->dtype && like->has_shape && like->declared_ndim < FA_MAX_DIMS;
    for (int32_t d = 0; known && d < like->declared_ndim; d++) known = (dim[d + 1] = like->declared[d]) >= 0;
    if (!known) return fa_fail(FA_ERR_UNSUPPORTED, "no round at all, and output %d has no declared shape", o);
    FA_TRY(fa_edit_initialiser(c->edit, c->node->name, like->dtype, like->declared_ndim + 1, dim, &value, &data));
    return give(c, o, value);
}

/* Output `o` of the node is what the rounds gave, along a new axis. */
static fa_status stack(copy *c, int32_t o, int32_t *value, int64_t count, int64_t axis, bool backwards, const fa_value *like)
{
    int32_t out = c->node->out[o];
    int64_t *axes = fa_arena_new(&c->edit->graph->arena, sizeof *axes);
    if (out < 0) return FA_OK;
    if (!axes) return FA_ERR_MEMORY;
    if (!count) return stack_nothing(c, o, like);
    *axes = axis;
    fa_attr where = {.name = "axes", .kind = FA_ATTR_INTS, .count = 1, .ints = axes}, along = {.name = "axis", .kind = FA_ATTR_INT, .i = axis};
    for (int64_t k = 0; k < count; k++) {
        int32_t wide = -1;
        FA_TRY(add_node(c, "Unsqueeze", 11, 1, &value[k], &wide, &where));
        value[k] = wide;
    }
    for (int64_t k = 0; k < count / 2 && backwards; k++) {
        int32_t swap = value[k];
        value[k] = value[count - 1 - k];
        value[count - 1 - k] = swap;
    }
    return add_node(c, "Concat", 11, (int32_t)count, value, &out, &along);
}

fa_status fa_unroll_if(fa_edit *e, fa_arena *work, const fa_node *node, bool condition)
{
    copy c;
    FA_TRY(begin(e, work, node, condition ? "then_branch" : "else_branch", 1, &c));
    if (c.formal || node->n_out > c.body->n_output) return fa_fail(FA_ERR_FORMAT, "its branch takes %d inputs and gives %d outputs", c.formal, c.body->n_output);
    FA_TRY(copy_initialisers(&c));
    FA_TRY(copy_nodes(&c, -1));
    for (int32_t o = 0; o < node->n_out; o++) FA_TRY(give(&c, o, c.map[c.body->output[o]]));
    return FA_OK;
}

/* The rounds of a Loop or Scan: values that go from one to the next, and those that are stacked. */
typedef struct rounds {
    copy copy;
    int64_t count;
    int32_t n_state, n_stacked;
    int32_t first_state, first_given; /* the node's first carried input; the body's first output that is no condition */
    int32_t *state;   /* [n_state] */
    int32_t *stacked; /* [n_stacked][count] */
} rounds;

/* `extra`: inputs of the body before the state. */
static fa_status begin_rounds(rounds *r, fa_arena *work, int32_t extra, int32_t scanned)
{
    const copy *c = &r->copy;
    int32_t formal = (int32_t)c->attr->i;
    r->n_state = formal - r->first_state - scanned;
    r->n_stacked = c->body->n_output - r->first_given - r->n_state;
    if (r->n_state < 0 || r->n_stacked < 0 || c->formal != extra + r->n_state + scanned || c->node->n_out > r->n_state + r->n_stacked)
        return fa_fail(FA_ERR_FORMAT, "its body takes %d inputs and gives %d outputs, the node %d and %d", c->formal, c->body->n_output, formal, c->node->n_out);
    size_t stacked;
    if (!fa_mul_size((size_t)r->n_stacked, (size_t)r->count, &stacked)) return FA_ERR_MEMORY;
    r->state = fa_arena_array(work, (size_t)r->n_state + 1, sizeof *r->state);
    r->stacked = fa_arena_array(work, stacked + 1, sizeof *r->stacked);
    if (!r->state || !r->stacked) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < r->n_state; i++) {
        r->state[i] = c->node->in[r->first_state + i];
        if (r->state[i] < 0) return fa_fail(FA_ERR_FORMAT, "input %d is missing", r->first_state + i);
    }
    return copy_initialisers(&r->copy);
}

static fa_status run(rounds *r, int64_t round, int32_t extra)
{
    copy *c = &r->copy;
    for (int32_t i = 0; i < r->n_state; i++) c->map[c->body->input[extra + i]] = r->state[i];
    FA_TRY(copy_nodes(c, round));
    for (int32_t i = 0; i < r->n_state; i++) r->state[i] = c->map[c->body->output[r->first_given + i]];
    for (int32_t i = 0; i < r->n_stacked; i++) r->stacked[i * r->count + round] = c->map[c->body->output[r->first_given + r->n_state + i]];
    return FA_OK;
}

static fa_status end_rounds(rounds *r)
{
    copy *c = &r->copy;
    for (int32_t o = 0; o < c->node->n_out; o++) {
        int32_t k = o - r->n_state;
        if (k < 0) FA_TRY(give(c, o, r->state[o]));
        else
            FA_TRY(stack(c, o, r->stacked + k * r->count, r->count, fa_scan_number(c->node, "scan_output_axes", k),
                         fa_scan_number(c->node, "scan_output_directions", k) != 0, &c->body->value[c->body->output[r->first_given + o]]));
    }
    return FA_OK;
}

fa_status fa_unroll_loop(fa_edit *e, fa_arena *work, const fa_node *node, int64_t count)
{
    rounds r = {.count = count, .first_state = 2, .first_given = 1};
    int32_t yes;
    FA_TRY(begin(e, work, node, "body", count, &r.copy));
    FA_TRY(begin_rounds(&r, work, 2, 0));
    FA_TRY(add_number(&r.copy, -1, "condition", FA_BOOL, 1, &yes));
    for (int64_t k = 0; k < count; k++) {
        FA_TRY(add_number(&r.copy, k, "iteration", FA_INT64, k, &r.copy.map[r.copy.body->input[0]]));
        r.copy.map[r.copy.body->input[1]] = yes;
        FA_TRY(run(&r, k, 2));
    }
    return end_rounds(&r);
}

fa_status fa_unroll_scan(fa_edit *e, fa_arena *work, const fa_node *node, int64_t count)
{
    rounds r = {.count = count};
    int32_t scanned = (int32_t)fa_node_int(node, "num_scan_inputs", 0);
    FA_TRY(begin(e, work, node, "body", count, &r.copy));
    FA_TRY(begin_rounds(&r, work, 0, scanned));
    for (int64_t k = 0; k < count; k++) {
        for (int32_t i = 0; i < scanned; i++) {
            bool backwards = fa_scan_number(node, "scan_input_directions", i) != 0;
            fa_attr axis = {.name = "axis", .kind = FA_ATTR_INT, .i = fa_scan_number(node, "scan_input_axes", i)};
            int32_t in[2] = {node->in[r.n_state + i]}, element = -1;
            FA_TRY(add_number(&r.copy, k, "element", FA_INT64, backwards ? count - 1 - k : k, &in[1]));
            FA_TRY(add_node(&r.copy, "Gather", 13, 2, in, &element, &axis));
            r.copy.map[r.copy.body->input[r.n_state + i]] = element;
        }
        FA_TRY(run(&r, k, 0));
    }
    return end_rounds(&r);
}

fa_status fa_unroll_loop_condition(const fa_graph *body, fa_loop_condition *out)
{
    int32_t v = body->output[0];
    *out = FA_LOOP_GOES_ON;
    while (v != body->input[1]) {
        const fa_value *value = &body->value[v];
        const fa_node *node = value->producer >= 0 ? &body->node[value->producer] : NULL;
        const fa_attr *a = node && strcmp(node->op, "Constant") == 0 ? fa_node_attr(node, "value") : NULL;
        const fa_view *known = value->is_initialiser ? &value->view : a && a->kind == FA_ATTR_TENSOR ? &a->tensor : NULL;
        if (known && known->dtype == FA_BOOL && known->count == 1) {
            *out = *(const int64_t *)known->data ? FA_LOOP_GOES_ON : FA_LOOP_ENDS;
            return FA_OK;
        }
        bool same = node && (strcmp(node->op, "Identity") == 0 || strcmp(node->op, "Cast") == 0) && node->n_in == 1 && node->in[0] >= 0;
        if (!same) return fa_fail(FA_ERR_UNSUPPORTED, "its body computes whether it goes on; that must be known beforehand");
        v = node->in[0];
    }
    return FA_OK;
}

int64_t fa_scan_number(const fa_node *node, const char *attribute, int32_t i)
{
    int64_t n;
    const int64_t *list = fa_node_ints(node, attribute, &n);
    return list && i < n ? list[i] : 0;
}
