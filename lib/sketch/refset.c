/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/refset.h"

#include "base/error.h"
#include "base/hash.h"
#include "graph/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What messages call array `i`. */
static const char *array_name(const fa_array *a, int32_t i, char *text, size_t size)
{
    if (a->name) snprintf(text, size, "input '%.100s'", a->name);
    else snprintf(text, size, "input array %d", i);
    return text;
}

static size_t row_bytes(const fa_array *a)
{
    size_t size = fa_dtype_size(a->dtype);
    for (int32_t i = 1; i < a->ndim; i++) size *= (size_t)a->shape[i];
    return size;
}

size_t fa_refset_row_bytes(const fa_refset *s)
{
    size_t size = s->label ? 2 * sizeof(int64_t) : sizeof(int64_t);
    for (int32_t i = 0; i < s->n_input; i++) size += row_bytes(&s->input[i]);
    return size;
}

static fa_status check_arrays(const fa_array *inputs, int32_t n_input)
{
    char what[128];
    for (int32_t k = 0; k < n_input; k++) {
        const fa_array *a = &inputs[k];
        int64_t count;
        FA_TRY(fa_array_check(a, array_name(a, k, what, sizeof what), &count));
        if (a->ndim < 1) return fa_fail(FA_ERR_SHAPE, "%s: no dimension; the first one counts inputs", what);
        if (a->shape[0] == 0) return fa_fail(FA_ERR_ARGUMENT, "%s: the set is empty", what);
        if (a->shape[0] != inputs[0].shape[0])
            return fa_fail(FA_ERR_SHAPE, "%s: %lld inputs, but %lld in the first array", what, (long long)a->shape[0], (long long)inputs[0].shape[0]);
        int64_t bad = fa_array_not_finite(a, 0, count);
        if (bad >= 0) {
            int64_t row = count / a->shape[0];
            return fa_fail(FA_ERR_NOT_FINITE, "%s: element %lld of input %lld is NaN or infinite", what, (long long)(bad % row),
                           (long long)(bad / row));
        }
    }
    return FA_OK;
}

static int compare_ids(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static fa_status check_ids(fa_context *context, const int64_t *id, int64_t n)
{
    int64_t *sorted = fa_new_array(context, (size_t)n, sizeof *sorted);
    if (!sorted) return FA_ERR_MEMORY;
    memcpy(sorted, id, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_ids);
    fa_status status = FA_OK;
    for (int64_t i = 1; i < n && status == FA_OK; i++)
        if (sorted[i] == sorted[i - 1]) status = fa_fail(FA_ERR_ARGUMENT, "id %lld is given to more than one input", (long long)sorted[i]);
    fa_delete(context, sorted);
    return status;
}

static void digest(fa_refset *s)
{
    fa_hash h;
    fa_hash_begin(&h);
    fa_hash_add_i64(&h, s->n);
    fa_hash_add_i64(&h, s->n_input);
    for (int32_t k = 0; k < s->n_input; k++) {
        const fa_array *a = &s->input[k];
        fa_hash_add_i64(&h, a->dtype);
        fa_hash_add_i64(&h, a->ndim);
        for (int32_t i = 0; i < a->ndim; i++) fa_hash_add_i64(&h, a->shape[i]);
        fa_hash_add(&h, a->data, (size_t)s->n * row_bytes(a));
    }
    fa_hash_add_i64(&h, s->label != NULL);
    if (s->label) fa_hash_add(&h, s->label, (size_t)s->n * sizeof *s->label);
    fa_hash_add(&h, s->id, (size_t)s->n * sizeof *s->id);
    fa_hash_end(&h, s->digest);
}

/* The rows whose `keep` is true (NULL: all), `kept` in number. */
static void *copy_rows(fa_arena *arena, const void *data, size_t row, int64_t n, const bool *keep, int64_t kept)
{
    size_t size;
    if (!fa_mul_size((size_t)kept, row, &size)) {
        fa_fail_memory(SIZE_MAX);
        return NULL;
    }
    char *p = fa_arena_new(arena, size), *at = p;
    if (!p || !row) return p;
    if (!keep) return memcpy(p, data, size);
    for (int64_t i = 0; i < n; i++)
        if (keep[i]) {
            memcpy(at, (const char *)data + (size_t)i * row, row);
            at += row;
        }
    return p;
}

/* Name, type and shape, for `n` inputs. */
static fa_status copy_description(fa_arena *arena, const fa_array *from, int64_t n, fa_array *to)
{
    int64_t *shape = fa_arena_array(arena, (size_t)from->ndim, sizeof *shape);
    *to = *from;
    to->name = from->name ? fa_arena_string(arena, from->name) : NULL;
    if (!shape || (from->name && !to->name)) return FA_ERR_MEMORY;
    memcpy(shape, from->shape, (size_t)from->ndim * sizeof *shape);
    shape[0] = n;
    to->shape = shape;
    return FA_OK;
}

static fa_status copy_array(fa_arena *arena, const fa_array *from, const bool *keep, int64_t kept, fa_array *to)
{
    FA_TRY(copy_description(arena, from, kept, to));
    to->data = copy_rows(arena, from->data, row_bytes(from), from->shape[0], keep, kept);
    return to->data ? FA_OK : FA_ERR_MEMORY;
}

static fa_status fill(fa_refset *s, const fa_array *inputs, const int64_t *label, const int64_t *id, int64_t n, const bool *keep)
{
    int64_t *own;
    s->input = fa_arena_array(&s->arena, (size_t)s->n_input, sizeof *s->input);
    if (!s->input) return FA_ERR_MEMORY;
    for (int32_t k = 0; k < s->n_input; k++) FA_TRY(copy_array(&s->arena, &inputs[k], keep, s->n, &s->input[k]));
    if (label && !(s->label = copy_rows(&s->arena, label, sizeof *label, n, keep, s->n))) return FA_ERR_MEMORY;
    if (id) {
        s->id = copy_rows(&s->arena, id, sizeof *id, n, keep, s->n);
        return s->id ? FA_OK : FA_ERR_MEMORY;
    }
    s->id = own = fa_arena_array(&s->arena, (size_t)s->n, sizeof *own);
    if (!own) return FA_ERR_MEMORY;
    for (int64_t i = 0; i < s->n; i++) own[i] = i;
    return FA_OK;
}

static fa_status make(fa_context *context, const fa_array *inputs, int32_t n_input, const int64_t *label, const int64_t *id, int64_t n,
                      const bool *keep,
                      int64_t kept, fa_refset **out)
{
    fa_refset *s = fa_new(context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    atomic_init(&s->references, 1);
    s->arena.context = context;
    s->n = kept;
    s->n_input = n_input;
    fa_status status = fill(s, inputs, label, id, n, keep);
    if (status != FA_OK) {
        fa_refset_free(s);
        return status;
    }
    digest(s);
    *out = s;
    return FA_OK;
}

fa_status fa_refset_make(fa_context *context, const fa_array *inputs, int32_t n_input, const fa_refset_options *options, fa_refset **out)
{
    FA_TRY(check_arrays(inputs, n_input));
    int64_t n = inputs[0].shape[0];
    if (options->ids) FA_TRY(check_ids(context, options->ids, n));
    if (options->labels)
        for (int64_t i = 0; i < n; i++)
            if (options->labels[i] < -1) return fa_fail(FA_ERR_ARGUMENT, "label %lld of input %lld is below -1", (long long)options->labels[i],
                                                        (long long)i);
    return make(context, inputs, n_input, options->labels, options->ids, n, NULL, n, out);
}

fa_status fa_refset_select(fa_context *context, const fa_refset *s, const bool *keep, fa_refset **out)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < s->n; i++) kept += keep[i];
    return make(context, s->input, s->n_input, s->label, s->id, s->n, keep, kept, out);
}

static bool same_array(const fa_array *a, const fa_array *b)
{
    if (!a->name != !b->name || (a->name && strcmp(a->name, b->name)) || a->dtype != b->dtype || a->ndim != b->ndim) return false;
    for (int32_t d = 1; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

static fa_status check_joint(const fa_refset *first, const fa_refset *set, int32_t index)
{
    char what[128];
    if (set->n_input != first->n_input) return fa_fail(FA_ERR_MISMATCH, "set %d has %d arrays, the first %d", index, set->n_input, first->n_input);
    for (int32_t k = 0; k < set->n_input; k++)
        if (!same_array(&first->input[k], &set->input[k]))
            return fa_fail(FA_ERR_MISMATCH, "set %d: %s has another name, type or shape in the first", index, array_name(&set->input[k], k, what, sizeof what));
    return FA_OK;
}

static fa_status join_array(fa_arena *arena, const fa_refset *const *sets, int32_t count, int32_t k, int64_t n, fa_array *to)
{
    size_t row = row_bytes(&sets[0]->input[k]);
    FA_TRY(copy_description(arena, &sets[0]->input[k], n, to));
    char *at = fa_arena_array(arena, (size_t)n, row);
    if (!at) return FA_ERR_MEMORY;
    to->data = at;
    for (int32_t j = 0; j < count && row; at += row * (size_t)sets[j++]->n) memcpy(at, sets[j]->input[k].data, row * (size_t)sets[j]->n);
    return FA_OK;
}

static fa_status join_names(fa_refset *s, const fa_refset *const *sets, int32_t count)
{
    bool labelled = false;
    for (int32_t j = 0; j < count; j++) labelled |= sets[j]->label != NULL;
    int64_t *id = fa_arena_array(&s->arena, (size_t)s->n, sizeof *id), *label = labelled ? fa_arena_array(&s->arena, (size_t)s->n, sizeof *label) : NULL;
    if (!id || (labelled && !label)) return FA_ERR_MEMORY;
    s->id = id;
    s->label = label;
    for (int32_t j = 0; j < count; j++)
        for (int64_t i = 0; i < sets[j]->n; i++) {
            *id++ = sets[j]->id[i];
            if (labelled) *label++ = sets[j]->label ? sets[j]->label[i] : -1;
        }
    return check_ids(s->arena.context, s->id, s->n);
}

static fa_status join(fa_refset *s, const fa_refset *const *sets, int32_t count)
{
    s->n_input = sets[0]->n_input;
    for (int32_t j = 0; j < count; j++) {
        FA_TRY(check_joint(sets[0], sets[j], j));
        s->n += sets[j]->n;
    }
    FA_TRY(join_names(s, sets, count));
    s->input = fa_arena_array(&s->arena, (size_t)s->n_input, sizeof *s->input);
    if (!s->input) return FA_ERR_MEMORY;
    for (int32_t k = 0; k < s->n_input; k++) FA_TRY(join_array(&s->arena, sets, count, k, s->n, &s->input[k]));
    digest(s);
    return FA_OK;
}

fa_status fa_refset_join(fa_context *context, const fa_refset *const *sets, int32_t count, fa_refset **out)
{
    fa_refset *s = fa_new(context, sizeof *s);
    if (!s) return FA_ERR_MEMORY;
    atomic_init(&s->references, 1);
    s->arena.context = context;
    fa_status status = join(s, sets, count);
    if (status != FA_OK) {
        fa_refset_free(s);
        return status;
    }
    *out = s;
    return FA_OK;
}

void fa_refset_free(fa_refset *s)
{
    fa_context *context = s->arena.context;
    fa_arena_clear(&s->arena);
    fa_delete(context, s);
}
