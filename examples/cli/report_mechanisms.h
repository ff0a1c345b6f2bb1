/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_REPORT_MECHANISMS_H
#define FATTR_CLI_REPORT_MECHANISMS_H

#include "report.h"

/* The report's map of mechanisms: inputs of several kinds for one network, the flagged ones grouped without being told which is which. */

enum { MECHANISM_COLOURS = 8, MAP_POINTS = 700 };

typedef struct mechanism_kind {
    const char *name, *file;
    fa_refset *inputs;
    int64_t n;
    int64_t *group;     /* [n] -1: not flagged */
    int64_t *predicted; /* [n] */
} mechanism_kind;

typedef struct report_mechanisms {
    const char *name, *about, *model, *output, *sketch;
    mechanism_kind *kind;
    int32_t kinds;
    session session;
    picture_layout picture;
    fa_mechanisms *known;
    int64_t flagged, groups, shown; /* groups; those with more than a handful of inputs, which come first and are shown one by one */
    int64_t *table;                 /* [groups, kinds] inputs */
    double agreement;               /* adjusted Rand index of groups and kinds */
    int64_t points;                 /* on the map, [points] each */
    int64_t *point_group;
    double (*place)[2];             /* in [0, 1] */
} report_mechanisms;

int report_mechanisms_run(const report *r, report_mechanisms *m);
void report_mechanisms_destroy(report_mechanisms *m);

void write_mechanisms(FILE *to, const report *r, const report_mechanisms *m);
void write_map(FILE *to, const report_mechanisms *m);

/* Places [n][2] in [0, 1] for fingerprints x [n, length]: alike near each other. False when memory runs out. */
bool map_layout(const float *x, int64_t n, int64_t length, double (*place)[2]);

#endif
