/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/bind.h"

#include "base/error.h"
#include "graph/array.h"
#include "graph/edit.h"

#include <stdio.h>
#include <string.h>

static int32_t input_named(const fa_graph *g, const char *name)
{
    for (int32_t i = 0; i < g->n_input; i++)
        if (!strcmp(g->value[g->input[i]].name, name)) return i;
    return -1;
}

static fa_status check(const fa_value *v, const fa_array *a, const char *what)
{
    char have[FA_SHAPE_TEXT], want[FA_SHAPE_TEXT];
    int64_t count;
    FA_TRY(fa_array_check(a, what, &count));
    bool fits = !v->has_shape || v->declared_ndim == a->ndim;
    for (int32_t i = 0; fits && v->has_shape && i < a->ndim; i++) fits = v->declared[i] < 0 || v->declared[i] == a->shape[i];
    if (!fits)
        return fa_fail(FA_ERR_SHAPE, "%s: shape %s given, the model takes %s", what, fa_shape_text(a->ndim, a->shape, have, sizeof have),
                       fa_shape_text(v->declared_ndim, v->declared, want, sizeof want));
    if (v->dtype && !fa_dtype_is_real(v->dtype) && fa_dtype_is_real(a->dtype))
        return fa_fail(FA_ERR_DTYPE, "%s: %s given, the model takes %s", what, fa_dtype_name(a->dtype), fa_dtype_name(v->dtype));
    int64_t bad = fa_array_not_finite(a, 0, count);
    return bad < 0 ? FA_OK : fa_fail(FA_ERR_NOT_FINITE, "%s: element %lld is NaN or infinite", what, (long long)bad);
}

/* The elements as an initialiser holds them. */
static fa_status copy(const fa_array *a, int32_t dtype, fa_arena *arena, fa_view *view)
{
    *view = (fa_view){.dtype = dtype ? dtype : a->dtype};
    fa_view_set_shape(view, a->ndim, a->shape);
    view->data = fa_arena_array(arena, (size_t)view->count + 1, sizeof(int64_t));
    if (!view->data) return FA_ERR_MEMORY;
    if (!fa_dtype_is_real(view->dtype)) fa_array_to_int64(a, 0, view->count, view->data);
    else if (view->dtype != FA_FLOAT64) fa_array_to_float(a, 0, view->count, view->data);
    for (int64_t i = 0; view->dtype == FA_FLOAT64 && i < view->count; i++) {
        float element;
        fa_array_to_float(a, i, 1, &element);
        ((double *)view->data)[i] = a->dtype == FA_FLOAT64 ? ((const double *)a->data)[i] : (double)element;
    }
    return FA_OK;
}

static fa_status bind(fa_edit *e, const fa_array *array, int32_t count)
{
    fa_graph *g = e->graph;
    int32_t *left = fa_arena_array(&g->arena, (size_t)g->n_input + 1, sizeof *left), n_left = 0;
    if (!left) return FA_ERR_MEMORY;
    for (int32_t k = 0; k < count; k++) {
        char what[160];
        fa_view view;
        if (!array[k].name) return fa_fail(FA_ERR_ARGUMENT, "bound array %d: 'name' is NULL; it says which input is bound", k);
        const int32_t i = input_named(g, array[k].name);
        if (i < 0) return fa_fail(FA_ERR_ARGUMENT, "bound array %d: the model has no input '%.100s'", k, array[k].name);
        fa_value *v = &g->value[g->input[i]];
        if (v->is_initialiser) return fa_fail(FA_ERR_ARGUMENT, "input '%.100s' is bound twice", v->name);
        snprintf(what, sizeof what, "bound input '%.100s'", v->name);
        FA_TRY(check(v, &array[k], what));
        FA_TRY(copy(&array[k], v->dtype, &g->arena, &view));
        fa_edit_make_initialiser(e, g->input[i], &view);
    }
    for (int32_t i = 0; i < g->n_input; i++)
        if (!g->value[g->input[i]].is_initialiser) left[n_left++] = g->input[i];
    if (!n_left) return fa_fail(FA_ERR_ARGUMENT, "all inputs of the model are bound; one at least is to be left");
    g->input = left;
    g->n_input = n_left;
    return FA_OK;
}

fa_status fa_graph_bind(const fa_graph *graph, const fa_array *array, int32_t count, fa_graph **out)
{
    fa_edit edit;
    FA_TRY(fa_edit_begin(graph, &edit));
    fa_status status = bind(&edit, array, count);
    if (status != FA_OK) {
        fa_edit_discard(&edit);
        return status;
    }
    return fa_edit_finish(&edit, out);
}
