/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/packings.h"

#include "base/error.h"

int64_t fa_packing_count(const fa_packing *p)
{
    const fa_conv_geometry *g = &p->geometry;
    return g->out * (g->c / g->groups) * g->kh * g->kw;
}

fa_status fa_packing_unpack(const fa_packing *p, const fa_graph *fast, fa_arena *arena, float **out)
{
    float *weights = fa_arena_array(arena, (size_t)fa_packing_count(p), sizeof *weights);
    if (!weights) return FA_ERR_MEMORY;
    fa_conv_unpack(&p->geometry, fast->value[p->forward].view.data, p->stride_out, p->stride_in, 1, weights);
    *out = weights;
    return FA_OK;
}

static fa_status pack_gradient(const fa_packing *p, const fa_graph *fast, const fa_graph *source, fa_edit *e)
{
    fa_arena work = {.context = e->graph->arena.context};
    fa_view view = fast->value[p->gradient].view;
    float *made;
    view.data = fa_arena_array(&e->graph->arena, (size_t)view.count, sizeof(float));
    if (!view.data) return FA_ERR_MEMORY;
    if (!fa_conv_unpacks(&p->geometry)) {
        fa_conv_pack(&p->geometry, FA_CONV_DATA_GRADIENT, source->value[p->source].view.data, p->stride_out, p->stride_in, 1, view.data);
    } else {
        FA_TRY(fa_packing_unpack(p, fast, &work, &made));
        fa_conv_pack(&p->geometry, FA_CONV_DATA_GRADIENT, made, p->stride_out, p->stride_in, 1, view.data);
        fa_arena_clear(&work);
    }
    fa_edit_make_initialiser(e, p->gradient, &view);
    return FA_OK;
}

fa_status fa_packings_gradients(const fa_packings *packings, const fa_graph *fast, const fa_graph *source, fa_graph **out)
{
    bool any = false;
    fa_edit e;
    for (int32_t i = 0; i < packings->count; i++) any |= packings->packing[i].late;
    *out = NULL;
    if (!any) return FA_OK;
    FA_TRY(fa_edit_begin(fast, &e));
    for (int32_t i = 0; i < packings->count; i++) {
        fa_status status = packings->packing[i].late ? pack_gradient(&packings->packing[i], fast, source, &e) : FA_OK;
        if (status == FA_OK) continue;
        fa_edit_discard(&e);
        return status;
    }
    return fa_edit_finish(&e, out);
}
