/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/fattr.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* Any bytes as a sketch: an error with words, or a sketch whose every answer is in range. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds) abort();
}

/* Whether it has the concordance scores. */
static bool use_trace(const fa_sketch *s, const fa_sketch_info *info)
{
    fa_trace_info t = {.struct_size = sizeof t};
    fa_chain_info c = {.struct_size = sizeof c}, last = c;
    check(fa_sketch_get_trace_info(s, &t) == FA_OK && t.chain_count >= 1 && t.verdict != NULL && t.draw_count == info->signature_length);
    int64_t draws = 0;
    for (int32_t i = 0; i < t.chain_count; i++) {
        check(fa_sketch_get_chain(s, i, &c) == FA_OK && c.draws >= 2);
        check(i == 0 || c.seed > last.seed || (c.seed == last.seed && c.id > last.id));
        draws += c.draws;
        last = c;
    }
    check(draws == t.draw_count);
    float *loss = malloc((size_t)(info->reference_count * draws) * sizeof *loss);
    check(loss != NULL && fa_sketch_get_traces(s, loss) == FA_OK);
    for (int64_t i = 0; i < info->reference_count * draws; i++) check(isfinite(loss[i]) && loss[i] >= 0);
    free(loss);
    fa_sketch *merged = NULL;
    check(fa_sketch_merge(&s, 1, &merged) == FA_OK || fa_error_message()[0]);
    fa_sketch_release(merged);
    return t.partial == 0;
}

static void use(const fa_sketch *s)
{
    fa_sketch_info info = {.struct_size = sizeof info};
    fa_sketch_layer_info layer;
    fa_reference_info reference;
    check(fa_sketch_get_info(s, &info) == FA_OK);
    check(info.reference_count >= 2 && info.signature_length >= 1 && info.class_count >= 0);
    check(fa_loss_name(info.loss) != NULL);
    const bool one_class = info.loss == FA_LOSS_MARGIN || info.loss == FA_LOSS_CROSS_ENTROPY;
    check(info.is_trace ? info.layer_count == 0 : info.layer_count >= 1);
    check(info.has_moments == 0 || info.has_moments == 1);
    bool ccc = info.is_trace && use_trace(s, &info);
    for (int32_t i = 0; i < info.layer_count + info.dropped_layer_count; i++) {
        check(fa_sketch_get_layer(s, i, &layer) == FA_OK && layer.name != NULL);
        check(layer.dropped == (i >= info.layer_count) && layer.k_in <= layer.in && layer.k_out <= layer.out);
    }
    double *scores = malloc((size_t)(info.reference_count > info.calibration_count ? info.reference_count : info.calibration_count) * sizeof *scores);
    check(scores != NULL);
    for (int64_t i = 0; i < info.reference_count; i++) {
        check(fa_sketch_get_reference(s, i, &reference) == FA_OK);
        check(reference.predicted >= (one_class ? 0 : -1) && (reference.predicted < 0 || reference.predicted < info.class_count));
    }
    for (int32_t k = 0; k < (ccc ? FA_SCORE_COUNT : FA_SCORE_COMMON_COUNT); k++) {
        fa_status status = fa_sketch_audit(s, k, scores);
        if (k == FA_SCORE_SPAN && status == FA_ERR_ARGUMENT) continue; /* many references, or some of them at a time */
        check(status == FA_OK);
        for (int64_t i = 0; i < info.reference_count; i++) check(isfinite(scores[i]));
        check(fa_sketch_get_calibration(s, k, scores) == (info.calibration_count ? FA_OK : FA_ERR_STATE));
    }
    free(scores);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_context_options o;
    fa_context *context;
    fa_sketch *sketch;
    fa_context_options_init(&o, sizeof o);
    o.memory_limit = 64u << 20;
    if (fa_context_create(&o, &context) != FA_OK) abort();
    fa_status status = fa_sketch_load_memory(context, data, size, &sketch);
    if (status == FA_OK) {
        use(sketch);
        fa_sketch_release(sketch);
    } else {
        check(status == FA_ERR_FORMAT || status == FA_ERR_CHECKSUM || status == FA_ERR_VERSION || status == FA_ERR_MEMORY);
        check(fa_error_message()[0] != '\0');
    }
    check(fa_context_memory_used(context) == 0);
    fa_context_release(context);
    return 0;
}
