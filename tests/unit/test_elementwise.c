/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one number and arithmetic of stretched tensors on every instruction set, and how the rewrite joins them, against plain formulas in double and the reference operators. */
#include "backend/program.h"
#include "kernels/broadcast.h"
#include "kernels/chain.h"
#include "random_network.h"

#include <stdlib.h>

static fa_context *context;
static builder draw = {.seed = 77};

static void setup(void)
{
    ck_assert_int_eq(fa_context_create(NULL, &context), FA_OK);
}

static void teardown(void)
{
    ck_assert_uint_eq(fa_context_memory_used(context), 0);
    fa_context_release(context);
}

static double value_of(const fa_chain_step *s, double x)
{
    const double a = (double)s->a, b = (double)s->b;
    switch (s->function) {
    case FA_STEP_AFFINE: return a * x + b;
    case FA_STEP_RELU: return x < 0 ? 0 : x;
    case FA_STEP_CLIP: return x < a ? a : x > b ? b : x;
    case FA_STEP_HARD_SIGMOID: return a * x + b < 0 ? 0 : a * x + b > 1 ? 1 : a * x + b;
    case FA_STEP_HARD_SWISH: return x <= -3 ? 0 : x >= 3 ? x : x * (x / 6 + 0.5);
    case FA_STEP_SIGMOID: return 1 / (1 + exp(-x));
    case FA_STEP_SILU: return x / (1 + exp(-x));
    case FA_STEP_TANH: return tanh(x);
    case FA_STEP_EXP: return exp(x);
    case FA_STEP_ERF: return erf(x);
    case FA_STEP_SQRT: return sqrt(x);
    default: return x * x;
    }
}

static double slope_of(const fa_chain_step *s, double x)
{
    const double a = (double)s->a, b = (double)s->b, l = 1 / (1 + exp(-x)), t = tanh(x);
    switch (s->function) {
    case FA_STEP_AFFINE: return a;
    case FA_STEP_RELU: return x > 0;
    case FA_STEP_CLIP: return x >= a && x <= b;
    case FA_STEP_HARD_SIGMOID: return a * x + b > 0 && a * x + b < 1 ? a : 0;
    case FA_STEP_HARD_SWISH: return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
    case FA_STEP_SIGMOID: return l * (1 - l);
    case FA_STEP_SILU: return l * (1 + x * (1 - l));
    case FA_STEP_TANH: return 1 - t * t;
    case FA_STEP_EXP: return exp(x);
    case FA_STEP_ERF: return 2 / sqrt(acos(-1)) * exp(-x * x);
    case FA_STEP_SQRT: return 0.5 / sqrt(x);
    default: return 2 * x;
    }
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Distance in units of the last place of `right` as a float; below the normal numbers, of the smallest of them. */
static double ulps(float got, double right)
{
    if (isnan(right) || isinf((float)right)) return isnan(right) ? !isnan(got) : got == (float)right ? 0 : INFINITY;
    int exponent;
    frexp(right, &exponent);
    return fabs((double)got - right) / ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

/* Every 40009th float. The plain set has no fused multiply-add. */
START_TEST(every_function_within_its_error)
{
    static const double most[FA_STEPS] = {1, 0, 0, 1.5, 3, 2.5, 3, 2, 1.2, 2, 0.5, 0.5};
    enum { N = 4096 };
    static float x[N], y[N];
    for (int32_t set = 0; set < FA_CHAIN_SETS; set++) {
        const fa_chain_kernels *k = fa_chain_kernels_for(set);
        for (int32_t function = 0; k && function < FA_STEPS; function++) {
            const fa_chain_step step = {function, function == FA_STEP_HARD_SIGMOID ? 0.25f : function == FA_STEP_CLIP ? -0.75f : 1.5f, function == FA_STEP_CLIP ? 6 : 0};
            double worst = 0;
            for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 40009 * N) {
                for (int i = 0; i < N; i++) x[i] = from_bits((uint32_t)(bits + 40009 * (uint64_t)i));
                k->forward(&step, 1, N, x, y);
                for (int i = 0; i < N; i++) {
                    if (function == FA_STEP_SILU && x[i] < -87) { /* exp(-x) overflows: 0, or what is left of the smallest numbers */
                        ck_assert_msg(fabsf(y[i]) <= 1.5e-36f || isnan(y[i]), "%s: silu(%g) = %g", k->name, (double)x[i], (double)y[i]);
                        continue;
                    }
                    if (function == FA_STEP_SIGMOID && x[i] < -88) {
                        ck_assert(y[i] >= 0 && y[i] <= 1.2e-38f);
                        continue;
                    }
                    if (function == FA_STEP_HARD_SWISH && x[i] > -3.5f && x[i] < -2.5f) { /* x / 6 + 1 / 2 loses digits */
                        ck_assert_msg(fabs((double)y[i] - value_of(&step, (double)x[i])) <= 3e-7, "%s: hard swish of %.9g is %.9g", k->name, (double)x[i], (double)y[i]);
                        continue;
                    }
                    const double off = ulps(y[i], value_of(&step, (double)x[i]));
                    if (off > worst) worst = off;
                    ck_assert_msg(off <= most[function] * (set ? 1 : 2), "%s, function %d at %.9g: %.9g where %.9g is right, %.2f ulp", k->name, function, (double)x[i], (double)y[i],
                                  value_of(&step, (double)x[i]), off);
                }
            }
        }
    }
}
END_TEST

/* Exactly as many floats as asked for, so that a sanitizer sees the first one too far. */
static float *numbers(int64_t n, float scale)
{
    float *x = malloc((size_t)n * sizeof *x);
    ck_assert_ptr_nonnull(x);
    fa_normal(7, draw.drawn++, 0, n, x);
    for (int64_t i = 0; i < n; i++) x[i] *= scale;
    return x;
}

/* Random steps that keep numbers small, and lengths with every rest. */
START_TEST(chains_of_random_steps)
{
    static const int32_t tame[] = {FA_STEP_AFFINE, FA_STEP_RELU, FA_STEP_CLIP, FA_STEP_HARD_SIGMOID, FA_STEP_HARD_SWISH, FA_STEP_SIGMOID, FA_STEP_SILU, FA_STEP_TANH, FA_STEP_ERF};
    for (int round = 0; round < 400; round++) {
        fa_chain_step step[FA_CHAIN_MOST];
        const int32_t n_step = (int32_t)pick(&draw, 1, FA_CHAIN_MOST);
        const int64_t n = pick(&draw, 1, round % 4 ? 70 : 1500);
        float *x = numbers(n, 2), *g = numbers(n, 1), *before = numbers(n, 1), *y = malloc((size_t)n * sizeof *y), *gx = malloc((size_t)n * sizeof *gx);
        const bool add = pick(&draw, 0, 1), in_place = pick(&draw, 0, 1);
        for (int32_t k = 0; k < n_step; k++) {
            step[k] = (fa_chain_step){tame[pick(&draw, 0, 8)], 0.125f * (float)pick(&draw, -9, 9), 0.1f * (float)pick(&draw, -9, 9)};
            if (step[k].function == FA_STEP_CLIP) step[k].b = step[k].a + 1.37f;
        }
        for (int32_t set = 0; set < FA_CHAIN_SETS; set++) {
            const fa_chain_kernels *k = fa_chain_kernels_for(set);
            if (!k) continue;
            memcpy(y, x, (size_t)n * sizeof *y);
            k->forward(step, n_step, n, in_place ? y : x, y);
            memcpy(gx, add ? before : g, (size_t)n * sizeof *gx);
            k->gradient(step, n_step, n, x, !add && in_place ? gx : g, gx, add);
            for (int64_t i = 0; i < n; i++) {
                double v = (double)x[i], slope = (double)g[i];
                bool corner = false;
                for (int32_t s = 0; s < n_step; s++) {
                    const double a = (double)step[s].a, b = (double)step[s].b, at[] = {0, a, b, -b / (a == 0 ? 1 : a), (1 - b) / (a == 0 ? 1 : a), -3, 3};
                    for (int c = 0; c < 7; c++) corner |= fabs(v - at[c]) < 1e-5;
                    slope *= slope_of(&step[s], v);
                    v = value_of(&step[s], v);
                }
                ck_assert_msg(fabs((double)y[i] - v) <= 1e-5 * (1 + fabs(v)), "%s: %.9g where %.9g is right", k->name, (double)y[i], v);
                const double want = slope + (add ? (double)before[i] : 0);
                if (!corner) ck_assert_msg(fabs((double)gx[i] - want) <= 2e-5 * (1 + fabs(want)), "%s: slope %.9g where %.9g is right", k->name, (double)gx[i], want);
            }
        }
        free(x), free(g), free(before), free(y), free(gx);
    }
}
END_TEST

static double paired(int32_t op, double x, double y)
{
    return op == FA_PAIR_ADD ? x + y : op == FA_PAIR_SUB ? x - y : op == FA_PAIR_MUL ? x * y : x / y;
}

START_TEST(arithmetic_of_stretched_blocks)
{
    static const fa_isa isas[] = {FA_ISA_AVX2, FA_ISA_AVX512};
    for (int round = 0; round < 300; round++) {
        const int64_t rows = pick(&draw, 1, round % 10 ? 6 : 300), n = pick(&draw, 1, round % 10 == 5 ? 5000 : 70);
        const int32_t op = (int32_t)pick(&draw, 0, 3);
        const bool divide = op == FA_PAIR_DIV, add = pick(&draw, 0, 1);
        const int64_t x_col = pick(&draw, 0, 1), y_col = pick(&draw, 0, 1), x_row = pick(&draw, 0, 1) * (x_col ? n : 1), y_row = pick(&draw, 0, 1) * (y_col ? n : 1);
        const int64_t t_col = pick(&draw, 0, 1), t_row = pick(&draw, 0, 1) * (t_col ? n : 1), n_x = (rows - 1) * x_row + (n - 1) * x_col + 1,
                      n_y = (rows - 1) * y_row + (n - 1) * y_col + 1, n_t = (rows - 1) * t_row + (n - 1) * t_col + 1;
        float *x = numbers(n_x, 1), *y = numbers(n_y, 1), *g = numbers(rows * n, 1), *t0 = numbers(n_t, 1), *z0 = numbers(rows * n, 1);
        float *z = malloc((size_t)(rows * n) * sizeof *z), *t = malloc((size_t)n_t * sizeof *t);
        double *sum = malloc((size_t)n_t * sizeof *sum), *size = malloc((size_t)n_t * sizeof *size);
        for (int64_t i = 0; i < n_y; i++) y[i] = copysignf(fabsf(y[i]) + 0.5f, y[i]);
        for (int i = 0; i < 2; i++) {
            const fa_broadcast_kernels *k = fa_kernels_have(isas[i]) ? fa_broadcast_kernels_for(isas[i]) : NULL;
            if (!k) continue;
            k->pair(op, rows, n, (fa_operand){x, x_row, x_col}, (fa_operand){y, y_row, y_col}, z);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < n; c++) ck_assert(z[r * n + c] == (float)paired(op, (double)x[r * x_row + c * x_col], (double)y[r * y_row + c * y_col]));
            memcpy(z, z0, (size_t)(rows * n) * sizeof *z);
            memcpy(t, t0, (size_t)n_t * sizeof *t);
            k->product(divide, rows, n, g, (fa_operand){y, y_row, y_col}, z, add);
            k->reduce(divide, rows, n, g, (fa_operand){y, y_row, y_col}, t, t_row, t_col);
            for (int64_t j = 0; j < n_t; j++) sum[j] = (double)t0[j], size[j] = 1;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < n; c++) {
                    const double p = paired(divide ? FA_PAIR_DIV : FA_PAIR_MUL, (double)g[r * n + c], (double)y[r * y_row + c * y_col]), want = p + (add ? (double)z0[r * n + c] : 0);
                    ck_assert(fabs((double)z[r * n + c] - want) <= 3e-7 * (1 + fabs(p)));
                    sum[r * t_row + c * t_col] += p;
                    size[r * t_row + c * t_col] += fabs(p);
                }
            for (int64_t j = 0; j < n_t; j++)
                ck_assert_msg(fabs((double)t[j] - sum[j]) <= 1e-5 * size[j], "rows %lld of %lld, sum %lld: %g where %g is right", (long long)rows, (long long)n, (long long)j, (double)t[j], sum[j]);
        }
        free(x), free(y), free(g), free(t0), free(z0), free(z), free(t), free(sum), free(size);
    }
}
END_TEST

/* Networks of one convolution, what `spell` makes of its images, and a head. */
typedef int32_t (*spelling)(builder *b, int32_t x);

static int32_t number(builder *b, float c)
{
    return constant(b, 0, NULL, c, 0);
}

static int32_t pair(builder *b, const char *op, int32_t x, int32_t y)
{
    int32_t z;
    node(b, op, 2, (int32_t[]){x, y}, 0, &z);
    return z;
}

static int32_t one(builder *b, const char *op, int32_t x)
{
    int32_t y;
    node(b, op, 1, &x, 0, &y);
    return y;
}

static int32_t clip(builder *b, int32_t x, float low, float high)
{
    int32_t y;
    node(b, "Clip", 3, (int32_t[]){x, number(b, low), number(b, high)}, 0, &y);
    return y;
}

static int32_t gate(builder *b, int32_t x, float alpha)
{
    int32_t y;
    fa_node *n = node(b, "HardSigmoid", 1, &x, 1, &y);
    n->attr[0] = (fa_attr){.name = "alpha", .kind = FA_ATTR_FLOAT, .f = alpha};
    return y;
}

static int32_t torch(builder *b, int32_t x)
{
    return pair(b, "Mul", x, gate(b, x, 1.0f / 6));
}

static int32_t paddle(builder *b, int32_t x)
{
    x = pair(b, "Add", pair(b, "Mul", number(b, 1.4f), x), number(b, 0.6f));
    x = pair(b, "Div", pair(b, "Mul", x, clip(b, pair(b, "Add", x, number(b, 3)), 0, 6)), number(b, 6));
    return pair(b, "Add", pair(b, "Mul", number(b, 0.2f), x), number(b, 0.1f));
}

static int32_t divided_gate(builder *b, int32_t x)
{
    return pair(b, "Mul", pair(b, "Div", clip(b, pair(b, "Add", x, number(b, 3)), 0, 6), number(b, 6)), x);
}

static int32_t swish(builder *b, int32_t x)
{
    return pair(b, "Mul", x, one(b, "Sigmoid", pair(b, "Mul", x, number(b, 1))));
}

static int32_t long_one(builder *b, int32_t x)
{
    for (int i = 0; i < 6; i++) x = pair(b, "Sub", number(b, 0.3f), one(b, i % 2 ? "Tanh" : "Erf", pair(b, "Div", x, number(b, 0.7f))));
    return x;
}

/* Not functions of one number: another slope, the gate of another image, a gate that something else reads, an argument that something else reads. */
static int32_t other_slope(builder *b, int32_t x)
{
    return pair(b, "Mul", x, gate(b, x, 0.2f));
}

static int32_t other_argument(builder *b, int32_t x)
{
    return pair(b, "Mul", x, one(b, "Sigmoid", pair(b, "Mul", x, number(b, 1.5f))));
}

static int32_t read_gate(builder *b, int32_t x)
{
    const int32_t g = one(b, "Sigmoid", x);
    return pair(b, "Add", pair(b, "Mul", x, g), g);
}

static int32_t read_argument(builder *b, int32_t x)
{
    const int32_t y = pair(b, "Mul", x, number(b, 1.25f));
    return pair(b, "Sub", pair(b, "Mul", y, one(b, "Sigmoid", y)), pair(b, "Pow", y, number(b, 2)));
}

static const struct {
    spelling spell;
    int32_t chains; /* nodes of the rewritten network */
} spellings[] = {{torch, 1}, {paddle, 1}, {divided_gate, 1}, {swish, 1}, {long_one, 2}, {other_slope, 1}, {other_argument, 1}, {read_gate, 2}, {read_argument, 3}};

/* Layers behind a chain, which then multiply the gradient by its derivative: a weight [7, c, k, k], 0: none; or (k 0) squeeze and excitation, which reads it twice. */
static const int64_t behind[][2] = {{0, 0}, {7, 1}, {1, 3}, {7, 3}, {7, 0}};

static fa_graph *spelled(const fa_graph *base, spelling spell, const int64_t *layer, int32_t *logits)
{
    builder b = {.seed = 5};
    int32_t x, y, flat;
    fa_graph *g;
    ck_assert_int_eq(fa_edit_begin(base, &b.e), FA_OK);
    ck_assert_int_eq(fa_edit_value(&b.e, "x", FA_FLOAT32, &x), FA_OK);
    node(&b, "Conv", 2, (int32_t[]){x, constant(&b, 4, (int64_t[]){7, 2, 1, 1}, 0, 1)}, 0, &y);
    y = spell(&b, y);
    if (layer[0] && !layer[1]) {
        int32_t mean;
        node(&b, "GlobalAveragePool", 1, &y, 0, &mean);
        node(&b, "Conv", 2, (int32_t[]){mean, constant(&b, 4, (int64_t[]){7, 7, 1, 1}, 0, 0.5f)}, 0, &mean);
        y = pair(&b, "Add", pair(&b, "Mul", y, mean), y);
    } else if (layer[0]) {
        node(&b, "Conv", 2, (int32_t[]){y, constant(&b, 4, (int64_t[]){7, layer[0], layer[1], layer[1]}, 0, 0.1f)}, 2, &y);
        fa_node *conv = &b.e.graph->node[b.e.graph->n_node - 1];
        conv->attr[0] = (fa_attr){.name = "group", .kind = FA_ATTR_INT, .i = 7 / layer[0]};
        conv->attr[1] = (fa_attr){.name = "auto_pad", .kind = FA_ATTR_STRING, .s = "SAME_UPPER", .count = 10};
    }
    node(&b, "Flatten", 1, &y, 0, &flat);
    *logits = pair(&b, "MatMul", flat, constant(&b, 2, (int64_t[]){7 * 15, CLASSES}, 0, 0.3f));
    b.e.graph->input = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->output = fa_arena_array(&b.e.graph->arena, 1, sizeof(int32_t));
    b.e.graph->input[0] = x;
    b.e.graph->output[0] = *logits;
    b.e.graph->n_input = b.e.graph->n_output = 1;
    ck_assert_int_eq(fa_edit_finish(&b.e, &g), FA_OK);
    return g;
}

static void keep_gradient(void *user, const fa_tap *t)
{
    float *to = user;
    if (t->layer) return;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t c = 0; c < t->out; c++)
            for (int64_t p = 0; p < t->oh * t->ow; p++) *to++ = t->d[i * t->d_n + c * t->d_c + p / t->ow * t->d_h + p % t->ow * t->d_w];
}

static int32_t run(const fa_graph *g, int32_t logits, int32_t kernels, const float *data, float *z, float *d)
{
    fa_program *program;
    fa_pass *pass;
    int32_t chains = 0;
    const bool tapped[] = {true, true, true};
    const fa_array input = {.data = data, .shape = (int64_t[]){BATCH, 2, 3, 5}, .ndim = 4, .dtype = FA_FLOAT32};
    ck_assert_msg(fa_program_create(g, logits, kernels, &program) == FA_OK, "%s", fa_error_message());
    for (int32_t n = 0; n < program->evaluation.graph->n_node; n++) chains += strcmp(program->evaluation.graph->node[n].op, "Chain") == 0;
    ck_assert_msg(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .tapped = tapped}, &pass) == FA_OK, "%s",
                  fa_error_message());
    ck_assert_msg(fa_pass_forward(pass, &input, 0, BATCH, NULL, NULL) == FA_OK, "%s", fa_error_message());
    memcpy(z, fa_pass_logits(pass), BATCH * CLASSES * sizeof *z);
    ck_assert_int_eq(fa_pass_backward(pass, keep_gradient, d), FA_OK);
    fa_pass_destroy(pass);
    fa_program_destroy(program);
    return chains;
}

START_TEST(spellings_become_chains)
{
    enum { N = BATCH * 7 * 15, INPUTS = BATCH * 30 };
    if (!fa_kernels_available()) return;
    for (size_t k = 0, s, l; s = k % (sizeof spellings / sizeof *spellings), l = k / (sizeof spellings / sizeof *spellings), l < sizeof behind / sizeof *behind; k++) {
        float data[INPUTS], z[2][BATCH * CLASSES], d[2][N];
        int32_t logits;
        fa_graph *base = empty_graph(context), *g = spelled(base, spellings[s].spell, behind[l], &logits);
        fa_normal(4, s, 0, INPUTS, data);
        ck_assert_int_eq(run(g, logits, FA_KERNELS_REFERENCE, data, z[0], d[0]), 0);
        ck_assert_msg(run(g, logits, FA_KERNELS_FAST, data, z[1], d[1]) == spellings[s].chains, "spelling %zu, layer %zu", s, l);
        for (int i = 0; i < BATCH * CLASSES; i++) ck_assert_msg(fabsf(z[0][i] - z[1][i]) <= 1e-5f * (1 + fabsf(z[0][i])), "spelling %zu: %g where %g is right", s, (double)z[1][i], (double)z[0][i]);
        for (int i = 0; i < N; i++) ck_assert_msg(fabsf(d[0][i] - d[1][i]) <= 1e-5f * (1 + fabsf(d[0][i])), "spelling %zu: gradient %g where %g is right", s, (double)d[1][i], (double)d[0][i]);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elementwise");
    TCase *t = tcase_create("elementwise");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 100);
    tcase_add_test(t, every_function_within_its_error);
    tcase_add_test(t, chains_of_random_steps);
    tcase_add_test(t, arithmetic_of_stretched_blocks);
    tcase_add_test(t, spellings_become_chains);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
