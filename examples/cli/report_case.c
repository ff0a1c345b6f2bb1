/* SPDX-License-Identifier: Apache-2.0 */
#include "conformal.h"
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const detector_name[DETECTORS] = {"cone", "class", "softmax confidence", "feature Mahalanobis"};

static int load(const report *r, const report_spec *spec, report_case *c)
{
    const session_options open = {.model = spec->model, .output = spec->output, .sketch = spec->sketch, .threads = r->threads};
    c->sketch.struct_size = sizeof c->sketch;
    if (session_open(&c->session, &open) != EXIT_DONE) return EXIT_FAILED;
    if (fa_sketch_get_info(c->session.sketch, &c->sketch) != FA_OK) return say_failure();
    if (session_inputs(&c->session, spec->clean, r->scale, &c->clean) != EXIT_DONE) return EXIT_FAILED;
    if (session_inputs(&c->session, spec->anomalous, r->scale, &c->anomalous) != EXIT_DONE) return EXIT_FAILED;
    if (spec->references && session_inputs(&c->session, spec->references, r->scale, &c->references) != EXIT_DONE) return EXIT_FAILED;
    return spec->calibration ? session_inputs(&c->session, spec->calibration, r->scale, &c->calibration) : EXIT_DONE;
}

static int score_set(const report *r, const report_case *c, const fa_refset *set, const char *what, scored *out)
{
    char stage[96];
    snprintf(stage, sizeof stage, "%s: %s", c->spec->name, what);
    const scoring how = {.score = FA_SCORE_CONE, .all_scores = 1, .batch = r->batch, .threads = r->threads, .top = 5, .show_progress = r->show_progress, .stage = stage};
    return score_all(&c->session, set, &how, out);
}

/* Columns of what score_all() found. */
static double *column(const scored *s, int32_t which)
{
    double *out = calloc((size_t)s->n, sizeof *out);
    for (int64_t i = 0; out && i < s->n; i++) {
        out[i] = which == DETECTOR_CONE ? s->score[i] : which == DETECTOR_CLASS ? s->scores[i][FA_SCORE_CLASS] : 1 - s->confidence[i];
    }
    return out;
}

static double share_above(const double *score, int64_t n, double threshold)
{
    int64_t above = 0;
    for (int64_t i = 0; i < n; i++) above += score[i] > threshold;
    return (double)above / (double)n;
}

/* `calibration` [m]: this detector's scores of held-out inputs, or NULL. */
static int judge(const report *r, report_case *c, detector *d, double *calibration, int64_t m)
{
    if (!d->clean || !d->anomalous) return EXIT_DONE;
    d->metrics.struct_size = sizeof d->metrics;
    if (fa_detection_metrics_compute(d->clean, c->of_clean.n, d->anomalous, c->of_anomalous.n, c->acc, 1, &d->metrics) != FA_OK) return say_failure();
    d->threshold = calibration && m ? conformal_threshold(calibration, m, r->alpha) : NAN;
    d->tpr = d->fpr = d->der = NAN;
    if (isnan(d->threshold)) return EXIT_DONE;
    d->tpr = share_above(d->anomalous, c->of_anomalous.n, d->threshold);
    d->fpr = share_above(d->clean, c->of_clean.n, d->threshold);
    d->der = (d->tpr - c->acc * d->fpr + 1) / 2;
    return EXIT_DONE;
}

static int judge_sketch_scores(const report *r, report_case *c)
{
    static const int32_t score[2] = {FA_SCORE_CONE, FA_SCORE_CLASS};
    int64_t m = c->sketch.calibration_count;
    double *calibration = calloc((size_t)m + 1, sizeof *calibration);
    int code = calibration ? EXIT_DONE : say_error("out of memory");
    for (int32_t k = DETECTOR_CONE; k <= DETECTOR_CLASS && code == EXIT_DONE; k++) {
        if (m && fa_sketch_get_calibration(c->session.sketch, score[k], calibration) != FA_OK) code = say_failure();
        if (code == EXIT_DONE) code = judge(r, c, &c->detector[k], calibration, m);
    }
    free(calibration);
    return code;
}

static int judge_baselines(const report *r, report_case *c)
{
    double *confidence = NULL, *distance = NULL;
    int64_t m = fa_refset_count(c->calibration);
    scored held_out = {0};
    int code = c->calibration ? score_set(r, c, c->calibration, "held-out inputs", &held_out) : EXIT_DONE;
    if (code == EXIT_DONE && m) confidence = column(&held_out, DETECTOR_CONFIDENCE);
    if (code == EXIT_DONE) code = judge(r, c, &c->detector[DETECTOR_CONFIDENCE], confidence, m);
    if (code == EXIT_DONE) code = report_mahalanobis(r, c, &distance);
    if (code == EXIT_DONE) code = judge(r, c, &c->detector[DETECTOR_MAHALANOBIS], distance, m);
    scored_destroy(&held_out);
    free(confidence);
    free(distance);
    return code;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians of single calls on clean inputs. */
static int time_calls(report_case *c)
{
    enum { CALLS = 96 };
    double forward[CALLS], score[CALLS];
    fa_scorer *scorer = NULL;
    fa_result result;
    slice one;
    int64_t n = c->of_clean.n;
    if (fa_scorer_create(c->session.sketch, c->session.model, NULL, &scorer) != FA_OK) return say_failure();
    int code = slice_create(c->clean, &one);
    for (int i = 0; i < CALLS && code == EXIT_DONE; i++) {
        fa_score_timing t = {.struct_size = sizeof t};
        slice_move(&one, c->clean, i % n, 1);
        double start = seconds_now();
        if (fa_score(scorer, one.array, one.count, &result) != FA_OK) code = say_failure();
        score[i] = 1e3 * (seconds_now() - start);
        if (code == EXIT_DONE && fa_scorer_get_timing(scorer, &t) != FA_OK) code = say_failure();
        forward[i] = 1e-6 * (double)t.forward_ns;
    }
    if (code == EXIT_DONE) {
        qsort(forward, CALLS, sizeof *forward, by_value);
        qsort(score, CALLS, sizeof *score, by_value);
        c->forward_ms = forward[CALLS / 2];
        c->score_ms = score[CALLS / 2];
    }
    slice_destroy(&one);
    fa_scorer_destroy(scorer);
    return code;
}

/* The input whose score is nearest to `target`, of a class that `taken` does not hold yet if there is one. */
static int64_t nearest(const scored *s, double target, const int64_t *taken, int32_t n_taken)
{
    int64_t best = -1;
    bool best_new = false;
    for (int64_t i = 0; i < s->n; i++) {
        bool seen = false, new_class = true;
        for (int32_t k = 0; k < n_taken; k++) {
            seen = seen || taken[k] == i;
            new_class = new_class && s->predicted[taken[k]] != s->predicted[i];
        }
        if (seen || (best_new && !new_class)) continue;
        if (best < 0 || (new_class && !best_new) || fabs(s->score[i] - target) < fabs(s->score[best] - target)) {
            best = i;
            best_new = new_class;
        }
    }
    return best;
}

static int64_t extreme(const scored *s, double sign, const int64_t *taken, int32_t n_taken)
{
    int64_t best = -1;
    for (int64_t i = 0; i < s->n; i++) {
        bool seen = false;
        for (int32_t k = 0; k < n_taken; k++) seen = seen || taken[k] == i;
        if (!seen && (best < 0 || sign * s->score[i] > sign * s->score[best])) best = i;
    }
    return best;
}

static int choose_examples(report_case *c)
{
    int64_t n = c->of_clean.n;
    double *ascending = malloc((size_t)n * sizeof *ascending);
    if (!ascending) return say_error("out of memory");
    memcpy(ascending, c->of_clean.score, (size_t)n * sizeof *ascending);
    qsort(ascending, (size_t)n, sizeof *ascending, by_value);
    double median = ascending[n / 2];
    free(ascending);
    int32_t worst = 0, explained = 0;
    for (int k = 0; k < GALLERY; k++) c->worst[k] = c->explained[k] = -1;
    for (; worst < GALLERY && (c->worst[worst] = extreme(&c->of_anomalous, 1, c->worst, worst)) >= 0; worst++) {}
    for (; explained < GALLERY && (c->explained[explained] = nearest(&c->of_clean, median, c->explained, explained)) >= 0; explained++) {}
    c->hardest_clean = extreme(&c->of_clean, 1, c->explained, explained);
    c->hardest_anomalous = extreme(&c->of_anomalous, -1, c->worst, worst);
    return EXIT_DONE;
}

int report_case_run(const report *r, const report_spec *spec, report_case *out)
{
    report_case *c = out;
    *c = (report_case){.spec = spec};
    int code = load(r, spec, c);
    if (code == EXIT_DONE) code = score_set(r, c, c->clean, "clean inputs", &c->of_clean);
    if (code == EXIT_DONE) code = score_set(r, c, c->anomalous, "anomalous inputs", &c->of_anomalous);
    if (code != EXIT_DONE) return code;
    c->acc = accuracy(c->clean, c->of_clean.predicted);
    for (int32_t k = DETECTOR_CONE; k <= DETECTOR_CONFIDENCE; k++) {
        c->detector[k].clean = column(&c->of_clean, k);
        c->detector[k].anomalous = column(&c->of_anomalous, k);
        if (!c->detector[k].clean || !c->detector[k].anomalous) return say_error("out of memory");
    }
    code = judge_sketch_scores(r, c);
    if (code == EXIT_DONE) code = judge_baselines(r, c);
    if (code == EXIT_DONE) code = time_calls(c);
    if (code == EXIT_DONE) code = choose_examples(c);
    if (code == EXIT_DONE) c->picture = picture_layout_of(c->clean, r->image, r->image_ndim);
    return code;
}

void report_case_destroy(report_case *c)
{
    for (int k = 0; k < DETECTORS; k++) {
        free(c->detector[k].clean);
        free(c->detector[k].anomalous);
    }
    scored_destroy(&c->of_clean);
    scored_destroy(&c->of_anomalous);
    fa_refset_release(c->references);
    fa_refset_release(c->calibration);
    fa_refset_release(c->clean);
    fa_refset_release(c->anomalous);
    session_close(&c->session);
}
