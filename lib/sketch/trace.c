/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/trace.h"

#include "backend/varied.h"
#include "base/context.h"
#include "base/error.h"
#include "sampler/diagnose.h"
#include "sketch/select.h"

#include <math.h>
#include <string.h>

static bool selected(void *user, const char *name)
{
    return fa_layer_selected(user, name);
}

static fa_status match(const fa_program *program, const fa_sketch_trace *t)
{
    int32_t n = fa_program_parameter_count(program);
    if (n != t->n_parameter)
        return fa_fail(FA_ERR_MISMATCH, "the sketch was made for another model: %d of its weights move in the sketch, %d in the model", t->n_parameter, n);
    for (int32_t i = 0; i < n; i++) {
        const fa_parameter *have = fa_program_parameter(program, i);
        const fa_trace_parameter *want = &t->parameter[i];
        if (have->rows != want->rows || have->count != want->rows * want->row_length)
            return fa_fail(FA_ERR_MISMATCH, "the sketch was made for another model: weight '%.100s' has %lld elements in the sketch, weight '%.100s' %lld in the model", want->name,
                           (long long)(want->rows * want->row_length), have->name, (long long)have->count);
    }
    if (fa_program_statistics_count(program) != t->n_statistics)
        return fa_fail(FA_ERR_MISMATCH, "the sketch was made for another model: it keeps %lld means and variances, the model has %lld", (long long)t->n_statistics,
                       (long long)fa_program_statistics_count(program));
    return FA_OK;
}

fa_status fa_trace_program(const fa_network *n, const fa_sketch_trace *t, fa_program **out)
{
    /* The pattern is only read. */
    fa_varied_options options = {.select = t->options.parameters ? selected : NULL, .user = (void *)(uintptr_t)t->options.parameters,
                                 .reestimate = t->options.batchnorm == FA_BATCHNORM_REESTIMATE};
    fa_program *program;
    FA_TRY(fa_program_vary(n->program, &options, &program));
    fa_status status = t->parameter ? match(program, t) : FA_OK;
    if (status != FA_OK) {
        fa_program_destroy(program);
        return status;
    }
    *out = program;
    return FA_OK;
}

fa_status fa_trace_lay_out(fa_arena *arena, fa_sketch_trace *t)
{
    int64_t *rows = fa_arena_array(arena, 2 * (size_t)t->n_parameter, sizeof *rows), *length = rows + t->n_parameter;
    if (!rows) return FA_ERR_MEMORY;
    t->layout = (fa_draw_layout){.n_parameter = t->n_parameter, .rows = rows, .row_length = length};
    for (int32_t i = 0; i < t->n_parameter; i++) {
        rows[i] = t->parameter[i].rows;
        length[i] = t->parameter[i].row_length;
        t->layout.n_row += rows[i];
        t->layout.n_weight += rows[i] * length[i];
    }
    t->draw_bytes = t->options.storage == FA_DRAWS_REPLAY ? 0 : fa_draw_bytes(&t->layout, t->options.storage);
    return FA_OK;
}

fa_status fa_trace_describe(const fa_program *program, fa_arena *arena, fa_sketch_trace *t)
{
    t->n_parameter = fa_program_parameter_count(program);
    t->n_statistics = fa_program_statistics_count(program);
    t->parameter = fa_arena_array(arena, (size_t)t->n_parameter, sizeof *t->parameter);
    if (!t->parameter) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < t->n_parameter; i++) {
        const fa_parameter *p = fa_program_parameter(program, i);
        t->parameter[i] = (fa_trace_parameter){.name = fa_arena_string(arena, p->name), .rows = p->rows, .row_length = p->count / p->rows};
        if (!t->parameter[i].name) return FA_ERR_MEMORY;
    }
    return fa_trace_lay_out(arena, t);
}

fa_status fa_trace_new(fa_sketch_body *b, const fa_trace_chain *from, int32_t chains)
{
    fa_sketch_trace *t = b->trace;
    fa_arena *a = &b->arena;
    t->n_chain = b->n_layer = chains;
    b->offset = fa_arena_array(a, (size_t)chains + 1, sizeof *b->offset);
    t->chain = fa_arena_array(a, (size_t)chains, sizeof *t->chain);
    if (!b->offset || !t->chain) return FA_ERR_MEMORY;
    memcpy(t->chain, from, (size_t)chains * sizeof *from);
    for (int32_t c = 0; c < chains; c++) b->offset[c + 1] = b->offset[c] + from[c].draws;
    size_t n = (size_t)b->n_reference, all = (size_t)b->offset[chains], cells, moments;
    if (!fa_mul_size(n, all, &cells) || !fa_mul_size(n, (size_t)chains, &moments)) return fa_fail_memory(SIZE_MAX);
    if (t->draw_bytes && !(t->draw = fa_arena_array(a, all, t->draw_bytes))) return FA_ERR_MEMORY;
    if (t->n_statistics) {
        size_t statistics;
        if (!fa_mul_size(all, (size_t)t->n_statistics, &statistics)) return fa_fail_memory(SIZE_MAX);
        if (!(t->statistics = fa_arena_array(a, statistics, sizeof *t->statistics))) return FA_ERR_MEMORY;
    }
    if (t->options.partial && !(t->common = fa_arena_array(a, all, sizeof *t->common))) return FA_ERR_MEMORY;
    t->loss = fa_arena_array(a, cells, sizeof *t->loss);
    t->mean = fa_arena_array(a, moments, sizeof *t->mean);
    t->deviation = fa_arena_array(a, moments, sizeof *t->deviation);
    return t->loss && t->mean && t->deviation ? fa_sketch_body_new_references(b) : FA_ERR_MEMORY;
}

/* Centres one trace chain by chain; its means and (population) standard deviations. */
static void centre(const fa_sketch_body *b, const float *loss, float *block, float *mean, float *deviation)
{
    for (int32_t c = 0; c < b->n_layer; c++) {
        int64_t first = b->offset[c], end = b->offset[c + 1];
        double sum = 0, squares = 0;
        for (int64_t t = first; t < end; t++) sum += (double)loss[t];
        double m = sum / (double)(end - first);
        for (int64_t t = first; t < end; t++) {
            double d = (double)loss[t] - m;
            squares += d * d;
            block[t] = (float)d;
        }
        mean[c] = (float)m;
        deviation[c] = (float)sqrt(squares / (double)(end - first));
    }
}

static void take_out(const float *common, int64_t n, float *block)
{
    double along = 0;
    for (int64_t t = 0; t < n; t++) along += (double)common[t] * (double)block[t];
    for (int64_t t = 0; t < n; t++) block[t] = (float)((double)block[t] - along * (double)common[t]);
}

void fa_trace_sign(const fa_sketch_body *b, int64_t n, const float *loss, float *block, float *mean, float *deviation)
{
    int64_t draws = b->offset[b->n_layer];
    for (int64_t i = 0; i < n; i++) {
        centre(b, loss + i * draws, block + i * draws, mean + i * b->n_layer, deviation + i * b->n_layer);
        if (b->trace->common) take_out(b->trace->common, draws, block + i * draws);
    }
}

/* The mean of the references' centred traces at unit length; zero when it has none. */
static void set_common(fa_sketch_body *b)
{
    float *common = b->trace->common;
    int64_t draws = b->offset[b->n_layer];
    double squares = 0;
    for (int64_t t = 0; t < draws; t++) {
        double sum = 0;
        for (int64_t i = 0; i < b->n_reference; i++) sum += (double)b->blocks[i * draws + t];
        common[t] = (float)(sum / (double)b->n_reference);
        squares += (double)common[t] * (double)common[t];
    }
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (int64_t t = 0; t < draws; t++) common[t] = (float)((double)common[t] * scale);
}

void fa_trace_sign_references(fa_sketch_body *b)
{
    fa_sketch_trace *t = b->trace;
    int64_t draws = b->offset[b->n_layer];
    for (int64_t i = 0; i < b->n_reference; i++)
        centre(b, t->loss + i * draws, b->blocks + i * draws, t->mean + i * b->n_layer, t->deviation + i * b->n_layer);
    if (!t->common) return;
    set_common(b);
    for (int64_t i = 0; i < b->n_reference; i++) take_out(t->common, draws, b->blocks + i * draws);
}

int32_t fa_trace_chain_of(const fa_sketch_body *b, int64_t t)
{
    int32_t c = 0;
    while (t >= b->offset[c + 1]) c++;
    return c;
}

void fa_trace_replay(const fa_sketch_body *b, int64_t t, const float *trained, float *weights)
{
    const fa_sketch_trace *trace = b->trace;
    const fa_trace_chain *chain = &trace->chain[fa_trace_chain_of(b, t)];
    fa_draw_replay(trained, trace->layout.n_weight, chain->seed, chain->id, t - b->offset[chain - trace->chain], (float)(1 / sqrt(trace->options.gamma)), weights);
}

void fa_trace_weights(const fa_sketch_body *b, int64_t t, const float *trained, float *weights)
{
    const fa_sketch_trace *trace = b->trace;
    if (trace->draw_bytes) fa_draw_decode(&trace->layout, trace->options.storage, trained, trace->draw + (size_t)t * trace->draw_bytes, weights);
    else fa_trace_replay(b, t, trained, weights);
}

const float *fa_trace_statistics(const fa_sketch_body *b, int64_t t)
{
    return b->trace->statistics ? b->trace->statistics + t * b->trace->n_statistics : NULL;
}

static double mean_loss(const fa_sketch_body *b, int64_t first, int64_t end)
{
    double sum = 0;
    int64_t draws = b->offset[b->n_layer];
    for (int64_t i = 0; i < b->n_reference; i++)
        for (int64_t t = first; t < end; t++) sum += (double)b->trace->loss[i * draws + t];
    return sum / (double)(b->n_reference * (end - first));
}

fa_status fa_trace_diagnose(fa_sketch_body *b)
{
    fa_sketch_trace *t = b->trace;
    int64_t draws = b->offset[b->n_layer];
    for (int32_t c = 0; c < t->n_chain; c++) {
        int64_t first = b->offset[c], n = t->chain[c].draws, own[2] = {0, n};
        t->chain[c].loss_before = t->loss_before;
        t->chain[c].loss_after = mean_loss(b, first + n - (n + 3) / 4, first + n);
        FA_TRY(fa_diagnose(b->arena.context, t->loss + first, b->n_reference, draws, own, 1, &t->chain[c].diagnosis));
    }
    t->loss_after = mean_loss(b, 0, draws);
    return fa_diagnose(b->arena.context, t->loss, b->n_reference, draws, b->offset, t->n_chain, &t->diagnosis);
}

void fa_trace_sizes(const fa_sketch_body *b, void (*count)(void *user, size_t n, size_t size), void *user)
{
    const fa_sketch_trace *t = b->trace;
    size_t draws = (size_t)b->offset[b->n_layer], n = (size_t)b->n_reference, chains = (size_t)t->n_chain, parameters = (size_t)t->n_parameter;
    count(user, 1, sizeof *t);
    count(user, parameters, sizeof *t->parameter);
    for (size_t i = 0; i < parameters; i++) count(user, strlen(t->parameter[i].name) + 1, 1);
    count(user, 2 * parameters, sizeof(int64_t));
    count(user, chains, sizeof *t->chain);
    if (t->draw_bytes) count(user, draws, t->draw_bytes);
    if (t->n_statistics) count(user, draws, (size_t)t->n_statistics * sizeof(float));
    if (t->options.partial) count(user, draws, sizeof(float));
    count(user, n * draws, sizeof(float));
    for (int i = 0; i < 2; i++) count(user, n * chains, sizeof(float)); /* mean, deviation */
}
