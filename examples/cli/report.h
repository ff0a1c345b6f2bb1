/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_REPORT_H
#define FATTR_CLI_REPORT_H

#include "scoring.h"

/* The report: one page, one section per case. A case is a network with its sketch, and clean and anomalous inputs for it. */

enum { DETECTOR_CONE, DETECTOR_CLASS, DETECTOR_CONFIDENCE, DETECTOR_MAHALANOBIS, DETECTORS };

/* One way to score the same inputs. Absent (`clean` NULL) where the case does not hold what it needs. */
typedef struct detector {
    double *clean, *anomalous; /* [n_clean], [n_anomalous] higher = more anomalous */
    fa_detection_metrics metrics;
    double threshold;          /* calibrated: flagged when larger; NaN without calibration inputs */
    double tpr, fpr, der;      /* there */
} detector;

/* What the case is, from the command line or the manifest. Texts are owned by the manifest or the command line. */
typedef struct report_spec {
    const char *name, *about;
    const char *model, *output, *sketch, *references, *calibration, *clean, *anomalous, *penultimate;
} report_spec;

#define GALLERY 3

/* Images of one set of inputs: where pixel (y, x) of channel c is. `channels` 0: these inputs are no images. */
typedef struct picture_layout {
    int32_t channels, height, width;
    int64_t step_c, step_y, step_x, step_n;
    double black, white;
} picture_layout;

typedef struct report_case {
    const report_spec *spec;
    session session;
    fa_refset *references, *calibration, *clean, *anomalous;
    scored of_clean, of_anomalous;
    fa_sketch_info sketch;
    detector detector[DETECTORS];
    const char *penultimate; /* node of the Mahalanobis features, or NULL */
    int64_t penultimate_width;
    double acc, forward_ms, score_ms;
    picture_layout picture;
    int64_t worst[GALLERY], explained[GALLERY], hardest_clean, hardest_anomalous; /* indices into anomalous, clean, clean, anomalous; -1: none */
} report_case;

typedef struct report {
    const char *title;
    double alpha, scale;
    int32_t batch, threads;
    bool show_progress;
    const char **classes; /* names, or NULL */
    int32_t class_count;
    int32_t image[3], image_ndim; /* shape of an input that is an image but does not look like one; 0: none given */
    report_spec *spec;
    report_case *result;
    int32_t count;
    struct report_mechanisms *mechanisms; /* report_mechanisms.h; NULL: none asked for */
} report;

extern const char *const detector_name[DETECTORS]; /* for people */

/* Computes one case. */
int report_case_run(const report *r, const report_spec *spec, report_case *out);
void report_case_destroy(report_case *c);

/* The same with features of the penultimate layer; leaves the detector absent where that cannot be had. */
int report_mahalanobis(const report *r, report_case *c, double **calibration);

picture_layout picture_layout_of(const fa_refset *set, const int32_t *image, int32_t image_ndim);
/* `<img>` of row `index`, or nothing for inputs that are no images. */
void write_picture(FILE *to, const picture_layout *layout, const fa_refset *set, int64_t index, const char *description);

void write_text(FILE *to, const char *text); /* with HTML's special characters escaped */
void write_histogram(FILE *to, const report_case *c);
void write_roc(FILE *to, const report_case *c);
void write_gallery(FILE *to, const report *r, const report_case *c);
void write_page(FILE *to, const report *r);

extern const char report_style[];

#endif
