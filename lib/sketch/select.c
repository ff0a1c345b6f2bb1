/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/select.h"

#include <fnmatch.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* The next pattern of the list, without spaces around it: where it starts and its length. Moves `*at` behind its comma, to NULL at the end. */
static const char *next_pattern(const char **at, size_t *length)
{
    const char *start = *at, *comma = strchr(start, ','), *end = comma ? comma : start + strlen(start);
    *at = comma ? comma + 1 : NULL;
    while (start < end && is_space(*start)) start++;
    while (end > start && is_space(end[-1])) end--;
    *length = (size_t)(end - start);
    return start;
}

bool fa_layer_patterns_valid(const char *patterns)
{
    for (const char *at = patterns; at;) {
        size_t n;
        const char *p = next_pattern(&at, &n);
        if (n && *p == '!') n--;
        if (n == 0 || n >= FA_LAYER_PATTERN) return false;
    }
    return true;
}

bool fa_layer_selected(const char *patterns, const char *name)
{
    if (!patterns) return true;
    const char *at = patterns;
    bool first = true, selected = false;
    while (at) {
        size_t n;
        const char *p = next_pattern(&at, &n);
        bool take = !(n && *p == '!');
        if (first) selected = !take; /* a list that begins by taking out begins with everything */
        first = false;
        if (!take) p++, n--;
        char text[FA_LAYER_PATTERN];
        if (n >= sizeof text) continue;
        memcpy(text, p, n);
        text[n] = '\0';
        if (fnmatch(text, name, 0) == 0) selected = take;
    }
    return selected;
}
