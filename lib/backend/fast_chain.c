/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/fast_ops.h"
#include "backend/fast_rewrite.h"

#include <math.h>
#include <string.h>

/*
 * Functions of one number that follow each other become one Chain, which passes through memory once. x hardsigmoid(x) and x sigmoid(x), in the ways exporters write them, are
 * functions of one number too. A chain that is continued is made again with a step more; the shorter one is dropped unless something else reads it.
 */

static double number(const fa_view *v)
{
    return v->dtype == FA_FLOAT64 ? *(const double *)v->data : (double)*(const float *)v->data;
}

/* A real constant of one element beside `x`, which does not give the result more dimensions. */
static bool scalar(const fa_fast *f, int32_t value, int32_t x, double *out)
{
    const fa_view *v = value >= 0 && value < f->base->n_value && !f->base->value[value].varies ? fa_graph_constant(f->base, value) : NULL;
    if (!v || !fa_dtype_is_real(v->dtype) || v->count != 1 || v->ndim > (f->image[x].twin >= 0 ? 4 : 0)) return false;
    *out = number(v);
    return isfinite((float)*out);
}

static bool is(const fa_node *node, const char *op)
{
    return strcmp(node->op, op) == 0;
}

/* An attribute or (from operator set 11 on) a constant input, `fallback` without either. */
static bool bound(const fa_fast *f, const fa_node *node, int32_t input, const char *name, float fallback, float *out)
{
    double v;
    *out = node->opset < 11 ? fa_node_float(node, name, fallback) : fallback;
    if (node->opset < 11 || input >= node->n_in || node->in[input] < 0) return true;
    const fa_view *given = node->in[input] < f->base->n_value && !f->base->value[node->in[input]].varies ? fa_graph_constant(f->base, node->in[input]) : NULL;
    if (!given || !fa_dtype_is_real(given->dtype) || given->count != 1) return false;
    v = number(given);
    *out = (float)v;
    return true;
}

/* What `node` does to its one input that is no constant. Operators that take integers too are left alone where the input may be one. */
static bool step_of(const fa_fast *f, const fa_node *node, int32_t *x, fa_chain_step *step)
{
    static const struct {
        const char *op;
        int32_t function;
    } plain[] = {{"Sigmoid", FA_STEP_SIGMOID}, {"Tanh", FA_STEP_TANH}, {"Exp", FA_STEP_EXP}, {"Erf", FA_STEP_ERF}, {"Sqrt", FA_STEP_SQRT}, {"HardSwish", FA_STEP_HARD_SWISH}};
    double c;
    *x = node->in[0];
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (is(node, plain[i].op)) return *step = (fa_chain_step){plain[i].function, 0, 0}, node->n_in == 1;
    if (is(node, "HardSigmoid")) {
        *step = (fa_chain_step){FA_STEP_HARD_SIGMOID, fa_node_float(node, "alpha", 0.2f), fa_node_float(node, "beta", 0.5f)};
        return node->n_in == 1;
    }
    if (is(node, "Clip")) {
        *step = (fa_chain_step){.function = FA_STEP_CLIP};
        if (node->opset >= 11 && f->image[*x].twin < 0 && !f->chain[*x].n_step) return false; /* it may be of integers */
        return bound(f, node, 1, "min", -INFINITY, &step->a) && bound(f, node, 2, "max", INFINITY, &step->b);
    }
    if (is(node, "Relu")) {
        *step = (fa_chain_step){.function = FA_STEP_RELU};
        return f->chain[*x].n_step > 0;
    }
    if (node->n_in != 2 || node->opset < 7 || node->in[1] < 0) return false;
    if (is(node, "Pow")) return *step = (fa_chain_step){.function = FA_STEP_SQUARE}, scalar(f, node->in[1], *x, &c) && c == 2;
    const bool first = scalar(f, node->in[0], node->in[1], &c), second = !first && scalar(f, node->in[1], node->in[0], &c);
    if (!first && !second) return false;
    *x = node->in[first];
    *step = (fa_chain_step){FA_STEP_AFFINE, 1, 0};
    if (is(node, "Add")) step->b = (float)c;
    else if (is(node, "Mul")) step->a = (float)c;
    else if (is(node, "Sub")) step->a = first ? -1 : 1, step->b = first ? (float)c : -(float)c;
    else if (is(node, "Div") && second && isnormal((float)(1 / c))) step->a = (float)(1 / c);
    else return false;
    return true;
}

/* One step for both where that loses nothing. */
static bool merged(const fa_chain_step *first, const fa_chain_step *second, fa_chain_step *out)
{
    if (first->function != FA_STEP_AFFINE || second->function != FA_STEP_AFFINE) return false;
    const double a = (double)first->a * (double)second->a, b = (double)first->b * (double)second->a + (double)second->b;
    *out = (fa_chain_step){FA_STEP_AFFINE, (float)a, (float)b};
    return (a == 0 || isnormal(out->a)) && (b == 0 || isnormal(out->b));
}

static bool changes_nothing(const fa_chain_step *s)
{
    return s->function == FA_STEP_AFFINE && s->a == 1 && s->b == 0;
}

static void append(fa_chain_of *chain, fa_chain_step step)
{
    fa_chain_step one;
    if (chain->n_step && merged(&chain->step[chain->n_step - 1], &step, &one)) chain->step[chain->n_step - 1] = one;
    else if (chain->n_step && changes_nothing(&chain->step[chain->n_step - 1])) chain->step[chain->n_step - 1] = step;
    else chain->step[chain->n_step++] = step;
    if (chain->n_step > 1 && changes_nothing(&chain->step[chain->n_step - 1])) chain->n_step--;
}

static bool close_to(float a, double b)
{
    return fabs((double)a - b) <= 1e-6 * fabs(b);
}

/* min(high, max(0, x + 3)) as part of a hard swish: the factor between it and x / 6 + 1 / 2 within [0, 1]; 0: it is something else. */
static double hard_gate(const fa_chain_step *s, int32_t n)
{
    if (n == 1 && s[0].function == FA_STEP_HARD_SIGMOID && close_to(s[0].a, 1.0 / 6) && s[0].b == 0.5f) return 1;
    if (n < 2 || s[0].function != FA_STEP_AFFINE || s[0].a != 1 || s[0].b != 3 || s[1].function != FA_STEP_CLIP || s[1].a != 0 || s[1].b != 6) return 0;
    return n == 2 ? 6 : n == 3 && s[2].function == FA_STEP_AFFINE && s[2].b == 0 ? 6 * (double)s[2].a : 0;
}

/* x times a function of x. */
static bool gated(const fa_fast *f, const fa_node *node, int32_t *x, int32_t *gate, fa_chain_of *product)
{
    if (!is(node, "Mul") || node->n_in != 2 || node->opset < 7) return false;
    for (int i = 0; i < 2; i++) {
        *x = node->in[i], *gate = node->in[!i];
        if (*x < 0 || *gate < 0 || !f->chain[*gate].n_step || f->chain[*gate].source != *x) continue;
        const fa_chain_of *c = &f->chain[*gate];
        const double factor = hard_gate(c->step, c->n_step);
        *product = (fa_chain_of){.n_step = 0};
        if (factor != 0) {
            append(product, (fa_chain_step){FA_STEP_HARD_SWISH, 0, 0});
            append(product, (fa_chain_step){FA_STEP_AFFINE, (float)factor, 0});
            return true;
        }
        if (c->n_step == 1 && c->step[0].function == FA_STEP_SIGMOID) return append(product, (fa_chain_step){FA_STEP_SILU, 0, 0}), true;
    }
    return false;
}

static fa_status make_node(fa_fast *f, int32_t n, fa_chain_of *chain)
{
    const fa_node *node = &f->base->node[n];
    const fa_image from = f->image[chain->source];
    int64_t *function = fa_arena_array(&f->edit.graph->arena, FA_CHAIN_MOST, sizeof *function);
    float *numbers = fa_arena_array(&f->edit.graph->arena, 2 * FA_CHAIN_MOST, sizeof *numbers);
    int32_t y = node->out[0];
    if (!function || !numbers) return FA_ERR_MEMORY;
    for (int32_t k = 0; k < chain->n_step; k++) function[k] = chain->step[k].function, numbers[2 * k] = chain->step[k].a, numbers[2 * k + 1] = chain->step[k].b;
    FA_TRY(fa_edit_node(&f->edit, node->name, "Chain", FA_FAST_DOMAIN, 1, 1, 1, 2, &chain->node));
    if (from.twin >= 0) FA_TRY(fa_fast_new_twin(f, node->out[0], from.space, from.channels, &y));
    else f->image[y].exists = true;
    fa_node *made = &f->edit.graph->node[chain->node];
    made->in[0] = from.twin >= 0 ? from.twin : chain->source;
    made->out[0] = y;
    made->attr[0] = (fa_attr){.name = "functions", .kind = FA_ATTR_INTS, .count = chain->n_step, .ints = function};
    made->attr[1] = (fa_attr){.name = "numbers", .kind = FA_ATTR_FLOATS, .count = 2 * chain->n_step, .floats = numbers};
    f->chain[node->out[0]] = *chain;
    return FA_OK;
}

/* Whatever would read the chain at `value` reads a longer one. */
static void drop(fa_fast *f, int32_t value)
{
    fa_edit_remove_node(&f->edit, f->chain[value].node);
}

fa_status fa_fast_chain(fa_fast *f, int32_t n, bool *done)
{
    const fa_node *node = &f->base->node[n];
    fa_chain_of product = {.n_step = 0}, chain = {.n_step = 0};
    fa_chain_step step;
    int32_t x, gate = -1, readers = 1;
    if (node->n_in < 1 || node->in[0] < 0) return FA_OK;
    if (gated(f, node, &x, &gate, &product)) readers = f->readers[gate] == 1 && !f->kept[gate] ? 2 : 0;
    else if (step_of(f, node, &x, &step)) append(&product, step);
    else return FA_OK;
    if (x < 0 || x >= f->base->n_value || f->base->value[x].is_parameter) return FA_OK;
    /* What nothing else reads is passed through once more only if there is no room for another step. */
    const bool joins = f->chain[x].n_step && f->readers[x] == readers && !f->kept[x] && f->chain[x].n_step + product.n_step <= FA_CHAIN_MOST;
    if (joins) chain = f->chain[x];
    else chain.source = x;
    for (int32_t k = 0; k < product.n_step; k++) append(&chain, product.step[k]);
    if (gate >= 0 && readers == 2) drop(f, gate);
    if (joins) drop(f, x);
    FA_TRY(make_node(f, n, &chain));
    *done = true;
    return FA_OK;
}
