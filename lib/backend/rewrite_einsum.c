/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/rewrite.h"
#include "base/error.h"

#include <string.h>

/*
 * An Einsum of two computed values that is a batch of matrix products ("bhid,bjhd->bhij") as MatMul between Transposes: what has a kernel, and what attention is looked for in.
 * One label is summed over, each operand has one label of its own, and the rest is in both and in the result.
 */
#define MOST_LABELS FA_MAX_DIMS

typedef struct term {
    char label[MOST_LABELS];
    int32_t count;
} term;

typedef struct product {
    term a, b, out;
    char inner, row, column; /* summed over; of `a` alone, of `b` alone */
} product;

static int32_t find(const term *t, char label)
{
    for (int32_t i = 0; i < t->count; i++)
        if (t->label[i] == label) return i;
    return -1;
}

/* The labels of a term, each once; where it ends, or NULL. */
static const char *read_term(const char *text, term *t)
{
    for (t->count = 0; *text && *text != ',' && *text != '-'; text++) {
        const bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        if (*text == ' ') continue;
        if (!letter || t->count == MOST_LABELS || find(t, *text) >= 0) return NULL;
        t->label[t->count++] = *text;
    }
    return text;
}

static bool set_once(char *label, char to)
{
    if (*label) return false;
    *label = to;
    return true;
}

static bool read_equation(const char *text, product *p)
{
    memset(p, 0, sizeof *p);
    if (!(text = read_term(text, &p->a)) || *text != ',' || !(text = read_term(text + 1, &p->b)) || strncmp(text, "->", 2) != 0) return false;
    if (!(text = read_term(text + 2, &p->out)) || *text) return false;
    for (int32_t i = 0; i < p->a.count; i++) {
        const char c = p->a.label[i];
        const bool other = find(&p->b, c) >= 0, kept = find(&p->out, c) >= 0;
        if (other ? !kept && !set_once(&p->inner, c) : !kept || !set_once(&p->row, c)) return false;
    }
    for (int32_t i = 0; i < p->b.count; i++)
        if (find(&p->a, p->b.label[i]) < 0 && (find(&p->out, p->b.label[i]) < 0 || !set_once(&p->column, p->b.label[i]))) return false;
    return p->inner && p->row && p->column && p->out.count == p->a.count && p->out.count == p->b.count;
}

/* The label's place behind those in front: the result's shared labels in its order, then rows and columns. */
static void order(const product *p, char last_but_one, char last, term *to)
{
    to->count = 0;
    for (int32_t i = 0; i < p->out.count; i++)
        if (p->out.label[i] != p->row && p->out.label[i] != p->column) to->label[to->count++] = p->out.label[i];
    to->label[to->count++] = last_but_one;
    to->label[to->count++] = last;
}

/* `value`, whose axes are `from`, with its axes as `to`; or, `back`, the value that has axes `from` made of one with axes `to`, which is returned. */
static fa_status turn(fa_edit *e, const char *name, const term *from, const term *to, bool back, int32_t *value)
{
    int32_t node, other;
    int64_t *perm = fa_arena_array(&e->graph->arena, (size_t)to->count + 1, sizeof *perm);
    bool moves = false;
    if (!perm) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < to->count; i++) {
        perm[i] = back ? find(to, from->label[i]) : find(from, to->label[i]);
        moves |= perm[i] != i;
    }
    if (!moves) return FA_OK;
    FA_TRY(fa_edit_value(e, name, FA_FLOAT32, &other));
    FA_TRY(fa_edit_node(e, name, "Transpose", "", 13, 1, 1, 1, &node));
    fa_node *made = &e->graph->node[node];
    made->in[0] = back ? other : *value;
    made->out[0] = back ? *value : other;
    made->attr[0] = (fa_attr){.name = "perm", .kind = FA_ATTR_INTS, .count = to->count, .ints = perm};
    *value = other;
    return FA_OK;
}

static fa_status replace(fa_edit *e, int32_t n)
{
    const fa_node *node = &e->graph->node[n];
    const char *equation = fa_node_string(node, "equation", ""), *name = node->name;
    int32_t a = node->n_in == 2 ? node->in[0] : -1, b = a >= 0 ? node->in[1] : -1, y = node->out[0], made;
    product p;
    term left, right, whole;
    if (a < 0 || b < 0 || y < 0 || e->graph->value[a].is_parameter || e->graph->value[b].is_parameter || !read_equation(equation, &p)) return FA_OK;
    if (find(&p.out, p.row) > find(&p.out, p.column)) { /* the transposed product: exchange its factors */
        const product turned = {.a = p.b, .b = p.a, .out = p.out, .inner = p.inner, .row = p.column, .column = p.row};
        const int32_t first = a;
        p = turned;
        a = b;
        b = first;
    }
    order(&p, p.row, p.inner, &left);
    order(&p, p.inner, p.column, &right);
    order(&p, p.row, p.column, &whole);
    FA_TRY(turn(e, name, &p.a, &left, false, &a));
    FA_TRY(turn(e, name, &p.b, &right, false, &b));
    FA_TRY(turn(e, name, &p.out, &whole, true, &y));
    FA_TRY(fa_edit_node(e, name, "MatMul", "", 13, 2, 1, 0, &made));
    e->graph->node[made].in[0] = a;
    e->graph->node[made].in[1] = b;
    e->graph->node[made].out[0] = y;
    fa_edit_remove_node(e, n);
    return FA_OK;
}

fa_status fa_rewrite_einsums(const fa_graph *graph, fa_graph **out)
{
    fa_edit edit;
    FA_TRY(fa_edit_begin(graph, &edit));
    for (int32_t n = 0; n < graph->n_node; n++) {
        const fa_node *node = &graph->node[n];
        const bool ours = !node->domain[0] && strcmp(node->op, "Einsum") == 0 && node->n_out == 1;
        const fa_status status = ours ? replace(&edit, n) : FA_OK;
        if (status == FA_OK) continue;
        fa_edit_discard(&edit);
        return status;
    }
    return fa_edit_finish(&edit, out);
}
