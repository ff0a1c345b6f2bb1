/* SPDX-License-Identifier: Apache-2.0 */
/* Who has the weights of a network: programs that packed them give them back bit by bit, and pack for backward passes when one comes. */
#include "agree.h"

#include "backend/program.h"
#include "base/context.h"
#include "kernels/conv_once.h"
#include "kernels/multiply.h"
#include "one_context.h"

#include <pthread.h>

#define SEEDS 40
#define OK(x) ck_assert_msg((x) == FA_OK, "%s", fa_error_message())

static int64_t calls, fail_at = -1;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

/* Groups, kernels and numbers of channels around the width of a block, in the layout of convolutions and of both matrices. */
START_TEST(packed_weights_are_unpacked)
{
    static const int64_t groups[] = {1, 1, 2, 3}, channels[] = {1, 3, 7, 8, 9, 16, 17, 24, 25, 40}, kernels[] = {1, 2, 3, 5};
    for (int turn = 0; turn < 600; turn++) {
        const bool depthwise = turn % 5 == 4, matrix = turn % 5 == 3;
        fa_conv_geometry g = {.h = 1, .w = 1, .oh = 1, .ow = 1, .stride_h = 1 + turn % 2, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
        g.groups = matrix ? 1 : depthwise ? channels[turn / 5 % 10] : groups[turn % 4];
        g.c = depthwise ? g.groups : g.groups * channels[turn / 7 % 10];
        g.out = depthwise ? g.groups : g.groups * channels[turn / 3 % 10];
        g.kh = matrix ? 1 : kernels[turn / 11 % 4], g.kw = matrix ? 1 : kernels[turn / 2 % 4];
        if (g.groups == g.c && g.groups == g.out && g.groups == 1) continue;
        const int64_t in = g.c / g.groups, kernel = g.kh * g.kw, count = g.out * in * kernel;
        const bool columns = matrix && turn % 2; /* [in, out] */
        const int64_t stride_out = columns ? 1 : in * kernel, stride_in = columns ? g.out : kernel;
        float *weights = malloc((size_t)count * sizeof *weights), *again = malloc((size_t)count * sizeof *again),
              *packed = malloc(fa_conv_packed_floats(&g, FA_CONV_FORWARD) * sizeof *packed);
        fa_normal(5, (uint64_t)turn, 0, count, weights);
        weights[count / 2] = -0.0f;
        memset(again, 0xff, (size_t)count * sizeof *again);
        ck_assert(fa_conv_unpacks(&g));
        fa_conv_pack(&g, FA_CONV_FORWARD, weights, stride_out, stride_in, 1, packed);
        fa_conv_unpack(&g, packed, stride_out, stride_in, 1, again);
        ck_assert_msg(memcmp(weights, again, (size_t)count * sizeof *weights) == 0, "turn %d", turn);
        free(weights), free(again), free(packed);
    }
}
END_TEST

/* One direction of a convolution by weights packed for it, and by those packed once. */
static void check_once(const fa_conv_geometry *g, fa_conv_direction direction, fa_isa isa, int turn)
{
    const bool back = direction == FA_CONV_DATA_GRADIENT;
    fa_conv_geometry direct = *g;
    direct.winograd = 0;
    const int64_t n = 2, kernel = g->kh * g->kw, in = n * (back ? g->oh * g->ow * g->out : g->h * g->w * g->c), out = n * (back ? g->h * g->w * g->c : g->oh * g->ow * g->out);
    fa_arena arena = {.context = context};
    float *weights = fa_arena_array(&arena, (size_t)(g->out * g->c * kernel), sizeof(float)), *x = fa_arena_array(&arena, (size_t)in, sizeof(float)),
          *want = fa_arena_array(&arena, (size_t)out, sizeof(float)), *got = fa_arena_array(&arena, (size_t)out, sizeof(float)), *bias = fa_arena_array(&arena, (size_t)(g->out + g->c), sizeof(float)),
          *before = fa_arena_array(&arena, (size_t)out, sizeof(float)), *packed = fa_arena_array(&arena, fa_conv_packed_floats(g, direction), sizeof(float)),
          *once = fa_arena_array(&arena, fa_conv_packed_floats(&direct, FA_CONV_FORWARD), sizeof(float));
    fa_normal(5, (uint64_t)turn, 0, g->out * g->c * kernel, weights);
    fa_normal(6, (uint64_t)turn, 0, in, x);
    fa_normal(7, (uint64_t)turn, 0, out, before);
    fa_normal(8, (uint64_t)turn, 0, g->out + g->c, bias);
    memcpy(want, before, (size_t)out * sizeof *want), memcpy(got, before, (size_t)out * sizeof *got);
    fa_conv_pack(g, direction, weights, g->c * kernel, kernel, 1, packed);
    fa_conv_pack(&direct, FA_CONV_FORWARD, weights, g->c * kernel, kernel, 1, once);
    const fa_conv *conv = fa_conv_new(&arena, isa, g, direction);
    const fa_chain_step relu = {.function = FA_STEP_RELU};
    const bool adds = turn % 3 == 0, masks = back && turn % 2;
    fa_conv_data d = {.n = n, .in = x, .packed = packed, .bias = back ? NULL : bias, .residual = adds ? want : NULL, .out = want, .relu = !back && turn % 2,
                      .slope = {masks, masks ? &relu : NULL, masks ? before : NULL}};
    d.scratch = fa_arena_new(&arena, fa_conv_once_scratch(conv, g, direction) + FA_ALIGN);
    d.scratch = (void *)(((uintptr_t)d.scratch + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN);
    fa_conv_run(conv, &d);
    d.packed = once, d.out = got, d.residual = adds ? got : NULL;
    fa_conv_once_run(conv, g, direction, &d);
    for (int64_t i = 0; i < out; i++)
        ck_assert_msg(want[i] == got[i], "turn %d: element %lld of the %s is %.8g, by weights packed for it %.8g (%lld -> %lld channels, %lld x %lld / %lld, %lld x %lld)", turn, (long long)i,
                      back ? "data-gradient" : "output", (double)got[i], (double)want[i], (long long)g->c, (long long)g->out, (long long)g->kh, (long long)g->kw, (long long)g->stride_h, (long long)g->h, (long long)g->w);
    fa_arena_clear(&arena);
}

/* Of several blocks at the end: more weights than are made at a time. */
START_TEST(weights_packed_once_serve_both_directions)
{
    static const int64_t channels[] = {1, 3, 8, 9, 16, 24, 33, 50}, kernels[] = {1, 2, 3, 5}, wide[][2] = {{100, 300}, {250, 250}, {520, 500}};
    for (int turn = 0; turn < 240; turn++) {
        const int many = turn < 234 ? -1 : (turn - 234) % 3;
        fa_conv_geometry g = {.groups = 1, .c = many < 0 ? channels[turn % 8] : wide[many][0], .out = many < 0 ? channels[turn / 3 % 8] : wide[many][1], .h = 5 + turn % 6, .w = 4 + turn / 2 % 7,
                              .stride_h = 1 + turn / 5 % 2, .stride_w = 1 + turn / 7 % 3, .dilation_h = 1 + turn / 11 % 2, .dilation_w = 1};
        g.kh = kernels[turn / 4 % 4], g.kw = kernels[turn / 13 % 4];
        if (turn % 2 || many >= 0) g.kh = g.kw = 3, g.stride_h = g.stride_w = many == 2 ? 2 : 1, g.dilation_h = 1;
        if ((g.kh - 1) * g.dilation_h >= g.h || g.kw > g.w) continue;
        g.pad_top = turn % g.kh, g.pad_left = turn / 2 % g.kw;
        g.oh = (g.h + 2 * g.pad_top - (g.kh - 1) * g.dilation_h - 1) / g.stride_h + 1;
        g.ow = (g.w + 2 * g.pad_left - g.kw) / g.stride_w + 1;
        g.winograd = fa_conv_may_filter(&g) && g.c >= 8 && g.out >= 8 && turn % 4 != 3;
        ck_assert(fa_conv_once_takes(&g) && fa_conv_supported(&g));
        check_once(&g, FA_CONV_FORWARD, fa_kernels_isa(), turn);
        check_once(&g, FA_CONV_DATA_GRADIENT, fa_kernels_isa(), turn);
    }
}
END_TEST

static void same_record(const record *a, const record *b, uint64_t seed)
{
    ck_assert_msg(memcmp(a->loss, b->loss, sizeof a->loss) == 0, "network %d: losses", (int)seed);
    for (int32_t l = 0; l < a->layers; l++) {
        if (!a->layer[l].seen) continue;
        ck_assert_msg(memcmp(a->layer[l].d, b->layer[l].d, (size_t)a->layer[l].n_d * sizeof(float)) == 0, "network %d, layer %d: gradients", (int)seed, l);
        ck_assert_msg(memcmp(a->layer[l].blocks, b->layer[l].blocks, (size_t)a->layer[l].n_blocks * sizeof(float)) == 0, "network %d, layer %d: blocks", (int)seed, l);
    }
}

/* What a program says, forward and backward. */
static void record_of(const fa_program *program, const int64_t shape[4], const float *data, record *r)
{
    bool tapped[64];
    fa_pass *pass;
    memset(r, 0, sizeof *r);
    memset(tapped, 1, sizeof tapped);
    r->context = context;
    r->program = program;
    r->layers = fa_program_layer_count(program);
    const fa_array input = {.data = data, .shape = shape, .ndim = 4, .dtype = FA_FLOAT32};
    OK(fa_pass_create(&(fa_pass_request){.program = program, .context = context, .inputs = &input, .n_inputs = 1, .batch = BATCH, .tapped = tapped}, &pass));
    OK(fa_pass_forward(pass, &input, 0, BATCH, NULL, &(fa_pass_outputs){.predicted = r->predicted, .loss = r->loss}));
    OK(fa_pass_backward(pass, visit, r));
    fa_pass_destroy(pass);
}

static float *trained(const fa_program *program, int64_t *count)
{
    fa_program *varied;
    OK(fa_program_vary(program, &(fa_varied_options){.select = NULL}, &varied));
    float *w = malloc((size_t)(*count = fa_program_weight_count(varied)) * sizeof *w);
    fa_program_trained(varied, w, NULL);
    fa_program_destroy(varied);
    return w;
}

static int32_t taken_of(const fa_program *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->packings.count; i++) n += p->packings.packing[i].taken;
    return n;
}

/* The same network twice: one graph keeps its weights, the other gives them up. */
START_TEST(weights_that_were_taken_come_back)
{
    int32_t n_taken = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int64_t shape[4], count, count_taken;
        int32_t logits;
        fa_graph *base = empty_graph(context), *kept = random_network(base, seed, shape, &logits), *given = random_network(base, seed, shape, &logits), *restored;
        fa_program *plain, *program, *tail;
        const int64_t elements = BATCH * shape[1] * shape[2] * shape[3];
        float *data = malloc((size_t)elements * sizeof *data);
        record want, got, of_tail;
        fa_normal(9, seed, 0, elements, data);
        OK(fa_program_create(kept, logits, FA_KERNELS_FAST, &plain));
        OK(fa_program_create(given, logits, FA_KERNELS_FAST, &program));
        OK(fa_program_restore(program, &restored));
        ck_assert_ptr_null(restored);
        const uint64_t before = fa_context_memory_used(context);
        OK(fa_program_take_weights(program, given));
        n_taken += taken_of(program);
        ck_assert(taken_of(program) ? fa_context_memory_used(context) < before : fa_context_memory_used(context) == before);
        OK(fa_program_restore(program, &restored));
        const fa_graph *whole = restored ? restored : given;
        ck_assert_int_eq(restored != NULL, taken_of(program) > 0);
        for (int32_t v = 0; v < kept->n_value; v++)
            if (kept->value[v].is_initialiser)
                ck_assert_msg(memcmp(kept->value[v].view.data, whole->value[v].view.data, (size_t)kept->value[v].view.count * sizeof(float)) == 0, "network %d: '%s'", (int)seed, kept->value[v].name);
        fa_graph_destroy(restored);
        record_of(plain, shape, data, &want);
        record_of(program, shape, data, &got);
        same_record(&want, &got, seed);
        OK(fa_program_create_tail(program, logits, FA_KERNELS_FAST, &tail));
        record_of(tail, shape, data, &of_tail);
        same_record(&want, &of_tail, seed);
        fa_program_destroy(tail);
        float *w = trained(plain, &count), *w_taken = trained(program, &count_taken);
        ck_assert_int_eq(count, count_taken);
        ck_assert_int_eq(memcmp(w, w_taken, (size_t)count * sizeof *w), 0);
        free(w), free(w_taken), free(data);
        release(&want), release(&got), release(&of_tail);
        fa_program_destroy(program);
        fa_program_destroy(plain);
        fa_graph_destroy(given);
        fa_graph_destroy(kept);
        fa_graph_destroy(base);
    }
    ck_assert_int_gt(n_taken, SEEDS / 4);
}
END_TEST

/* The option against the default, on either's layers: outputs have the same bits, gradients but for the order of sums. */
START_TEST(packed_once_agrees)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int64_t shape[4];
        int32_t logits;
        fa_graph *base = empty_graph(context), *g = random_network(base, seed, shape, &logits);
        const int64_t elements = BATCH * shape[1] * shape[2] * shape[3];
        float *data = malloc((size_t)elements * sizeof *data);
        record want, got;
        fa_normal(9, seed, 0, elements, data);
        run_in(context, g, logits, FA_KERNELS_FAST, FA_PRECISION_F32, FA_PACKING_FAST, shape, data, BATCH, &want);
        run_in(context, g, logits, FA_KERNELS_FAST, FA_PRECISION_F32, FA_PACKING_ONCE, shape, data, BATCH, &got);
        ck_assert_msg(memcmp(want.loss, got.loss, sizeof want.loss) == 0, "network %d: losses", (int)seed);
        for (int32_t l = 0; l < want.layers; l++) {
            if (!want.layer[l].seen) continue;
            compare(got.layer[l].d, want.layer[l].d, want.layer[l].n_d, 1e-5, "gradient", seed, l);
            compare(got.layer[l].blocks, want.layer[l].blocks, want.layer[l].n_blocks, 1e-5, "block", seed, l);
        }
        release(&want), release(&got);
        free(data);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

/* Every allocation of a first backward pass and of a restoration may fail, and leaves the program as it was. */
START_TEST(every_allocation_may_fail)
{
    for (uint64_t seed = 0; seed < 6; seed++) {
        int64_t shape[4];
        int32_t logits;
        fa_graph *base = empty_graph(context), *g = random_network(base, seed, shape, &logits), *restored = NULL;
        fa_program *program, *tail = NULL;
        const fa_program_graph *network;
        OK(fa_program_create(g, logits, FA_KERNELS_FAST, &program));
        OK(fa_program_take_weights(program, g));
        fa_status status = FA_ERR_MEMORY;
        for (fail_at = 0; status != FA_OK; fail_at++) {
            const uint64_t before = fa_context_memory_used(context);
            calls = 0;
            context->allocator.alloc = failing_alloc;
            status = fa_program_restore(program, &restored);
            if (status == FA_OK) status = fa_program_create_tail(program, logits, FA_KERNELS_FAST, &tail);
            if (status == FA_OK) status = fa_program_with_gradients(program, &network);
            context->allocator.alloc = fa_system_allocator.alloc;
            ck_assert_int_eq(status, calls > fail_at ? FA_ERR_MEMORY : FA_OK);
            fa_program_destroy(tail);
            fa_graph_destroy(restored);
            tail = NULL, restored = NULL;
            if (status != FA_OK) ck_assert_uint_eq(fa_context_memory_used(context), before);
            ck_assert_int_lt(fail_at, 20000);
        }
        ck_assert_int_gt(fail_at, 20);
        fail_at = -1;
        for (int32_t i = 0; i < program->packings.count; i++) ck_assert_ptr_nonnull(network->graph->value[program->packings.packing[i].gradient].view.data);
        fa_program_destroy(program);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

typedef struct turn {
    const fa_program *program;
    const int64_t *shape;
    const float *data;
    record record;
} turn;

static void *work(void *of)
{
    turn *w = of;
    record_of(w->program, w->shape, w->data, &w->record);
    return NULL;
}

/* Threads whose first passes go backward at the same time. */
START_TEST(threads_pack_once)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        int64_t shape[4];
        int32_t logits;
        fa_graph *base = empty_graph(context), *g = random_network(base, seed, shape, &logits);
        fa_program *program;
        turn worker[4];
        pthread_t thread[4];
        const int64_t elements = BATCH * shape[1] * shape[2] * shape[3];
        float *data = malloc((size_t)elements * sizeof *data);
        fa_normal(9, seed, 0, elements, data);
        OK(fa_program_create(g, logits, FA_KERNELS_FAST, &program));
        OK(fa_program_take_weights(program, g));
        for (int i = 0; i < 4; i++) worker[i].program = program, worker[i].shape = shape, worker[i].data = data;
        for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
        for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
        for (int i = 1; i < 4; i++) same_record(&worker[0].record, &worker[i].record, seed);
        for (int i = 0; i < 4; i++) release(&worker[i].record);
        free(data);
        fa_program_destroy(program);
        fa_graph_destroy(g);
        fa_graph_destroy(base);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("packings");
    TCase *t = tcase_create("packings");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, packed_weights_are_unpacked);
    if (fa_kernels_available()) {
        tcase_add_test(t, weights_packed_once_serve_both_directions);
        tcase_add_test(t, packed_once_agrees);
        tcase_add_test(t, weights_that_were_taken_come_back);
        tcase_add_test(t, every_allocation_may_fail);
        tcase_add_test(t, threads_pack_once);
    }
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
