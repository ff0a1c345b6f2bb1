/* SPDX-License-Identifier: Apache-2.0 */
#include "node_features.h"
#include "mahalanobis.h"
#include "report.h"

#include <stdlib.h>

/* The class that each reference counts for: its label, or what the model makes of it. */
static int64_t *groups(const report_case *c, int64_t n)
{
    int64_t *out = calloc((size_t)n + 1, sizeof *out), id;
    for (int64_t i = 0; out && i < n; i++) {
        out[i] = -1; /* in the file but not in the sketch: a group of its own */
        if (fa_refset_get_label(c->references, i, &out[i]) == FA_OK || fa_refset_get_id(c->references, i, &id) != FA_OK) continue;
        for (int64_t j = 0; j < c->sketch.reference_count; j++) {
            fa_reference_info info;
            if (fa_sketch_get_reference(c->session.sketch, j, &info) == FA_OK && info.id == id) out[i] = info.predicted;
        }
    }
    return out;
}

static int64_t width_of(const features *f)
{
    int64_t width = 1;
    for (int32_t d = 1; d < f->ndim; d++) width *= f->shape[d];
    return width;
}

static int distances(const report *r, const report_case *c, const fa_refset *set, const mahalanobis *m, double **out)
{
    features f = {NULL};
    int64_t n = fa_refset_count(set);
    int code = features_take(&c->session, set, c->penultimate, r->batch, &f);
    if (code != EXIT_DONE) return code;
    double *d = calloc((size_t)n, sizeof *d);
    if (!d || width_of(&f) != m->width) code = say_error(d ? "'%s' changes its shape" : "out of memory: '%s'", c->penultimate);
    for (int64_t i = 0; code == EXIT_DONE && i < n; i++) d[i] = mahalanobis_distance(m, (const float *)f.data + i * m->width);
    features_destroy(&f);
    if (code == EXIT_DONE) *out = d;
    else free(d);
    return code;
}

int report_mahalanobis(const report *r, report_case *c, double **calibration)
{
    enum { WIDEST = 4096 }; /* beyond this the covariance alone takes minutes */
    detector *d = &c->detector[DETECTOR_MAHALANOBIS];
    features f = {NULL};
    mahalanobis m = {0};
    c->penultimate = c->spec->penultimate;
    if (!c->references) return EXIT_DONE;
    if (!c->penultimate) c->penultimate = penultimate_node(&c->session, c->references);
    if (!c->penultimate) return EXIT_DONE;
    int64_t n = fa_refset_count(c->references), *group = NULL;
    int code = features_take(&c->session, c->references, c->penultimate, r->batch, &f);
    if (code != EXIT_DONE) return code;
    c->penultimate_width = width_of(&f);
    bool fits = f.dtype == FA_FLOAT32 && c->penultimate_width <= WIDEST && (group = groups(c, n)) != NULL && mahalanobis_fit(f.data, group, n, c->penultimate_width, &m) == 0;
    features_destroy(&f);
    free(group);
    if (!fits) return EXIT_DONE;
    code = distances(r, c, c->clean, &m, &d->clean);
    if (code == EXIT_DONE) code = distances(r, c, c->anomalous, &m, &d->anomalous);
    if (code == EXIT_DONE && c->calibration) code = distances(r, c, c->calibration, &m, calibration);
    mahalanobis_destroy(&m);
    return code;
}
