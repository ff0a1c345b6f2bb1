/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/trace_tensors.h"

#include "base/error.h"
#include "sketch/tensors.h"

#include <float.h>
#include <string.h>

void fa_list_trace_tensors(const fa_sketch *s, int64_t draws, fa_st_tensor *list, int32_t *count)
{
    const fa_sketch_body *b = s->body;
    const fa_sketch_trace *t = b->trace;
    int64_t all = b->offset[b->n_layer];
    /* As floats where they are floats, so that any reader of safetensors can use them. */
    if (t->draw_bytes && draws && t->options.storage == FA_DRAWS_F32) fa_st_add(list, count, "draws.delta", FA_ST_F32, draws, t->layout.n_weight, t->draw);
    else if (t->draw_bytes && draws) fa_st_add(list, count, "draws.delta", FA_ST_U8, draws, (int64_t)t->draw_bytes, t->draw);
    if (t->statistics && draws) fa_st_add(list, count, "draws.statistics", FA_ST_F32, draws, t->n_statistics, t->statistics);
    fa_st_add(list, count, "references.loss", FA_ST_F32, b->n_reference, all, t->loss);
    if (s->n_calibration) fa_st_add(list, count, "calibration.loss", FA_ST_F32, s->n_calibration, all, s->calibration_loss);
}

fa_status fa_read_draws(fa_st_file *f, fa_sketch_body *b, int64_t draws)
{
    fa_sketch_trace *s = b->trace;
    const fa_st_tensor *t;
    bool floats = s->options.storage == FA_DRAWS_F32;
    if (s->draw_bytes && draws) {
        FA_TRY(fa_st_expect(f, "draws.delta", floats ? FA_ST_F32 : FA_ST_U8, draws, floats ? s->layout.n_weight : (int64_t)s->draw_bytes, &t));
        if (t->size) memcpy(s->draw, t->data, t->size);
    }
    if (s->statistics && draws) FA_TRY(fa_st_take_floats(f, "draws.statistics", draws, s->n_statistics, -FLT_MAX, FLT_MAX, s->statistics));
    return fa_st_take_floats(f, "references.loss", b->n_reference, b->offset[b->n_layer], 0, FA_TRACE_LOSS_MOST, s->loss);
}

fa_status fa_read_all_draws(fa_st_file *f, fa_sketch_body *b)
{
    fa_sketch_trace *s = b->trace;
    const fa_st_tensor *t = fa_st_find(f, "references.loss");
    int64_t draws = 0;
    for (int32_t c = 0; c < s->n_chain; c++) draws += s->chain[c].draws;
    FA_TRY(fa_st_expect(f, "references.loss", FA_ST_F32, b->n_reference, draws, &t));
    if (s->draw_bytes && !fa_st_find(f, "draws.delta")) return fa_fail(FA_ERR_FORMAT, "tensor 'draws.delta' is missing");
    if (s->draw_bytes && fa_st_find(f, "draws.delta")->size != (size_t)draws * s->draw_bytes)
        return fa_fail(FA_ERR_FORMAT, "tensor 'draws.delta' has not the size that the tables of parameters and chains ask for");
    if (s->n_statistics) FA_TRY(fa_st_expect(f, "draws.statistics", FA_ST_F32, draws, s->n_statistics, &t));
    FA_TRY(fa_trace_new(b, s->chain, s->n_chain));
    return fa_read_draws(f, b, draws);
}

fa_status fa_read_calibration_loss(fa_st_file *f, fa_sketch *s)
{
    return fa_st_take_floats(f, "calibration.loss", s->n_calibration, s->body->offset[s->body->n_layer], 0, FA_TRACE_LOSS_MOST, s->calibration_loss);
}
