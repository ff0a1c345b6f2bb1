/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_MAHALANOBIS_H
#define FATTR_CLI_MAHALANOBIS_H

#include <stdint.h>

/*
 * A baseline to compare with: distance to the nearest class mean in the metric of a covariance that the classes share, on features of the last
 * layer (Lee et al., arXiv 1807.03888). Fitted on the references; a ridge of 1e-3 of the mean variance keeps few samples usable.
 */
typedef struct mahalanobis {
    int64_t width;
    int32_t classes;
    double *factor; /* [width, width] lower Cholesky factor of the covariance */
    double *means;  /* [classes, width] whitened */
    double *room;   /* [width] */
} mahalanobis;

/* `x` [n, width], `group` [n] any integers. 0, or -1 when memory runs out or the features do not vary. */
int mahalanobis_fit(const float *x, const int64_t *group, int64_t n, int64_t width, mahalanobis *out);
double mahalanobis_distance(const mahalanobis *m, const float *x);
void mahalanobis_destroy(mahalanobis *m);

#endif
