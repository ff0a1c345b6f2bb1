/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/json.h"

#include "base/error.h"

static fa_status parse(const char *text, size_t size, json_t **out)
{
    json_error_t error;
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (value) {
        *out = value;
        return FA_OK;
    }
    if (json_error_code(&error) == json_error_out_of_memory || !error.text[0]) return fa_fail(FA_ERR_MEMORY, "out of memory while reading JSON");
    return fa_fail(FA_ERR_FORMAT, "%.160s at byte %d", error.text, error.position);
}

fa_status fa_json_parse(const char *text, size_t size, json_t **out)
{
    /* A token's buffer that fails to grow loses a character and no more is said: the second reading then differs from the first. */
    json_t *once = NULL, *again = NULL;
    fa_status first = parse(text, size, &once), second = parse(text, size, &again);
    bool same = first == second && (!once || json_equal(once, again));
    json_decref(again);
    if (same && first == FA_OK) {
        *out = once;
        return FA_OK;
    }
    json_decref(once);
    return same ? first : fa_fail(FA_ERR_MEMORY, "out of memory while reading JSON");
}

char *fa_json_text(fa_context *context, const json_t *value, size_t *size)
{
    /* Into room that is there already: nothing can fail halfway. */
    size_t n = value ? json_dumpb(value, NULL, 0, JSON_COMPACT) : 0;
    char *text = n ? fa_new(context, n + 1) : NULL;
    if (!text) return NULL;
    if (json_dumpb(value, text, n, JSON_COMPACT) != n) {
        fa_delete(context, text);
        return NULL;
    }
    *size = n;
    return text;
}
