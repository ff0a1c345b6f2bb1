/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/batch_place.h"

#include <string.h>

/*
 * A value's elements, in order, are [outer, batch, step]: `step` says where input i's are, whatever the shape calls the axes, so reshaping leaves it alone and
 * only what moves axes changes it. It is followed from the model's inputs, where the batch comes first. Shapes alone would not do: a sequence may be as long as
 * the batch, and exporters flatten [sequence, batch] into the rows of a matrix.
 */

typedef struct follow {
    const fa_graph *graph;
    const fa_plan *plan;
    int64_t batch;
    int64_t *step;
} follow;

/* Elements of all axes behind axis `k`. */
static int64_t behind(const fa_view *v, int32_t k)
{
    int64_t n = 1;
    for (int32_t i = k + 1; i < v->ndim; i++) n *= v->dim[i];
    return n;
}

/* The axis in which the batch lies, as [before, batch, *within]; -1 when it is spread over several. */
static int32_t axis_of(const fa_view *v, int64_t step, int64_t batch, int64_t *within)
{
    for (int32_t k = 0; k < v->ndim; k++) {
        const int64_t size = behind(v, k);
        if (step < size || step >= size * v->dim[k]) continue;
        *within = step / size;
        return step % size || v->dim[k] % (*within * batch) ? -1 : k;
    }
    return -1;
}

static bool is_one_of(const fa_node *node, const char *const *ops)
{
    if (node->domain[0]) return false;
    for (; *ops; ops++)
        if (strcmp(node->op, *ops) == 0) return true;
    return false;
}

static int64_t first(const follow *f, const fa_view *out)
{
    return out->ndim > 0 && out->dim[0] == f->batch ? out->count / f->batch : FA_BATCH_UNKNOWN;
}

static bool is_first(const follow *f, const fa_view *v, int64_t step)
{
    return v->ndim > 0 && v->dim[0] == f->batch && step == v->count / f->batch;
}

static int64_t transposed(const follow *f, const fa_node *node, const fa_view *in, const fa_view *out, int64_t step)
{
    int64_t within, count;
    const int64_t *perm = fa_node_ints(node, "perm", &count);
    const int32_t k = axis_of(in, step, f->batch, &within);
    for (int32_t i = 0; k >= 0 && i < out->ndim; i++)
        if ((perm && count == out->ndim ? perm[i] : out->ndim - 1 - i) == k) return within * behind(out, i);
    return FA_BATCH_UNKNOWN;
}

/* Rows times a constant stay rows. */
static int64_t rows(const fa_view *a, int64_t step, const fa_view *out)
{
    const int64_t columns = a->ndim > 1 ? a->dim[a->ndim - 1] : 0;
    return columns && step % columns == 0 ? step / columns * out->dim[out->ndim - 1] : FA_BATCH_UNKNOWN;
}

/* A batch of matrices stays one where both sides have it. */
static int64_t multiplied(const follow *f, const fa_view *a, int64_t step_a, const fa_view *b, int64_t step_b, const fa_view *out)
{
    if (!step_b) return rows(a, step_a, out);
    const fa_view *sides[] = {a, b};
    const int64_t steps[] = {step_a, step_b};
    int64_t step = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t matrix = sides[i]->ndim > 2 ? behind(sides[i], sides[i]->ndim - 3) : 0;
        if (!steps[i]) continue;
        if (!matrix || steps[i] % matrix || sides[i]->ndim != out->ndim) return FA_BATCH_UNKNOWN;
        const int64_t at = steps[i] / matrix * behind(out, out->ndim - 3);
        if (step && step != at) return FA_BATCH_UNKNOWN;
        step = at;
    }
    return step && out->count % (step * f->batch) == 0 ? step : FA_BATCH_UNKNOWN;
}

/* Attention: in one of the axes in front of its matrices, the same for queries, keys and values as their permutations show them; y is permuted back. */
static int64_t attended(const follow *f, const fa_node *node, const fa_view *const *in, const int64_t *step, const fa_view *out)
{
    static const char *const name[] = {"q_perm", "k_perm", "v_perm"};
    int64_t count, within, share = 0;
    int32_t axis = -1;
    if (out != fa_plan_value(f->plan, node->out[0])) return FA_BATCH_UNKNOWN;
    for (int32_t i = 0; i < node->n_in; i++) {
        if (!step[i]) continue;
        const int64_t *perm = i < 3 ? fa_node_ints(node, name[i], &count) : NULL;
        const int32_t k = axis_of(in[i], step[i], f->batch, &within), lead = out->ndim - in[i]->ndim;
        int32_t to = k;
        for (int32_t a = 0; perm && a < in[i]->ndim; a++)
            if (perm[a] == k) to = a;
        if (k < 0 || lead < 0 || to + lead >= out->ndim - 2 || (axis >= 0 && (axis != to + lead || share != within))) return FA_BATCH_UNKNOWN;
        axis = to + lead;
        share = within;
    }
    const int64_t *perm = fa_node_ints(node, "y_perm", &count);
    for (int32_t a = 0; a < out->ndim && axis >= 0; a++)
        if ((perm ? perm[a] : a) == axis) return share * behind(out, a);
    return FA_BATCH_UNKNOWN;
}

/* Along one axis by indices: those behind it move. */
static int64_t gathered(const follow *f, const fa_node *node, const fa_view *const *in, const int64_t *step, const fa_view *out)
{
    int64_t axis = fa_node_int(node, "axis", 0), within;
    if (axis < 0) axis += in[0]->ndim;
    if (step[0] && step[1]) return FA_BATCH_UNKNOWN;
    int32_t k = axis_of(in[step[0] ? 0 : 1], step[step[0] ? 0 : 1], f->batch, &within);
    if (k < 0 || (step[0] && k == axis)) return FA_BATCH_UNKNOWN;
    if (!step[0]) k += (int32_t)axis;
    else if (k > axis) k += in[1]->ndim - 1;
    return k < out->ndim ? within * behind(out, k) : FA_BATCH_UNKNOWN;
}

/* The axes reduced are gone, unless they are kept; those before the batch's let it move up. */
static int64_t reduced(const follow *f, const fa_node *node, const fa_view *const *in, int64_t step, const fa_view *out)
{
    int64_t within, count;
    const int64_t *axes = fa_node_ints(node, "axes", &count);
    const int32_t k = axis_of(in[0], step, f->batch, &within);
    if (!axes && node->n_in > 1 && in[1]) {
        axes = in[1]->data;
        count = in[1]->count;
    }
    int32_t to = k;
    for (int64_t i = 0; axes && i < count; i++) {
        const int64_t axis = axes[i] < 0 ? axes[i] + in[0]->ndim : axes[i];
        if (axis == k) return FA_BATCH_UNKNOWN;
        to -= axis < k && out->ndim < in[0]->ndim;
    }
    return axes && k >= 0 && to >= 0 && to < out->ndim ? within * behind(out, to) : FA_BATCH_UNKNOWN;
}

/* Recurrent layers: X [sequence, batch, ...], Y [sequence, directions, batch, hidden], Y_h and Y_c [directions, batch, hidden]; or the batch first in all. */
static int64_t recurred(const follow *f, const fa_node *node, const fa_view *x, int64_t step, const fa_view *out)
{
    int64_t within;
    if (fa_node_int(node, "layout", 0)) return is_first(f, x, step) ? first(f, out) : FA_BATCH_UNKNOWN;
    return axis_of(x, step, f->batch, &within) == 1 && within == 1 && x->dim[1] == f->batch ? behind(out, out->ndim - 2) : FA_BATCH_UNKNOWN;
}

/* What keeps axes where they are, lined up at the last: arithmetic, activations, slices, joins. */
static int64_t kept(const follow *f, const fa_view *in, int64_t step, const fa_view *out)
{
    int64_t within;
    const int32_t k = axis_of(in, step, f->batch, &within), to = k + out->ndim - in->ndim;
    return k >= 0 && out->ndim >= in->ndim && out->dim[to] == in->dim[k] ? within * behind(out, to) : FA_BATCH_UNKNOWN;
}

/* Where the batch lies in an output, given that some input depends on it. */
static int64_t output_step(const follow *f, const fa_node *node, const fa_view *const *in, const int64_t *step, int32_t n_in, const fa_view *out)
{
    static const char *const reshapes[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", NULL};
    static const char *const mixes[] = {"Conv", "ConvTranspose", "Einsum", "BatchNormalization", "InstanceNormalization", "GroupNormalization", NULL};
    static const char *const recurrent[] = {"LSTM", "GRU", "RNN", NULL};
    const bool plain = !node->domain[0];
    if (is_one_of(node, recurrent) && in[0]) return recurred(f, node, in[0], step[0], out);
    if (plain && strncmp(node->op, "Reduce", 6) == 0 && in[0] && !is_first(f, in[0], step[0])) return reduced(f, node, in, step[0], out);
    if (is_one_of(node, reshapes)) return out->count == in[0]->count ? step[0] : FA_BATCH_UNKNOWN;
    if (plain && strcmp(node->op, "Transpose") == 0) return transposed(f, node, in[0], out, step[0]);
    if (plain && strcmp(node->op, "MatMul") == 0 && in[0] && in[1]) return multiplied(f, in[0], step[0], in[1], step[1], out);
    if (plain && strcmp(node->op, "Gemm") == 0 && in[0] && !step[1] && !fa_node_int(node, "transA", 0)) return rows(in[0], step[0], out);
    if (!plain && strcmp(node->op, "Attention") == 0) return attended(f, node, in, step, out);
    if (!plain && strcmp(node->op, "GemmFast") == 0) return rows(in[0], step[0], out);
    if (plain && strcmp(node->op, "Gather") == 0 && in[0] && in[1]) return gathered(f, node, in, step, out);
    bool all_first = true, agree = plain ? !is_one_of(node, mixes) : strcmp(node->op, "ReluDone") == 0 || strcmp(node->op, "Chain") == 0;
    int64_t found = 0;
    for (int32_t i = 0; i < n_in; i++) {
        if (!step[i]) continue;
        const int64_t at = kept(f, in[i], step[i], out);
        all_first &= is_first(f, in[i], step[i]);
        agree &= at != FA_BATCH_UNKNOWN && (!found || found == at);
        found = at;
    }
    return all_first ? first(f, out) : agree ? found : FA_BATCH_UNKNOWN;
}

static fa_status follow_node(const follow *f, const fa_node *node, fa_arena *work)
{
    const fa_view **in = fa_arena_array(work, (size_t)node->n_in + 2, sizeof *in);
    int64_t *step = fa_arena_array(work, (size_t)node->n_in + 2, sizeof *step);
    if (!in || !step) return FA_ERR_MEMORY;
    bool depends = false, unknown = false;
    for (int32_t i = 0; i < node->n_in; i++) {
        in[i] = node->in[i] >= 0 ? fa_plan_value(f->plan, node->in[i]) : NULL;
        step[i] = in[i] && !in[i]->data ? f->step[node->in[i]] : 0;
        depends |= step[i] != 0;
        unknown |= step[i] == FA_BATCH_UNKNOWN;
    }
    for (int32_t o = 0; depends && o < node->n_out; o++) {
        const fa_view *out = node->out[o] >= 0 ? fa_plan_value(f->plan, node->out[o]) : NULL;
        if (!out || out->data) continue;
        f->step[node->out[o]] = f->batch == 1 ? out->count : unknown ? FA_BATCH_UNKNOWN : output_step(f, node, in, step, node->n_in, out);
    }
    return FA_OK;
}

fa_status fa_batch_place(const fa_graph *graph, const fa_plan *plan, int64_t batch, fa_arena *arena, int64_t **out)
{
    follow f = {graph, plan, batch, fa_arena_array(arena, (size_t)graph->n_value + 1, sizeof *f.step)};
    fa_status status = f.step ? FA_OK : FA_ERR_MEMORY;
    for (int32_t i = 0; i < graph->n_input && status == FA_OK; i++) {
        const fa_view *v = fa_plan_value(plan, graph->input[i]);
        if (v) f.step[graph->input[i]] = v->count / batch;
    }
    fa_arena work = {.context = arena->context};
    for (int32_t n = 0; n < graph->n_node && status == FA_OK; n++) status = follow_node(&f, &graph->node[n], &work);
    fa_arena_clear(&work);
    *out = f.step;
    return status;
}
