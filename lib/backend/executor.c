/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/batch_place.h"
#include "backend/engine.h"
#include "base/error.h"
#include "base/pool.h"
#include "graph/plan.h"

#include <string.h>

/* Inputs run together between two of the sums over the whole batch that re-estimated BatchNormalization takes: enough for the kernels, few enough for the second-level cache. */
enum { SLICE = 16 };

/* The engine that runs graphs: a plan on the program's operators, and a run of it. */
typedef struct executor {
    const fa_program_graph *network; /* the program's that this pass runs */
    fa_plan *plan;
    fa_run *run;
    int32_t n_tap;
    int32_t *tap_layer; /* [n_tap] layer of each tap */
} executor;

static bool trains(const fa_pass *p)
{
    const executor *e = p->state;
    return e->network == &p->program->training;
}

static fa_status set_geometry(fa_pass *p)
{
    const executor *e = p->state;
    const fa_layers *layers = &e->network->layers;
    int64_t *step;
    FA_TRY(fa_batch_place(e->network->graph, e->plan, p->batch, &p->arena, &step));
    for (int32_t t = 0; t < e->n_tap; t++) {
        int32_t l = e->tap_layer[t];
        const fa_node *node = &e->network->graph->node[layers->node[l]];
        const int32_t from = node->in[fa_layer_input(&layers->layer[l])];
        const fa_view *a = fa_plan_value(e->plan, from), *d = fa_plan_value(e->plan, node->out[0]);
        if (!a || !d) continue; /* the logits do not depend on this layer: never visited, no signal */
        FA_TRY(fa_layer_geometry(&layers->layer[l], node, a, d, p->batch, step[from], &p->geometry[l]));
        p->geometry[l].layer = l;
    }
    return FA_OK;
}

static void find_inputs(fa_pass *p)
{
    const executor *e = p->state;
    const fa_graph *g = e->network->graph;
    for (int32_t i = 0; i < g->n_input; i++) {
        p->input[i] = (fa_pass_input){.name = g->value[g->input[i]].name, .view = fa_run_value(e->run, g->input[i]), .to = fa_run_input(e->run, i)};
        p->input[i].rows = fa_lookup_rows(g, e->plan, i, &p->input[i].node);
    }
}

/* Elements of a channel that a normalisation takes its statistics of, in a full batch. */
static int64_t normalised(const fa_pass *p, const fa_batchnorm *norm)
{
    const executor *e = p->state;
    const fa_graph *g = e->network->graph;
    const fa_view *x = fa_plan_value(e->plan, g->node[g->value[norm->mean].producer].in[0]);
    return x->count / norm->channels;
}

static fa_status set_weights(fa_pass *pass, const float *weights, const float *statistics)
{
    const executor *e = pass->state;
    const fa_parameters *p = &pass->program->parameters;
    if (!statistics) statistics = p->trained + p->weights;
    for (int32_t i = 0; i < p->count; i++) fa_run_set(e->run, p->value[i], weights + p->parameter[i].offset);
    for (int32_t i = 0; i < p->n_statistic; i++) fa_run_set(e->run, p->statistic[i], statistics + p->statistic_at[i]);
    fa_run_prepare(e->run);
    return FA_OK;
}

static fa_status begin_varied(fa_pass *pass)
{
    const executor *e = pass->state;
    const fa_program *program = pass->program;
    for (int32_t i = 0; trains(pass) && i < program->norms.count; i++) {
        const fa_batchnorm *norm = &program->norms.norm[i];
        if (fa_plan_value(e->plan, norm->mean)->count != norm->channels)
            return fa_fail(FA_ERR_SHAPE, "node '%s': statistics of %lld channels for images of %lld", norm->name, (long long)norm->channels,
                           (long long)fa_plan_value(e->plan, norm->mean)->count);
        if (normalised(pass, norm) < 2) return fa_fail(FA_ERR_ARGUMENT, "node '%s': a batch of one element per channel has no variance", norm->name);
    }
    return set_weights(pass, program->parameters.trained, NULL);
}

static fa_status create(fa_pass *p, const fa_pass_request *r)
{
    const fa_program *program = p->program;
    executor *e = p->state = fa_arena_new(&p->arena, sizeof *e);
    if (!e) return FA_ERR_MEMORY;
    const fa_layers *layers = &program->evaluation.layers;
    bool back = p->gradient;
    for (int32_t l = 0; r->tapped && l < layers->count; l++) back |= r->tapped[l];
    e->network = r->gradient && program->training.graph ? &program->training : &program->evaluation;
    if (back && !trains(p)) FA_TRY(fa_program_with_gradients(program, &e->network));
    const fa_graph *g = e->network->graph;
    layers = &e->network->layers;
    size_t room = (size_t)layers->count + 1;
    int64_t fixed = fa_graph_fixed_batch(g);
    p->batch = fixed ? fixed : r->batch;
    p->n_input = g->n_input;
    p->input = fa_arena_array(&p->arena, (size_t)g->n_input + 1, sizeof *p->input);
    e->tap_layer = fa_arena_array(&p->arena, room, sizeof *e->tap_layer);
    p->geometry = fa_arena_array(&p->arena, room, sizeof *p->geometry);
    int32_t *taps = fa_arena_array(&p->arena, room, sizeof *taps), *tap_input = fa_arena_array(&p->arena, room, sizeof *tap_input), *wanted = fa_arena_array(&p->arena, 2 * (size_t)program->norms.count + 1, sizeof *wanted), n_wanted = 0;
    if (!p->input || !e->tap_layer || !p->geometry || !taps || !tap_input || !wanted) return FA_ERR_MEMORY;
    for (int32_t l = 0; r->tapped && l < layers->count; l++) {
        if (!r->tapped[l]) continue;
        e->tap_layer[e->n_tap] = l;
        tap_input[e->n_tap] = fa_layer_input(&layers->layer[l]);
        taps[e->n_tap++] = layers->node[l];
    }
    wanted[n_wanted++] = program->logits;
    for (int32_t i = 0; trains(p) && i < program->norms.count; i++) {
        wanted[n_wanted++] = program->norms.norm[i].mean;
        wanted[n_wanted++] = program->norms.norm[i].variance;
    }
    fa_view *inputs = NULL;
    FA_TRY(fa_pass_input_views(p, r, g, &inputs));
    fa_plan_request request = {.graph = g, .context = r->context, .ops = program->ops, .inputs = inputs, .wanted = wanted, .n_wanted = n_wanted,
                               .loss = e->n_tap || p->gradient ? program->logits : -1, .tap = taps, .tap_input = tap_input, .n_tap = e->n_tap,
                               .wrt = program->parameters.value, .n_wrt = p->gradient ? program->parameters.count : 0, .threads = r->pool ? fa_pool_threads(r->pool) : 0, .slice = trains(p) ? SLICE : 0};
    FA_TRY(fa_plan_create(&request, &e->plan));
    const fa_view *output = fa_plan_value(e->plan, program->logits);
    FA_TRY(fa_head_fit(r->loss, output, p->batch, g->value[program->logits].name, output->data != NULL, &p->head));
    FA_TRY(set_geometry(p));
    for (int32_t t = 0; t < e->n_tap; t++) p->geometry[e->tap_layer[t]].pool = r->pool;
    if (r->workspace) FA_TRY(fa_plan_reserve(e->plan, r->workspace(r->workspace_user, p)));
    FA_TRY(fa_run_create_beside(e->plan, p->arena.context, r->beside ? ((const executor *)r->beside->state)->run : NULL, &e->run));
    if (r->workspace) p->workspace = fa_run_workspace(e->run);
    fa_run_share(e->run, r->pool);
    find_inputs(p);
    p->flops_forward = fa_plan_flops_forward(e->plan) / (double)p->batch;
    p->flops_backward = fa_plan_flops_backward(e->plan) / (double)p->batch;
    p->bytes = fa_plan_arena_bytes(e->plan);
    return program->parameters.count ? begin_varied(p) : FA_OK;
}

static void destroy(fa_pass *p)
{
    executor *e = p->state;
    if (!e) return;
    fa_run_destroy(e->run);
    fa_plan_destroy(e->plan);
}

static fa_status forward(fa_pass *p)
{
    const executor *e = p->state;
    fa_run_forward(e->run);
    p->logits = fa_run_value(e->run, p->program->logits)->data;
    p->at_logits = fa_run_loss_gradient(e->run);
    return FA_OK;
}

static void visit_tap(void *user, int32_t index, const fa_run *run, const void *grad)
{
    fa_pass *p = user;
    const executor *e = p->state;
    int32_t layer = e->tap_layer[index];
    fa_tap tap = p->geometry[layer];
    tap.n = p->n;
    const void *from = fa_run_value(run, e->network->graph->node[e->network->layers.node[layer]].in[tap.lookup])->data;
    if (tap.lookup) tap.index = from;
    else tap.a = from;
    tap.d = grad;
    p->visit(p->user, &tap);
}

static fa_status backward(fa_pass *p)
{
    const executor *e = p->state;
    fa_run_backward(e->run, visit_tap, p);
    return FA_OK;
}

static fa_status add_gradient(fa_pass *pass, float scale, float *gradient)
{
    const executor *e = pass->state;
    const fa_parameters *p = &pass->program->parameters;
    fa_run_backward(e->run, NULL, NULL);
    for (int32_t i = 0; i < p->count; i++) {
        const float *from = fa_run_gradient(e->run, i);
        float *to = gradient + p->parameter[i].offset;
        for (int64_t k = 0; from && k < p->parameter[i].count; k++) to[k] += scale * from[k];
    }
    return FA_OK;
}

static void move_statistics(const fa_pass *pass, float *statistics)
{
    const executor *e = pass->state;
    const fa_batchnorms *norms = &pass->program->norms;
    for (int32_t i = 0; i < norms->count; i++) {
        const fa_batchnorm *b = &norms->norm[i];
        const float *mean = fa_run_value(e->run, b->mean)->data, *variance = fa_run_value(e->run, b->variance)->data;
        const double n = (double)normalised(pass, b), unbiased = n / (n - 1);
        for (int64_t c = 0; c < b->channels; c++) {
            float *m = &statistics[b->mean_at + c], *v = &statistics[b->variance_at + c];
            *m = (float)(b->momentum * (double)*m + (1 - b->momentum) * (double)mean[c]);
            *v = (float)(b->momentum * (double)*v + (1 - b->momentum) * unbiased * (double)variance[c]);
        }
    }
}

static size_t kept_bytes(const fa_pass *pass)
{
    const executor *e = pass->state;
    return fa_plan_kept_bytes(e->plan);
}

static void keep_weights(const fa_pass *pass, void *kept)
{
    const executor *e = pass->state;
    fa_run_keep(e->run, kept);
}

static void use_weights(fa_pass *pass, const void *kept)
{
    const executor *e = pass->state;
    fa_run_use(e->run, kept);
}

const fa_engine fa_engine_graph = {fa_program_vary_graph, create, destroy, forward, backward, add_gradient, set_weights, move_statistics, kept_bytes, keep_weights, use_weights};
