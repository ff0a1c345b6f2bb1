/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings as layers: what a lookup's taps say is the gradient of its table, which a product may share. */
#include "backend/pass.h"
#include "graph/plan.h"
#include "onnx/onnx.h"
#include "ops/table.h"
#include "small_models.h"

#include <math.h>

#define TOKENS 11
#define LENGTH 5
#define WIDTH 6
#define BATCH 4

static fa_context *context;

static void setup(void)
{
    OK(fa_context_create(NULL, &context));
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

/* ids -> word + kind (looked up twice in one table) -> tanh(flat times w) -> times the word table, turned: by MatMul or by Gemm with a bias. */
static fa_graph *network(bool gemm, bool tied)
{
    net g = {0};
    fa_graph *out;
    net_tokens(&g, "ids", LENGTH);
    net_weight(&g, "word", TOKENS, WIDTH, 0.7f);
    net_weight(&g, "kind", TOKENS, WIDTH, 0.7f);
    net_weight(&g, "w", LENGTH * WIDTH, WIDTH, 0.3f);
    net_weight(&g, "other", WIDTH, TOKENS, 0.7f);
    net_weight(&g, "b", TOKENS, 0, 0.2f);
    net_node(&g, "Gather", "word", "ids", NULL, "by_word");
    net_node(&g, "Gather", "kind", "ids", NULL, "by_kind");
    net_node(&g, "Tanh", "by_kind", NULL, NULL, "bent");
    net_node(&g, "Gather", "kind", "ids", NULL, "by_kind_again");
    net_node(&g, "Add", "by_word", "bent", NULL, "sum");
    net_node(&g, "Mul", "sum", "by_kind_again", NULL, "embedded");
    net_node(&g, "Flatten", "embedded", NULL, NULL, "flat");
    net_node(&g, "Gemm", "flat", "w", NULL, "fc");
    net_node(&g, "Tanh", "fc", NULL, NULL, "h");
    net_node(&g, "Transpose", "word", NULL, NULL, "word_turned");
    if (gemm) net_node(&g, "Gemm", "h", tied ? "word_turned" : "other", "b", "logits");
    else net_node(&g, "MatMul", "h", tied ? "word_turned" : "other", NULL, "logits");
    net_output(&g, "logits", TOKENS);
    bytes file = net_file(&g);
    OK(fa_onnx_read_memory(context, file.data, file.n, NULL, &out));
    free(file.data);
    return out;
}

static int64_t token(int64_t input, int64_t place)
{
    return (7 * input + 3 * place * place) % TOKENS - (input == 1 && place == 2 ? TOKENS : 0); /* one counts from the table's end */
}

/* Blocks under identity projections: whole gradients, [in, out] of each input, block by block. */
typedef struct taken {
    const fa_program *program;
    double *sum[8]; /* by block: [BATCH, in, out] */
    float *A[8], *G[8];
} taken;

static float *identity(int64_t n)
{
    float *p = calloc((size_t)(n * n), sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i * n + i] = 1;
    return p;
}

static void visit(void *user, const fa_tap *tap)
{
    taken *t = user;
    const fa_layer *l = fa_program_layer(t->program, tap->layer);
    const fa_tap_ops *ops = fa_program_tap_ops(t->program);
    float *p_in = identity(l->in), *p_out = identity(l->out), *block = calloc((size_t)(BATCH * l->in * l->out), sizeof *block);
    void *packed = aligned_alloc(64, (ops->packed_size(tap, l->in, l->out) + 63) / 64 * 64), *scratch = aligned_alloc(64, (ops->scratch(tap, l->in, l->out) + 63) / 64 * 64);
    void *rows = aligned_alloc(64, (ops->moments_scratch(tap) + 63) / 64 * 64);
    ops->pack(tap, p_in, l->in, p_out, l->out, packed);
    ops->blocks(tap, packed, l->in, l->out, block, l->in * l->out, scratch);
    if (!t->sum[l->block]) {
        t->sum[l->block] = calloc((size_t)(BATCH * l->in * l->out), sizeof(double));
        t->A[l->block] = calloc((size_t)(l->in * l->in), sizeof(float));
        t->G[l->block] = calloc((size_t)(l->out * l->out), sizeof(float));
    }
    for (int64_t k = 0; k < BATCH * l->in * l->out; k++) t->sum[l->block][k] += (double)block[k];
    ops->moments(tap, t->A[l->block], t->G[l->block], rows);
    free(p_in);
    free(p_out);
    free(block);
    free(packed);
    free(scratch);
    free(rows);
}

/* The gradient of an initialiser for one input alone, by the graph's own backward pass. */
static void whole_gradient(const fa_graph *g, int64_t input, const char *name, float *out)
{
    const int32_t value = fa_graph_find_value(g, name);
    fa_view ids = {.dtype = FA_INT64};
    fa_plan *plan;
    fa_run *run;
    fa_head head;
    fa_position position;
    fa_loss loss;
    ck_assert(fa_view_set_shape(&ids, 2, (int64_t[]){1, LENGTH}));
    OK(fa_plan_create(&(fa_plan_request){.graph = g, .ops = &fa_op_table_f32, .inputs = &ids, .wanted = g->output, .n_wanted = 1, .loss = g->output[0], .wrt = &value, .n_wrt = 1}, &plan));
    OK(fa_run_create(plan, context, &run));
    for (int64_t i = 0; i < LENGTH; i++) ((int64_t *)fa_run_input(run, 0))[i] = token(input, i);
    fa_run_forward(run);
    const fa_view *z = fa_run_value(run, g->output[0]);
    OK(fa_head_fit(FA_LOSS_MARGIN, z, 1, "logits", false, &head));
    const fa_head_row row = {.z = z->data};
    OK(fa_head_look(&head, &row, &position, &loss));
    fa_head_unit_gradient(&head, &row, &position, fa_run_loss_gradient(run));
    fa_run_backward(run, NULL, NULL);
    memcpy(out, fa_run_gradient(run, 0), (size_t)g->value[value].view.count * sizeof *out);
    fa_run_destroy(run);
    fa_plan_destroy(plan);
}

static int32_t layer_named(const fa_program *p, const char *name)
{
    for (int32_t l = 0; l < fa_program_layer_count(p); l++)
        if (strcmp(fa_program_layer(p, l)->name, name) == 0) return l;
    ck_abort_msg("no layer '%s'", name);
}

/* `turned`: the block is [columns, rows] of the table. */
static void check_block(const fa_graph *g, const taken *t, const char *layer, const char *table, int64_t rows, bool turned)
{
    float want[TOKENS * WIDTH];
    const fa_layer *l = fa_program_layer(t->program, layer_named(t->program, layer));
    const double *got = t->sum[l->block];
    ck_assert_ptr_nonnull(got);
    for (int64_t i = 0; i < BATCH; i++, got += l->in * l->out) {
        whole_gradient(g, i, table, want);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < WIDTH; c++)
                ck_assert_msg(fabs(got[turned ? c * l->out + r : r * l->out + c] - (double)want[r * WIDTH + c]) < 2e-6, "%s, input %d, [%d, %d]: %g, not %g", layer, (int)i, (int)r, (int)c,
                              got[turned ? c * l->out + r : r * l->out + c], (double)want[r * WIDTH + c]);
    }
}

/* The trace of the index's side counts what was looked up. */
static double trace(const float *m, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)m[i * n + i];
    return sum;
}

START_TEST(taps_are_the_table_s_gradient)
{
    const bool gemm = _i & 1, tied = _i & 2, fast = _i & 4;
    if (fast && strcmp(fa_context_kernels(context), "reference") == 0) return;
    fa_graph *g = network(gemm, tied);
    fa_program *program;
    fa_pass *pass;
    bool tapped[16];
    int64_t ids[BATCH * LENGTH];
    memset(tapped, 1, sizeof tapped);
    for (int64_t i = 0; i < BATCH * LENGTH; i++) ids[i] = token(i / LENGTH, i % LENGTH);
    const fa_array input = {ids, (int64_t[]){BATCH, LENGTH}, 2, FA_INT64, NULL};
    OK(fa_program_create(g, g->output[0], fast ? FA_KERNELS_FAST : FA_KERNELS_REFERENCE, &program));
    ck_assert_int_eq(fa_program_layer_count(program), 5);
    OK(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .tapped = tapped, .loss = FA_LOSS_MARGIN}, &pass));
    taken t = {.program = program};
    OK(fa_pass_forward(pass, &input, 0, BATCH, NULL, NULL));
    OK(fa_pass_backward(pass, visit, &t));
    const fa_layer *word = fa_program_layer(program, layer_named(program, "by_word")), *kind = fa_program_layer(program, layer_named(program, "by_kind")),
                   *again = fa_program_layer(program, layer_named(program, "by_kind_again"));
    ck_assert(word->lookup && kind->lookup && word->turned == tied && !kind->turned && kind->block == again->block);
    ck_assert_int_eq(word->block == layer_named(program, "logits"), tied);
    check_block(g, &t, "by_word", "word", TOKENS, tied);
    check_block(g, &t, "by_kind", "kind", TOKENS, false);
    ck_assert_double_eq_tol(trace(t.A[kind->block], kind->in), 2 * BATCH * LENGTH, 1e-4);
    if (!tied) ck_assert_double_eq_tol(trace(t.A[word->block], word->in), BATCH * LENGTH, 1e-4);
    else ck_assert_double_eq_tol(trace(t.G[word->block], word->out), BATCH * LENGTH + BATCH, 1e-4); /* a margin's gradient has unit length */
    for (int i = 0; i < 8; i++) {
        free(t.sum[i]);
        free(t.A[i]);
        free(t.G[i]);
    }
    fa_pass_destroy(pass);
    fa_program_destroy(program);
    fa_graph_destroy(g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lookup");
    TCase *t = tcase_create("lookup");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, taps_are_the_table_s_gradient, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
