/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model and a scorer take from the context's allocator beside the least they could: bench-memory [--once] MODEL.onnx D,D,... BATCH,BATCH,... ... D,D,... is the shape of one input. A line of
 * JSON per model and batch, in bytes.
 *
 * minimum: the file's weights once, and the largest sum of values and gradients that one step of a score's schedule needs, by their lifetimes (fa_plan_memory_of); ratio: model and scorer over it.
 * --once: with FA_PACKING_ONCE. loaded_bytes: the model before anything went backward. Of the scorer, `placed` is what those values take where they are, `scratch` the workspace of its kernels, and the rest (projections, couplings, solver, a plan for single inputs beside that
 * for a batch) is the method's own. Sketches are of REFERENCES made-up inputs; `sketch` is what one takes.
 */
#include "bench.h"
#include "backend/program.h"
#include "base/context.h"
#include "graph/array.h"
#include "graph/plan.h"
#include "kernels/kernels.h"
#include "kernels/normal.h"
#include "onnx/onnx.h"
#include "score/scorer.h"

#include <fattr/fattr.h>

#define REFERENCES 4

typedef struct job {
    const char *path;
    int64_t shape[FA_MAX_DIMS]; /* [ndim] from 1: of one input */
    int32_t ndim;
} job;

static size_t weights(const fa_graph *g)
{
    size_t bytes = 0;
    for (int32_t v = 0; v < g->n_value; v++)
        if (g->value[v].is_initialiser) bytes += (size_t)g->value[v].view.count * fa_dtype_size(g->value[v].view.dtype);
    return bytes;
}

/* The plan of a score's passes over `batch` inputs. */
static fa_plan_memory planned(const job *j, int32_t packing, int64_t batch, size_t *weight_bytes)
{
    fa_context *context;
    fa_graph *g;
    fa_program *program;
    fa_plan *plan;
    int64_t dim[FA_MAX_DIMS];
    memcpy(dim, j->shape, sizeof dim);
    dim[0] = batch;
    need(fa_context_create(NULL, &context));
    need(fa_onnx_read_file(context, j->path, &g));
    const int32_t logits = g->output[0];
    need(fa_program_create_in(g, logits, context->kernels, FA_PRECISION_F32, packing, &program));
    const fa_program_graph *e;
    need(fa_program_with_gradients(program, &e));
    fa_view input = {.dtype = g->value[g->input[0]].dtype};
    if (e->graph->n_input != 1 || !fa_view_set_shape(&input, j->ndim, dim)) exit(1);
    int32_t *tap_input = memory((size_t)(e->layers.count + 1) * sizeof *tap_input);
    for (int32_t l = 0; l < e->layers.count; l++) tap_input[l] = fa_layer_input(&e->layers.layer[l]);
    need(fa_plan_create(&(fa_plan_request){.graph = e->graph, .context = context, .ops = program->ops, .inputs = &input, .wanted = &logits, .n_wanted = 1, .loss = logits,
                                           .tap = e->layers.node, .tap_input = tap_input, .n_tap = e->layers.count}, &plan));
    const fa_plan_memory m = fa_plan_memory_of(plan);
    *weight_bytes = weights(g);
    fa_plan_destroy(plan);
    fa_program_destroy(program);
    fa_graph_destroy(g);
    fa_context_release(context);
    free(tap_input);
    return m;
}

static fa_sketch *sketch_of(fa_context *context, const fa_model *model, const job *j)
{
    fa_value_info info;
    fa_refset *set;
    fa_sketch *sketch;
    fa_sketch_options options;
    int64_t dim[FA_MAX_DIMS], count = 1;
    memcpy(dim, j->shape, sizeof dim);
    dim[0] = REFERENCES;
    for (int32_t d = 0; d < j->ndim; d++) count *= dim[d];
    need(fa_model_get_input(model, 0, &info));
    const bool real = info.dtype == FA_FLOAT32;
    void *data = memory((size_t)count * sizeof(int64_t));
    if (real) fa_normal(1, 2, 0, count, data);
    for (int64_t i = 0; !real && i < count; i++) ((int64_t *)data)[i] = i * 7919 % 1000;
    need(fa_refset_create(context, &(fa_array){data, dim, j->ndim, real ? FA_FLOAT32 : FA_INT64, NULL}, 1, NULL, &set));
    fa_sketch_options_init(&options, sizeof options);
    options.batch = 1;
    need(fa_sketch_build(model, set, NULL, &options, &sketch));
    fa_refset_release(set);
    free(data);
    return sketch;
}

static void measure(const job *j, const fa_model *model, const fa_sketch *sketch, size_t loaded_bytes, size_t model_bytes, size_t sketch_bytes, fa_context *context, int32_t packing, int32_t batch)
{
    size_t weight_bytes;
    const size_t before = fa_context_memory_used(context);
    fa_scorer_options options;
    fa_scorer *scorer;
    fa_scorer_options_init(&options, sizeof options);
    options.max_batch = batch;
    need(fa_scorer_create(sketch, model, &options, &scorer));
    const size_t bytes = fa_context_memory_used(context) - before;
    const int64_t together = batch > 1 ? scorer->current->many.batch : 1; /* a scorer takes large batches in parts */
    const fa_plan_memory m = planned(j, packing, together, &weight_bytes);
    const size_t minimum = weight_bytes + m.live;
    printf("{\"model\": \"%s\", \"batch\": %d, \"together\": %lld, \"weights\": %zu, \"live\": %zu, \"minimum\": %zu, \"loaded_bytes\": %zu, \"model_bytes\": %zu, \"scorer_bytes\": %zu, \"placed\": %zu, \"scratch\": %zu, "
           "\"sketch_bytes\": %zu, \"placed_over_live\": %.3f, \"ratio\": %.3f}\n",
           j->path, batch, (long long)together, weight_bytes, m.live, minimum, loaded_bytes, model_bytes, bytes, m.placed, m.scratch, sketch_bytes, (double)m.placed / (double)m.live, (double)(model_bytes + bytes) / (double)minimum);
    fflush(stdout);
    fa_scorer_destroy(scorer);
}

int main(int argc, char **argv)
{
    fa_model_options options;
    fa_model_options_init(&options, sizeof options);
    if (argc > 1 && strcmp(argv[1], "--once") == 0) options.packing = FA_PACKING_ONCE, argv++, argc--;
    if (argc < 4 || argc % 3 != 1) {
        fprintf(stderr, "bench-memory [--once] MODEL.onnx D,D,... BATCH,BATCH,... ...\n");
        return 1;
    }
    for (int i = 1; i < argc; i += 3) {
        job j = {.path = argv[i], .ndim = 1};
        fa_context *context;
        fa_model *model;
        for (char *p = argv[i + 1]; *p && j.ndim < FA_MAX_DIMS; p += *p == ',') j.shape[j.ndim++] = strtoll(p, &p, 10);
        need(fa_context_create(NULL, &context));
        need(fa_model_load_file(context, j.path, &options, &model));
        const size_t loaded_bytes = fa_context_memory_used(context);
        fa_sketch_release(sketch_of(context, model, &j));
        const size_t model_bytes = fa_context_memory_used(context); /* with what the first backward pass has packed */
        fa_sketch *sketch = sketch_of(context, model, &j);
        const size_t sketch_bytes = fa_context_memory_used(context) - model_bytes;
        for (char *p = argv[i + 2]; *p; p += *p == ',') measure(&j, model, sketch, loaded_bytes, model_bytes, sketch_bytes, context, options.packing, (int32_t)strtol(p, &p, 10));
        fa_sketch_release(sketch);
        fa_model_release(model);
        fa_context_release(context);
    }
    return 0;
}
