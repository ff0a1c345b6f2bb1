/* SPDX-License-Identifier: Apache-2.0 */
#include "report_mechanisms.h"

#include "fingerprints.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXAMPLES = 8, SHOWN_MOST = 8, HANDFUL = 20 };

/* ---- computing */

/* All kinds' inputs, one after the other. */
typedef struct gathered {
    fingerprints all;
    int64_t first; /* of the kind being scored */
} gathered;

static bool take(void *user, int64_t i, const fa_result *r)
{
    gathered *g = user;
    return fingerprints_take(&g->all, g->first + i, r);
}

static int score_kind(const report *r, report_mechanisms *m, mechanism_kind *k, gathered *g)
{
    char stage[96];
    scored s = {0};
    snprintf(stage, sizeof stage, "%s: %s", m->name, k->name);
    const scoring how = {.score = FA_SCORE_CONE, .batch = 1, .threads = r->threads, .alpha = r->alpha, .take = take, .user = g, .show_progress = r->show_progress, .stage = stage};
    int code = score_all(&m->session, k->inputs, &how, &s);
    k->group = calloc((size_t)k->n + 1, sizeof *k->group);
    k->predicted = s.predicted;
    s.predicted = NULL;
    scored_destroy(&s);
    return code == EXIT_DONE && !k->group ? say_error("out of memory") : code;
}

static double pairs(double n)
{
    return n * (n - 1) / 2;
}

/* Adjusted Rand index (Hubert and Arabie, "Comparing partitions", 1985): 1 for the same partition, 0 on average for one by chance. */
static double agreement(const report_mechanisms *m)
{
    double both = 0, by_group = 0, by_kind = 0, all = pairs((double)m->flagged);
    for (int64_t g = 0; g < m->groups; g++) {
        double row = 0;
        for (int32_t k = 0; k < m->kinds; k++) {
            both += pairs((double)m->table[g * m->kinds + k]);
            row += (double)m->table[g * m->kinds + k];
        }
        by_group += pairs(row);
    }
    for (int32_t k = 0; k < m->kinds; k++) {
        double column = 0;
        for (int64_t g = 0; g < m->groups; g++) column += (double)m->table[g * m->kinds + k];
        by_kind += pairs(column);
    }
    double expected = all > 0 ? by_group * by_kind / all : 0, most = (by_group + by_kind) / 2;
    return most > expected ? (both - expected) / (most - expected) : 1;
}

static int tabulate(report_mechanisms *m, const int64_t *group)
{
    m->groups = fa_mechanisms_count(m->known);
    m->table = calloc((size_t)m->groups * (size_t)m->kinds + 1, sizeof *m->table);
    if (!m->table) return say_error("out of memory");
    for (int32_t k = 0; k < m->kinds; k++)
        for (int64_t i = 0; i < m->kind[k].n; i++) {
            int64_t g = m->kind[k].group[i] = *group++;
            if (g < 0) continue;
            m->table[g * m->kinds + k]++;
            m->flagged++;
        }
    fa_mechanism_info info;
    while (m->shown < m->groups && m->shown < SHOWN_MOST && fa_mechanisms_get(m->known, m->shown, &info) == FA_OK && (info.count >= HANDFUL || m->groups <= 3)) m->shown++;
    m->agreement = agreement(m);
    return EXIT_DONE;
}

/* Evenly spaced flagged inputs onto the map; `row` their fingerprints, NULL for those that are not flagged. */
static int lay_out(report_mechanisms *m, const float *const *row, const int64_t *group, int64_t n)
{
    int64_t length = fa_mechanisms_fingerprint_length(m->known), seen = 0, step = m->flagged / MAP_POINTS + 1, room = m->flagged / step + 1;
    float *x = calloc((size_t)room * (size_t)length, sizeof *x);
    m->place = calloc((size_t)room, sizeof *m->place);
    m->point_group = calloc((size_t)room, sizeof *m->point_group);
    if (!x || !m->place || !m->point_group) {
        free(x);
        return say_error("out of memory");
    }
    for (int64_t i = 0; i < n; i++) {
        if (!row[i] || seen++ % step) continue;
        memcpy(x + m->points * length, row[i], (size_t)length * sizeof *x);
        m->point_group[m->points++] = group[i];
    }
    bool fits = map_layout(x, m->points, length, m->place);
    free(x);
    return fits ? EXIT_DONE : say_error("out of memory");
}

static int group_all(const report *r, report_mechanisms *m, const fa_mechanisms *none, int64_t n)
{
    gathered g = {.first = 0};
    int code = fingerprints_create(none, n, &g.all);
    for (int32_t k = 0; k < m->kinds && code == EXIT_DONE; k++) {
        code = score_kind(r, m, &m->kind[k], &g);
        g.first += m->kind[k].n;
    }
    if (code == EXIT_DONE) code = fingerprints_group(&g.all, &m->known);
    if (code == EXIT_DONE) code = tabulate(m, g.all.group);
    if (code == EXIT_DONE) code = lay_out(m, (const float *const *)g.all.row, g.all.group, n);
    fingerprints_destroy(&g.all);
    return code;
}

int report_mechanisms_run(const report *r, report_mechanisms *m)
{
    const session_options open = {.model = m->model, .output = m->output, .sketch = m->sketch, .threads = r->threads};
    fa_mechanisms *none = NULL;
    fa_sketch_info info = {.struct_size = sizeof info};
    int64_t n = 0;
    int code = session_open(&m->session, &open);
    if (code == EXIT_DONE && fa_sketch_get_info(m->session.sketch, &info) != FA_OK) code = say_failure();
    if (code == EXIT_DONE && !info.calibration_count) code = say_error("%s: the sketch has no calibration inputs, so nothing can be flagged", m->sketch);
    for (int32_t k = 0; k < m->kinds && code == EXIT_DONE; k++) {
        code = session_inputs(&m->session, m->kind[k].file, r->scale, &m->kind[k].inputs);
        if (code == EXIT_DONE) n += m->kind[k].n = fa_refset_count(m->kind[k].inputs);
    }
    if (code == EXIT_DONE) m->picture = picture_layout_of(m->kind[0].inputs, r->image, r->image_ndim);
    if (code == EXIT_DONE && fa_mechanisms_create(m->session.sketch, NULL, &none) != FA_OK) code = say_failure();
    if (code == EXIT_DONE) code = group_all(r, m, none, n);
    fa_mechanisms_release(none);
    return code;
}

void report_mechanisms_destroy(report_mechanisms *m)
{
    for (int32_t k = 0; k < m->kinds; k++) {
        fa_refset_release(m->kind[k].inputs);
        free(m->kind[k].group);
        free(m->kind[k].predicted);
    }
    fa_mechanisms_release(m->known);
    session_close(&m->session);
    free(m->kind);
    free(m->table);
    free(m->place);
    free(m->point_group);
}

/* ---- writing */

static void write_number(FILE *to, int64_t n)
{
    if (n) fprintf(to, "<td>%lld</td>", (long long)n);
    else fputs("<td class=\"none\">&#183;</td>", to);
}

/* What the groups really are. */
static void write_table(FILE *to, const report_mechanisms *m)
{
    int64_t left = m->groups - m->shown;
    fputs("<div class=\"scroll tight\"><table><thead><tr><th scope=\"col\">group</th>", to);
    for (int32_t k = 0; k < m->kinds; k++) {
        fputs("<th scope=\"col\">", to);
        write_text(to, m->kind[k].name);
        fputs("</th>", to);
    }
    fputs("</tr></thead><tbody>\n", to);
    for (int64_t g = 0; g < m->shown; g++) {
        fprintf(to, "<tr><th scope=\"row\"><i class=\"dot g%d\"></i>%lld</th>", (int)(g % MECHANISM_COLOURS), (long long)g);
        for (int32_t k = 0; k < m->kinds; k++) write_number(to, m->table[g * m->kinds + k]);
        fputs("</tr>\n", to);
    }
    if (left) {
        fprintf(to, "<tr><th scope=\"row\"><i class=\"dot alone\"></i>%lld small</th>", (long long)left);
        for (int32_t k = 0; k < m->kinds; k++) {
            int64_t n = 0;
            for (int64_t g = m->shown; g < m->groups; g++) n += m->table[g * m->kinds + k];
            write_number(to, n);
        }
        fputs("</tr>\n", to);
    }
    fputs("<tr><th scope=\"row\">not flagged</th>", to);
    for (int32_t k = 0; k < m->kinds; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < m->kind[k].n; i++) n += m->kind[k].group[i] < 0;
        write_number(to, n);
    }
    fputs("</tr></tbody></table></div>\n", to);
}

/* Some members of a group, spread evenly over it. */
static void write_examples(FILE *to, const report *r, const report_mechanisms *m, int64_t g)
{
    fa_mechanism_info info;
    if (fa_mechanisms_get(m->known, g, &info) != FA_OK) return;
    int64_t seen = 0, step = info.count / EXAMPLES + 1;
    fprintf(to, "<div class=\"mechanism m%d\"><p><strong>Group %lld</strong> %lld inputs &#183; cohesion %.2f &#183; <code>%s</code></p><ul>", (int)(g % MECHANISM_COLOURS),
            (long long)g, (long long)info.count, info.cohesion, info.name);
    for (int32_t k = 0; k < m->kinds; k++)
        for (int64_t i = 0; i < m->kind[k].n; i++) {
            if (m->kind[k].group[i] != g || seen++ % step) continue;
            int64_t class = m->kind[k].predicted[i];
            fputs("<li>", to);
            write_picture(to, &m->picture, m->kind[k].inputs, i, m->kind[k].name);
            if (class >= 0 && class < r->class_count) write_text(to, r->classes[class]);
            else fprintf(to, "class %lld", (long long)class);
            fputs("</li>", to);
        }
    fputs("</ul></div>\n", to);
}

void write_mechanisms(FILE *to, const report *r, const report_mechanisms *m)
{
    fputs("<section class=\"case\" id=\"mechanisms\"><h2>", to);
    write_text(to, m->name);
    fputs("</h2>", to);
    if (m->about) {
        fputs("<p>", to);
        write_text(to, m->about);
        fputs("</p>", to);
    }
    fprintf(to, "<p class=\"facts\">%lld flagged inputs of %d kinds &#183; %lld groups found, %lld of them large &#183; agreement of groups and kinds (adjusted Rand index) <strong>%.3f</strong></p>\n",
            (long long)m->flagged, (int)m->kinds, (long long)m->groups, (long long)m->shown, m->agreement);
    fputs("<div class=\"columns charts\"><figure class=\"map\">", to);
    write_map(to, m);
    fprintf(to, "<figcaption>Each dot is a flagged input (%lld of them), near those whose fingerprint is like its own (t-SNE); colours and numbers are the groups that libfattr found. "
                "It was told neither the kinds nor how many there are. Hollow dots are in small groups or alone.</figcaption></figure><div>", (long long)m->points);
    write_table(to, m);
    fputs("<p class=\"caption\">Rows: the groups found. Columns: what the inputs really are. A perfect grouping has one number in each row and column. Inputs that are "
          "flagged for reasons of their own, false alarms above all, are like no other and stay alone.</p></div></div>\n<div class=\"mechanisms\">", to);
    for (int64_t g = 0; g < m->shown; g++) write_examples(to, r, m, g);
    fputs("</div></section>\n", to);
}
