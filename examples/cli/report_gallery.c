/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <math.h>

/* Inputs as pictures beside the references that explain them. */

static void write_class(FILE *to, const report *r, int64_t class)
{
    if (class >= 0 && class < r->class_count) write_text(to, r->classes[class]);
    else fprintf(to, "class %lld", (long long)class);
}

static int64_t row_of(const fa_refset *set, int64_t id)
{
    int64_t n = fa_refset_count(set), found;
    for (int64_t i = 0; i < n; i++) {
        if (fa_refset_get_id(set, i, &found) == FA_OK && found == id) return i;
    }
    return -1;
}

static void write_reference(FILE *to, const report *r, const report_case *c, int64_t index, double weight, double largest)
{
    fa_reference_info info;
    char description[64];
    if (fa_sketch_get_reference(c->session.sketch, index, &info) != FA_OK) return;
    snprintf(description, sizeof description, "reference %lld", (long long)info.id);
    fputs("<li>", to);
    if (c->references) write_picture(to, &c->picture, c->references, row_of(c->references, info.id), description);
    fprintf(to, "<span class=\"bar\"><span style=\"width:%.0f%%\"></span></span><span class=\"weight\">%.2f</span> <span class=\"what\">", 100 * weight / largest, weight);
    write_class(to, r, info.predicted);
    fprintf(to, "<br>#%lld</span></li>", (long long)info.id);
}

static void write_example(FILE *to, const report *r, const report_case *c, const fa_refset *set, const scored *s, int64_t i, bool anomalous)
{
    /* Bars of a row that is hardly explained must look short beside those of one that is. */
    const double full = 0.25;
    int64_t label;
    if (i < 0) return;
    fprintf(to, "<div class=\"example %s\"><div class=\"input\">", anomalous ? "odd" : "clean");
    write_picture(to, &c->picture, set, i, anomalous ? "anomalous input" : "clean input");
    fputs("<p><strong>", to);
    write_class(to, r, s->predicted[i]);
    fputs("</strong>", to);
    if (fa_refset_get_label(set, i, &label) == FA_OK && label != s->predicted[i]) {
        fputs("<br>is: ", to);
        write_class(to, r, label);
    }
    fprintf(to, "<br>input %lld<br>score %.3f", (long long)i, s->score[i]);
    if (!isnan(s->p[i])) fprintf(to, "<br>p = %.3g<br><span class=\"verdict %s\">%s</span>", s->p[i], s->flagged[i] == 1 ? "yes" : "no", s->flagged[i] == 1 ? "flagged" : "passed");
    double explained = fmax(0, fmin(1, 1 - s->score[i]));
    fprintf(to, "</p></div><div class=\"by\"><p class=\"explained\"><span class=\"meter\"><span style=\"width:%.1f%%\"></span></span>%.0f %% explained</p><ul>", 100 * explained, 100 * explained);
    double largest = full;
    for (int32_t k = 0; k < s->top; k++) largest = fmax(largest, (double)s->explains_with[i * s->top + k]);
    for (int32_t k = 0; k < s->top && s->explaining[i * s->top + k] >= 0; k++) {
        write_reference(to, r, c, s->explaining[i * s->top + k], (double)s->explains_with[i * s->top + k], largest);
    }
    fputs("</ul></div></div>\n", to);
}

static void write_caption(FILE *to, const char *title, const char *text)
{
    fprintf(to, "<h4>%s</h4><p class=\"caption\">%s</p>\n", title, text);
}

void write_gallery(FILE *to, const report *r, const report_case *c)
{
    fputs("<div class=\"columns\"><div>", to);
    write_caption(to, "Most anomalous",
                  "The anomalous inputs with the highest scores, each beside the five references that come closest to explaining its output. Under a reference is its "
                  "weight; the meter says how much of the output all references together explain.");
    for (int k = 0; k < GALLERY; k++) write_example(to, r, c, c->anomalous, &c->of_anomalous, c->worst[k], true);
    fputs("</div><div>", to);
    write_caption(to, "Typical clean inputs",
                  "Clean inputs whose score is near the median, each beside the five references with the largest weights: these outputs are made by mechanisms that the "
                  "network also uses on the references.");
    for (int k = 0; k < GALLERY; k++) write_example(to, r, c, c->clean, &c->of_clean, c->explained[k], false);
    fputs("</div></div><div class=\"columns\"><div>", to);
    write_caption(to, "Hardest anomalous input", "The anomalous input with the lowest score: if one slips through, it is this one.");
    write_example(to, r, c, c->anomalous, &c->of_anomalous, c->hardest_anomalous, true);
    fputs("</div><div>", to);
    write_caption(to, "Hardest clean input", "The clean input with the highest score: if one raises a false alarm, it is this one.");
    write_example(to, r, c, c->clean, &c->of_clean, c->hardest_clean, false);
    fputs("</div></div>\n", to);
}
