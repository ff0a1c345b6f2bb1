/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient sketches over shards of references, joined. */
#include "base/context.h"
#include "sketch/refset.h"
#include "sketch/shards.h"
#include "sketch/sketch.h"
#include "small_models.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define MOST 4
#define TOLERANCE 3e-5 /* what docs/method.md states */

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

static fa_refset *make_set(const fa_array *inputs, int32_t n_input, const int64_t *labels, const int64_t *ids)
{
    fa_refset_options o;
    fa_refset *set;
    fa_refset_options_init(&o, sizeof o);
    o.labels = labels;
    o.ids = ids;
    OK(fa_refset_create(context, inputs, n_input, &o, &set));
    return set;
}

/* A model, references cut into shards, and their sketches. */
typedef struct cut {
    fa_model *model;
    fa_sketch_options options;
    int32_t count;
    fa_refset *set[MOST];
    fa_sketch *sketch[MOST];
} cut;

static void build_shards(cut *c)
{
    c->options.keep_moments = 1;
    for (int32_t i = 0; i < c->count; i++) OK(fa_sketch_build(c->model, c->set[i], NULL, &c->options, &c->sketch[i]));
}

/* Shards of `sizes` out of rows of normal numbers, ids counted up over all of them. */
static cut make_cut(fa_model *model, int64_t width, int32_t count, const int64_t *sizes)
{
    cut c = {.model = model, .count = count};
    int64_t total = 0, first = 0, id[200], label[200];
    for (int32_t i = 0; i < count; i++) total += sizes[i];
    float *x = normal_rows(total, width, 1);
    for (int64_t i = 0; i < total; i++) id[i] = 100 + i, label[i] = i % 3 == 0 ? -1 : i % 4;
    for (int32_t i = 0; i < count; first += sizes[i++])
        c.set[i] = make_set(&(fa_array){x + first * width, (int64_t[]){sizes[i], width}, 2, FA_FLOAT32, NULL}, 1, label + first, id + first);
    free(x);
    fa_sketch_options_init(&c.options, sizeof c.options);
    c.options.batch = 4;
    return c;
}

static void free_cut(cut *c)
{
    for (int32_t i = 0; i < c->count; i++) {
        fa_sketch_release(c->sketch[i]);
        fa_refset_release(c->set[i]);
    }
    fa_model_release(c->model);
}

static fa_status merge(const cut *c, const int32_t *order, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out)
{
    const fa_sketch *sketch[MOST];
    const fa_refset *set[MOST];
    for (int32_t i = 0; i < c->count; i++) {
        sketch[i] = c->sketch[order ? order[i] : i];
        set[i] = c->set[order ? order[i] : i];
    }
    return fa_sketch_merge_shards(c->model, sketch, set, c->count, calibration, options, out);
}

/* All references in the order that the merge has: by digest of the shard. */
static fa_refset *all_references(const cut *c)
{
    const fa_refset *set[MOST];
    fa_refset *all;
    for (int32_t i = 0; i < c->count; i++) {
        int32_t at = i;
        for (; at > 0 && memcmp(set[at - 1]->digest, c->set[i]->digest, 16) > 0; at--) set[at] = set[at - 1];
        set[at] = c->set[i];
    }
    OK(fa_refset_join(context, set, c->count, &all));
    fa_context_retain(context); /* as the public function does: it is released by the public one */
    return all;
}

static unsigned char *bytes_of(const fa_sketch *s, size_t *n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/fattr-shards-%ld", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)getpid());
    OK(fa_sketch_save_file(s, path));
    FILE *f = fopen(path, "rb");
    ck_assert_ptr_nonnull(f);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    unsigned char *data = malloc(*n);
    ck_assert(data && fread(data, 1, *n, f) == *n);
    fclose(f);
    remove(path);
    return data;
}

static void check_same_bytes(const fa_sketch *a, const fa_sketch *b)
{
    size_t n, m;
    unsigned char *p = bytes_of(a, &n), *q = bytes_of(b, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(p, q, n);
    free(p);
    free(q);
}

/* Couplings among the references, calibration scores and scores of inputs that neither has seen, [20, ...] per array; the largest difference. */
static double difference(const fa_model *m, const fa_sketch *a, const fa_sketch *b, const fa_array *inputs, int32_t n_input)
{
    double most = 0;
    const fa_sketch_body *p = a->body, *q = b->body;
    ck_assert_int_eq(p->n_reference, q->n_reference);
    ck_assert(p->n_layer == q->n_layer && p->n_dropped == q->n_dropped);
    ck_assert_mem_eq(p->id, q->id, (size_t)p->n_reference * sizeof *p->id);
    ck_assert_mem_eq(p->label, q->label, (size_t)p->n_reference * sizeof *p->label);
    ck_assert_mem_eq(p->predicted, q->predicted, (size_t)p->n_reference * sizeof *p->predicted);
    ck_assert_mem_eq(p->references_digest, q->references_digest, 16);
    for (int64_t i = 0; i < p->n_reference * p->n_reference; i++) most = fmax(most, fabs((double)p->gram[i] - q->gram[i]));
    ck_assert_int_eq(a->n_calibration, b->n_calibration);
    for (int32_t k = 0; k < FA_SCORE_COMMON_COUNT; k++)
        for (int64_t i = 0; i < a->n_calibration; i++) most = fmax(most, fabs(a->calibration[k][i] - b->calibration[k][i]));
    const fa_sketch *sketch[2] = {a, b};
    fa_result r[2][20];
    fa_scorer *scorer[2];
    fa_scorer_options so;
    fa_scorer_options_init(&so, sizeof so);
    so.max_batch = 20;
    so.all_scores = 1;
    for (int i = 0; i < 2; i++) {
        OK(fa_scorer_create(sketch[i], m, &so, &scorer[i]));
        OK(fa_score_batch(scorer[i], inputs, n_input, r[i], 20));
    }
    for (int i = 0; i < 20; i++) {
        for (int32_t k = 0; k < FA_SCORE_COMMON_COUNT; k++) most = fmax(most, fabs(r[0][i].scores[k] - r[1][i].scores[k]));
        for (int64_t j = 0; j < p->n_reference; j++) most = fmax(most, fabs((double)r[0][i].couplings[j] - r[1][i].couplings[j]));
    }
    for (int i = 0; i < 2; i++) fa_scorer_destroy(scorer[i]);
    return most;
}

static void check_equals_single(const cut *c, const fa_refset *calibration, const fa_array *inputs, int32_t n_input)
{
    fa_sketch *merged, *single;
    fa_sketch_options o = c->options;
    o.keep_moments = 0;
    fa_refset *all = all_references(c);
    OK(merge(c, NULL, calibration, &o, &merged));
    OK(fa_sketch_build(c->model, all, calibration, &o, &single));
    double d = difference(c->model, merged, single, inputs, n_input);
    ck_assert_msg(d < TOLERANCE, "%g away from the single build", d);
    fa_sketch_release(merged);
    fa_sketch_release(single);
    fa_refset_release(all);
}

static void check_width(fa_model *model, int64_t width, int32_t count, const int64_t *sizes, void (*edit)(fa_sketch_options *))
{
    cut c = make_cut(model, width, count, sizes);
    if (edit) edit(&c.options);
    build_shards(&c);
    fa_refset *cal = normal_set(context, 25, width, 2);
    float *x = normal_rows(20, width, 3);
    check_equals_single(&c, cal, &(fa_array){x, (int64_t[]){20, width}, 2, FA_FLOAT32, NULL}, 1);
    free(x);
    fa_refset_release(cal);
    free_cut(&c);
}

static void few(fa_sketch_options *o) { o->k_in = 3, o->k_out = 2, o->blocks = FA_BLOCKS_PLAIN, o->layers = "!fc3"; }
static void drop(fa_sketch_options *o) { o->drop_misclassified = 1; }

START_TEST(is_the_single_build)
{
    check_width(mlp(context, true), 6, 2, (int64_t[]){7, 30}, NULL);
    check_width(mlp(context, true), 6, 3, (int64_t[]){41, 2, 13}, NULL);
    check_width(mlp(context, false), 6, 3, (int64_t[]){5, 17, 90}, few);
    check_width(mlp(context, true), 6, 1, (int64_t[]){19}, NULL);
    check_width(mlp(context, true), 6, 3, (int64_t[]){40, 25, 61}, drop); /* each shard keeps what its own build kept */
}
END_TEST

/* x [n, 9000] -> 5 -> 4: one side is too long for a moment. */
static fa_model *wide(void)
{
    net g = {0};
    fa_model *m;
    net_input(&g, "x", 2, (int64_t[]){-1, 9000});
    net_weight(&g, "w1", 9000, 5, 0.02f);
    net_weight(&g, "w2", 5, 4, 0.5f);
    net_node(&g, "Gemm", "x", "w1", NULL, "fc1");
    net_node(&g, "Relu", "fc1", NULL, NULL, "r1");
    net_node(&g, "Gemm", "r1", "w2", NULL, "fc2");
    net_output(&g, "fc2", 4);
    OK(net_load(&g, context, &m));
    return m;
}

START_TEST(random_projections)
{
    cut c = make_cut(wide(), 9000, 2, (int64_t[]){6, 11});
    c.options.seed = 5;
    build_shards(&c);
    ck_assert(c.sketch[0]->body->layer[0].random_in && !c.sketch[0]->body->layer[0].moment[0] && c.sketch[0]->body->layer[0].moment[1]);
    float *x = normal_rows(20, 9000, 3);
    check_equals_single(&c, NULL, &(fa_array){x, (int64_t[]){20, 9000}, 2, FA_FLOAT32, NULL}, 1);
    free(x);
    free_cut(&c);
}
END_TEST

START_TEST(any_order_gives_the_same_bytes)
{
    static const int32_t orders[][3] = {{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    cut c = make_cut(mlp(context, true), 6, 3, (int64_t[]){9, 3, 22});
    build_shards(&c);
    fa_refset *cal = normal_set(context, 25, 6, 2);
    fa_sketch *first, *again, *read[3];
    fa_sketch_options o = c.options;
    OK(merge(&c, NULL, cal, &o, &first));
    for (size_t k = 0; k < sizeof orders / sizeof orders[0]; k++) {
        context->threads = 1 + (int32_t)k % 3;
        OK(merge(&c, orders[k], cal, &o, &again));
        check_same_bytes(first, again);
        fa_sketch_release(again);
    }
    /* What went through a file is the same. */
    for (int i = 0; i < 3; i++) {
        size_t n;
        unsigned char *data = bytes_of(c.sketch[i], &n);
        read[i] = c.sketch[i];
        OK(fa_sketch_load_memory(context, data, n, &c.sketch[i]));
        free(data);
    }
    OK(merge(&c, orders[3], cal, &o, &again));
    check_same_bytes(first, again);
    fa_sketch_release(again);
    for (int i = 0; i < 3; i++) fa_sketch_release(read[i]);
    fa_sketch_release(first);
    fa_refset_release(cal);
    free_cut(&c);
}
END_TEST

START_TEST(merged_again)
{
    cut c = make_cut(mlp(context, true), 6, 3, (int64_t[]){9, 4, 22});
    build_shards(&c);
    cut two = {.model = c.model, .options = c.options, .count = 2, .set = {c.set[0], c.set[1]}, .sketch = {c.sketch[0], c.sketch[1]}};
    fa_sketch_options plain = c.options;
    fa_sketch_info info = {.struct_size = sizeof info};
    fa_sketch *s;
    plain.keep_moments = 0;
    OK(merge(&two, NULL, NULL, &plain, &s));
    OK(fa_sketch_get_info(s, &info));
    ck_assert_int_eq(info.has_moments, 0);
    fa_sketch_release(s);
    OK(merge(&two, NULL, NULL, &two.options, &s));
    OK(fa_sketch_get_info(s, &info));
    ck_assert(info.has_moments == 1 && info.reference_count == 13);
    cut rest = {.model = c.model, .options = c.options, .count = 2, .set = {all_references(&two), c.set[2]}, .sketch = {s, c.sketch[2]}};
    float *x = normal_rows(20, 6, 3);
    check_equals_single(&rest, NULL, &(fa_array){x, (int64_t[]){20, 6}, 2, FA_FLOAT32, NULL}, 1);
    free(x);
    fa_refset_release(rest.set[0]);
    fa_sketch_release(s);
    free_cut(&c);
}
END_TEST

/* x and z [n, 6] -> 4: z goes through a layer without bias of its own, which is silent where z is zero. */
static fa_model *forked(void)
{
    net g = {0};
    fa_model *m;
    net_input(&g, "x", 2, (int64_t[]){-1, 6});
    net_input(&g, "z", 2, (int64_t[]){-1, 6});
    net_weight(&g, "w1", 6, 8, 0.5f);
    net_weight(&g, "w2", 8, 4, 0.5f);
    net_weight(&g, "w3", 6, 4, 0.5f);
    net_node(&g, "Gemm", "x", "w1", NULL, "fc1");
    net_node(&g, "Relu", "fc1", NULL, NULL, "r1");
    net_node(&g, "Gemm", "r1", "w2", NULL, "fc2");
    net_node(&g, "Gemm", "z", "w3", NULL, "fc3");
    net_node(&g, "Add", "fc2", "fc3", NULL, "sum");
    net_output(&g, "sum", 4);
    OK(net_load(&g, context, &m));
    return m;
}

START_TEST(a_layer_that_is_silent_in_one_shard)
{
    static const int64_t size[2] = {11, 26};
    cut c = {.model = forked(), .count = 2};
    int64_t id[37];
    for (int i = 0; i < 37; i++) id[i] = i;
    for (int32_t i = 0; i < 2; i++) {
        float *x = normal_rows(size[i], 6, (uint64_t)i), *z = normal_rows(size[i], 6, 7);
        if (i == 0) memset(z, 0, (size_t)size[i] * 6 * sizeof *z);
        int64_t shape[2] = {size[i], 6};
        c.set[i] = make_set((fa_array[]){{x, shape, 2, FA_FLOAT32, "x"}, {z, shape, 2, FA_FLOAT32, "z"}}, 2, i ? id : NULL, id + 11 * i);
        free(x);
        free(z);
    }
    fa_sketch_options_init(&c.options, sizeof c.options);
    c.options.k_out = 3;
    build_shards(&c);
    ck_assert(c.sketch[0]->body->n_dropped == 1 && c.sketch[1]->body->n_dropped == 0);
    ck_assert(c.sketch[0]->body->layer[2].moment[1][0] > 0); /* what comes back to the silent layer counts all the same */
    float *x = normal_rows(20, 6, 8), *z = normal_rows(20, 6, 9);
    int64_t shape[2] = {20, 6};
    check_equals_single(&c, NULL, (fa_array[]){{x, shape, 2, FA_FLOAT32, "x"}, {z, shape, 2, FA_FLOAT32, "z"}}, 2);
    free(x);
    free(z);
    free_cut(&c);
}
END_TEST

START_TEST(refuses)
{
    cut c = make_cut(mlp(context, true), 6, 2, (int64_t[]){9, 14});
    build_shards(&c);
    fa_sketch *s = NULL, *kept = c.sketch[1], *other;
    fa_refset *set = c.set[1], *odd;
    fa_sketch_options o = c.options;
    const fa_sketch *const *sketches = (const fa_sketch *const *)c.sketch;
    const fa_refset *const *sets = (const fa_refset *const *)c.set;
    FAILS(fa_sketch_merge_shards(NULL, sketches, sets, 2, NULL, NULL, &s), FA_ERR_ARGUMENT, "model");
    FAILS(fa_sketch_merge_shards(c.model, NULL, sets, 2, NULL, NULL, &s), FA_ERR_ARGUMENT, "sketches");
    FAILS(fa_sketch_merge_shards(c.model, sketches, NULL, 2, NULL, NULL, &s), FA_ERR_ARGUMENT, "references");
    FAILS(fa_sketch_merge_shards(c.model, sketches, sets, 2, NULL, NULL, NULL), FA_ERR_ARGUMENT, "out");
    FAILS(fa_sketch_merge_shards(c.model, sketches, sets, 0, NULL, NULL, &s), FA_ERR_ARGUMENT, "0 sketches");
    FAILS(fa_sketch_merge_shards(c.model, sketches, sets, 3, NULL, NULL, &s), FA_ERR_ARGUMENT, "sketch 2 is NULL");
    FAILS(fa_sketch_merge(sketches, 2, &s), FA_ERR_ARGUMENT, "fa_sketch_merge_shards");
    c.set[1] = NULL;
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_ARGUMENT, "reference set 1 is NULL");
    c.set[1] = c.set[0];
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "sketch 1 of the merge was built from other references");
    c.sketch[1] = c.sketch[0];
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_ARGUMENT, "id 100 is given to more than one input");
    c.set[1] = set;
    /* Without moments. */
    o.keep_moments = 0;
    OK(fa_sketch_build(c.model, set, NULL, &o, &c.sketch[1]));
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_STATE, "sketch 1 of the merge has no moments");
    fa_sketch_release(c.sketch[1]);
    /* A trace sketch. */
    fa_trace_options trace;
    fa_trace_options_init(&trace, sizeof trace);
    trace.draws = 4;
    o.trace = &trace;
    OK(fa_sketch_build(c.model, set, NULL, &o, &c.sketch[1]));
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_ARGUMENT, "sketch 1 is a trace sketch");
    fa_sketch_release(c.sketch[1]);
    o.keep_moments = 1;
    FAILS(fa_sketch_build(c.model, set, NULL, &o, &other), FA_ERR_ARGUMENT, "keep_moments");
    o.trace = NULL;
    o.keep_moments = 2;
    FAILS(fa_sketch_build(c.model, set, NULL, &o, &other), FA_ERR_ARGUMENT, "keep_moments");
    /* Another model. */
    fa_model *model = mlp(context, false);
    o = c.options;
    OK(fa_sketch_build(model, set, NULL, &o, &c.sketch[1]));
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "sketch 1 of the merge: the sketch was made for another model");
    fa_sketch_release(c.sketch[1]);
    fa_model_release(model);
    /* Other options; batch may differ. */
#define OTHER(field, value)                                                                                                                              \
    do {                                                                                                                                                 \
        o = c.options;                                                                                                                                   \
        o.field = value;                                                                                                                                 \
        OK(fa_sketch_build(c.model, set, NULL, &o, &c.sketch[1]));                                                                                       \
        FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "sketch 1 of the merge differs from the first in the option '" #field "'");              \
        fa_sketch_release(c.sketch[1]);                                                                                                                  \
    } while (0)
    OTHER(k_in, 3);
    OTHER(k_out, 3);
    OTHER(beta, 0.5);
    OTHER(damping, 0.5);
    OTHER(ridge, 7);
    OTHER(blocks, FA_BLOCKS_PLAIN);
    OTHER(loss, FA_LOSS_CROSS_ENTROPY);
    OTHER(topk, 2);
    OTHER(seed, 3);
    OTHER(layers, "*");
    OTHER(drop_misclassified, 1);
    o = c.options;
    o.batch = 2;
    OK(fa_sketch_build(c.model, set, NULL, &o, &c.sketch[1]));
    OK(merge(&c, NULL, NULL, NULL, &s));
    fa_sketch_release(s);
    fa_sketch_release(c.sketch[1]);
    c.sketch[1] = kept;
    /* Arrays that do not go together: of another type, named and not. */
    double x[5 * 6] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    odd = make_set(&(fa_array){x, (int64_t[]){5, 6}, 2, FA_FLOAT64, NULL}, 1, NULL, NULL);
    OK(fa_sketch_build(c.model, odd, NULL, &c.options, &c.sketch[1]));
    c.set[1] = odd;
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "another name, type or shape");
    fa_sketch_release(c.sketch[1]);
    fa_refset_release(odd);
    c.set[1] = set;
    c.sketch[1] = kept;
    free_cut(&c);
}
END_TEST

/* A file may hold anything: what it says of moments and references is checked where it is used. */
START_TEST(sketches_that_lie)
{
    cut c = make_cut(mlp(context, true), 6, 2, (int64_t[]){9, 14});
    build_shards(&c);
    fa_sketch_body *b = c.sketch[1]->body;
    fa_sketch *s;
    int32_t index = b->layer[1].index;
    b->layer[1].index = 3; /* no first use of a shared weight */
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "model");
    b->layer[1].index = index;
    const double *moment = b->layer[1].moment[1];
    b->layer[1].moment[1] = NULL;
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "has not its moments");
    b->layer[1].moment[1] = moment;
    double was = moment[0];
    ((double *)moment)[0] = INFINITY;
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_NOT_FINITE, "not finite");
    ((double *)moment)[0] = was;
    b->n_reference--; /* so the ids are looked at */
    b->id[2] = 999;
    FAILS(merge(&c, NULL, NULL, NULL, &s), FA_ERR_MISMATCH, "reference 999");
    b->n_reference++;
    free_cut(&c);
}
END_TEST

static int32_t fail_at, calls;

static void *failing_alloc(void *user, size_t size, size_t align)
{
    return __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) == fail_at ? NULL : fa_system_allocator.alloc(user, size, align);
}

START_TEST(every_allocation_may_fail)
{
    cut c = make_cut(mlp(context, true), 6, 3, (int64_t[]){12, 6, 21});
    drop(&c.options);
    build_shards(&c);
    fa_refset *cal = normal_set(context, 25, 6, 2);
    uint64_t before = fa_context_memory_used(context);
    context->threads = 2;
    fa_status status = FA_ERR_MEMORY;
    for (fail_at = 0; status != FA_OK; fail_at++) {
        fa_sketch *s = NULL, *merged = NULL;
        calls = 0;
        context->allocator.alloc = failing_alloc;
        status = fa_sketch_build(c.model, c.set[0], NULL, &c.options, &s);
        if (status == FA_OK) status = merge(&c, NULL, cal, &c.options, &merged);
        context->allocator.alloc = fa_system_allocator.alloc;
        ck_assert_msg(status == (calls > fail_at ? FA_ERR_MEMORY : FA_OK), "allocation %d: %s", (int)fail_at, fa_error_message());
        fa_sketch_release(merged);
        fa_sketch_release(s);
        ck_assert_uint_eq(fa_context_memory_used(context), before);
        ck_assert_int_lt(fail_at, 5000);
    }
    ck_assert_int_gt(fail_at, 50);
    fa_refset_release(cal);
    free_cut(&c);
}
END_TEST

static int32_t stopping(void *user, const char *stage, int64_t done, int64_t total)
{
    (void)stage;
    ck_assert(done <= total);
    *(int64_t *)user = total;
    return 1;
}

START_TEST(can_be_cancelled)
{
    cut c = make_cut(mlp(context, true), 6, 2, (int64_t[]){9, 14});
    build_shards(&c);
    fa_sketch *s = NULL;
    int64_t total = 0;
    fa_sketch_options o = c.options;
    o.progress = stopping;
    o.progress_user = &total;
    FAILS(merge(&c, NULL, NULL, &o, &s), FA_ERR_CANCELLED, "");
    ck_assert(s == NULL && total == 23 + 2 * 3); /* one pass over the references, two projections for each of three layers */
    free_cut(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shards");
    TCase *t = tcase_create("shards");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, is_the_single_build);
    tcase_add_test(t, random_projections);
    tcase_add_test(t, any_order_gives_the_same_bytes);
    tcase_add_test(t, merged_again);
    tcase_add_test(t, a_layer_that_is_silent_in_one_shard);
    tcase_add_test(t, refuses);
    tcase_add_test(t, sketches_that_lie);
    tcase_add_test(t, every_allocation_may_fail);
    tcase_add_test(t, can_be_cancelled);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
