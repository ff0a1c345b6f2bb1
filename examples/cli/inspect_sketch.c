/* SPDX-License-Identifier: Apache-2.0 */
#include "conformal.h"
#include "inspect.h"
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 5 /* references that the audit names */

static const char *precision_name(int32_t precision)
{
    return precision == FA_PRECISION_BF16 ? "bf16" : "f32";
}

static const char *blocks_name(int32_t blocks)
{
    return blocks == FA_BLOCKS_PLAIN ? "plain" : blocks == FA_BLOCKS_LAYER_UNIT ? "layer-unit" : "both";
}

/* The audit: how far each reference is explained by the others. Those that are not are worth a look. */
typedef struct audit {
    double median, largest;
    int64_t count, worst[SHOWN]; /* indices, largest score first */
    double worst_score[SHOWN];
    int64_t no_signal, misclassified, labelled;
} audit;

typedef struct ranked {
    double score;
    int64_t index;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->score < y->score ? 1 : x->score > y->score ? -1 : x->index > y->index ? 1 : -1;
}

static int take_audit(const fa_sketch *sketch, int64_t n, audit *out)
{
    audit a = {.count = n < SHOWN ? n : SHOWN};
    double *score = calloc((size_t)n + 1, sizeof *score);
    ranked *order = calloc((size_t)n + 1, sizeof *order);
    int code = score && order ? EXIT_DONE : say_error("out of memory");
    if (code == EXIT_DONE && fa_sketch_audit(sketch, FA_SCORE_CONE, score) != FA_OK) code = say_failure();
    if (code == EXIT_DONE) {
        for (int64_t i = 0; i < n; i++) order[i] = (ranked){score[i], i};
        qsort(order, (size_t)n, sizeof *order, by_score);
        a.median = n % 2 ? order[n / 2].score : (order[n / 2 - 1].score + order[n / 2].score) / 2;
        a.largest = order[0].score;
        for (int64_t k = 0; k < a.count; k++) {
            a.worst[k] = order[k].index;
            a.worst_score[k] = order[k].score;
        }
        for (int64_t i = 0; i < n; i++) {
            fa_reference_info r;
            if (fa_sketch_get_reference(sketch, i, &r) != FA_OK) continue;
            a.no_signal += r.no_signal;
            a.labelled += r.label >= 0 && r.predicted >= 0;
            a.misclassified += r.label >= 0 && r.predicted >= 0 && r.label != r.predicted;
        }
        *out = a;
    }
    free(score);
    free(order);
    return code;
}

/* The score `cone` above which an input is flagged at alpha 0.05; NaN where too few inputs were held out. */
static double threshold(const fa_sketch *sketch, int64_t m)
{
    double *ascending = calloc((size_t)m + 1, sizeof *ascending), out = NAN;
    if (ascending && m && fa_sketch_get_calibration(sketch, FA_SCORE_CONE, ascending) == FA_OK) out = conformal_threshold(ascending, m, 0.05);
    free(ascending);
    return out;
}

static json_t *layers_json(const fa_sketch *sketch, int32_t count)
{
    json_t *list = json_array();
    fa_sketch_layer_info l;
    for (int32_t i = 0; i < count && fa_sketch_get_layer(sketch, i, &l) == FA_OK; i++) {
        json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:I,s:i,s:i,s:b,s:b,s:b}",
                                              "name", l.name, "in", (json_int_t)l.in, "out", (json_int_t)l.out, "groups", (json_int_t)l.groups,
                                              "k_in", (int)l.k_in, "k_out", (int)l.k_out, "dropped", (int)l.dropped, "random_in", (int)l.random_in,
                                              "random_out", (int)l.random_out));
    }
    return list;
}

static json_t *audit_json(const fa_sketch *sketch, const audit *a)
{
    json_t *worst = json_array();
    for (int64_t k = 0; k < a->count; k++) {
        fa_reference_info r;
        if (fa_sketch_get_reference(sketch, a->worst[k], &r) != FA_OK) continue;
        json_array_append_new(worst, json_pack("{s:I,s:o,s:I,s:o}",
                                               "id", (json_int_t)r.id, "class", json_class(r.predicted), "label", (json_int_t)r.label,
                                               "score", json_number(a->worst_score[k])));
    }
    return json_pack("{s:s,s:o,s:o,s:I,s:o,s:o}",
                     "score", "cone", "median", json_number(a->median), "largest", json_number(a->largest), "no_signal", (json_int_t)a->no_signal,
                     "misclassified", a->labelled ? json_integer(a->misclassified) : json_null(), "least_explained", worst);
}

static int print_json(const session *s, const char *path, const fa_sketch_info *i, const audit *a)
{
    json_t *options = json_pack("{s:s,s:f,s:i,s:I}", "loss", fa_loss_name(i->loss), "ridge", i->ridge, "topk", (int)i->topk, "seed", (json_int_t)i->seed);
    if (!i->is_trace)
        json_object_update_new(options, json_pack("{s:i,s:i,s:f,s:f,s:s,s:b,s:s}", "k_in", (int)i->k_in, "k_out", (int)i->k_out, "beta", i->beta, "damping", i->damping, "blocks",
                                                  blocks_name(i->blocks), "keep_moments", (int)i->has_moments, "precision", precision_name(i->precision)));
    return json_print(json_pack("{s:s,s:s,s:o,s:i,s:s,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:o,s:o}",
                                "kind", "sketch", "path", path, "trace", i->is_trace ? inspect_trace_json(s->sketch) : json_null(), "format_version", (int)i->format_version, "library_version", i->library_version,
                                "references", (json_int_t)i->reference_count, "calibration", (json_int_t)i->calibration_count,
                                "classes", (json_int_t)i->class_count, "signature_length", (json_int_t)i->signature_length,
                                "model_digest", json_digest(i->model_digest), "references_digest", json_digest(i->references_digest),
                                "options", options, "threshold", json_number(threshold(s->sketch, i->calibration_count)),
                                "layers", layers_json(s->sketch, i->layer_count + i->dropped_layer_count), "audit", audit_json(s->sketch, a)));
}

static void print_digest(const char *what, const uint8_t digest[FA_DIGEST_SIZE])
{
    printf("  %-12s", what);
    for (int i = 0; i < FA_DIGEST_SIZE; i++) printf("%02x", digest[i]);
    putchar('\n');
}

static void print_layers(const session *s, const fa_sketch_info *i)
{
    printf("  options     k %d x %d, beta %g, damping %g, ridge %g, blocks %s, loss %s, topk %d, seed %llu, precision %s\n", (int)i->k_in, (int)i->k_out, i->beta, i->damping, i->ridge,
           blocks_name(i->blocks), fa_loss_name(i->loss), (int)i->topk, (unsigned long long)i->seed, precision_name(i->precision));
    printf("  moments     %s\n", i->has_moments ? "kept: fattr merge can join this sketch with those of other references" : "not kept (see fattr build --keep-moments)");
    printf("  signature   %lld numbers from %d layers, %lld classes\n\n", (long long)i->signature_length, (int)i->layer_count, (long long)i->class_count);
    printf("  %7s %7s %6s %9s  %s\n", "in", "out", "groups", "k", "layer");
    fa_sketch_layer_info l;
    for (int32_t k = 0; k < i->layer_count + i->dropped_layer_count && fa_sketch_get_layer(s->sketch, k, &l) == FA_OK; k++) {
        printf("  %7lld %7lld %6lld %4d x %-2d  %s%s%s\n", (long long)l.in, (long long)l.out, (long long)l.groups, (int)l.k_in, (int)l.k_out, l.name,
               l.dropped ? "  (dropped: no signal)" : "", l.random_in || l.random_out ? "  (random projection)" : "");
    }
}

static void print_text(const session *s, const char *path, const fa_sketch_info *i, const audit *a)
{
    printf("%s: a sketch, format %d, written by libfattr %s\n", path, (int)i->format_version, i->library_version);
    print_digest("model", i->model_digest);
    print_digest("references", i->references_digest);
    printf("  references  %lld", (long long)i->reference_count);
    if (a->labelled) printf(", %lld of them misclassified", (long long)a->misclassified);
    if (a->no_signal) printf(", %lld without signal", (long long)a->no_signal);
    double flagged_above = threshold(s->sketch, i->calibration_count);
    if (!i->calibration_count) printf("\n  calibration none: scores without p-value and verdict\n");
    else if (isnan(flagged_above)) printf("\n  calibration %lld inputs, too few for a false positive rate of 0.05\n", (long long)i->calibration_count);
    else printf("\n  calibration %lld inputs; cone flags above %.4f at a false positive rate of 0.05\n", (long long)i->calibration_count, flagged_above);
    if (i->is_trace) {
        printf("  options     loss %s, ridge %g, topk %d, seed %llu\n", fa_loss_name(i->loss), i->ridge, (int)i->topk, (unsigned long long)i->seed);
        inspect_trace_text(s->sketch);
    } else {
        print_layers(s, i);
    }
    printf("\n  audit: each reference scored against the others, median %.4f; least explained:\n", a->median);
    for (int64_t k = 0; k < a->count; k++) {
        fa_reference_info r;
        if (fa_sketch_get_reference(s->sketch, a->worst[k], &r) != FA_OK) continue;
        printf("    %.4f  reference %lld", a->worst_score[k], (long long)r.id);
        if (r.predicted >= 0) printf(", class %lld", (long long)r.predicted);
        if (r.label >= 0 && r.predicted >= 0 && r.label != r.predicted) printf(", labelled %lld", (long long)r.label);
        putchar('\n');
    }
}

int inspect_sketch(const session *s, const char *path, bool json)
{
    fa_sketch_info info = {.struct_size = sizeof info};
    audit a;
    if (fa_sketch_get_info(s->sketch, &info) != FA_OK) return say_failure();
    if (take_audit(s->sketch, info.reference_count, &a) != EXIT_DONE) return EXIT_FAILED;
    if (json) return print_json(s, path, &info, &a);
    print_text(s, path, &info, &a);
    return EXIT_DONE;
}
