/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_METRICS_H
#define FATTR_METRICS_H

#include <fattr/status.h>

/** How well a score (higher = more anomalous) tells anomalous inputs from clean ones. */
typedef struct fa_detection_metrics {
    size_t struct_size;   /**< sizeof(fa_detection_metrics) of the caller, set before the call */
    double auroc;         /**< area under the ROC curve, ties count one half */
    double aupr;          /**< average precision, anomalous = positive */
    double aupr_clean;    /**< average precision, clean = positive */
    double fpr95;         /**< false positive rate at the first threshold with a true positive rate >= 0.95 */
    double der_best;      /**< (asr * TPR - acc * FPR + 1) / 2 at the threshold that makes it largest (arXiv 2604.18970) */
    double best_threshold; /**< that threshold: flagged when score >= it */
} fa_detection_metrics;

/**
 * Computes detection metrics from scores.
 * @param clean `[n_clean]`, @param anomalous `[n_anomalous]` scores, each at least one, none NaN.
 * @param acc accuracy on clean inputs, @param asr attack success rate, both in [0, 1], for DER.
 * @return FA_ERR_ARGUMENT, FA_ERR_NOT_FINITE, FA_ERR_MEMORY. Any thread.
 */
FA_API fa_status fa_detection_metrics_compute(const double *clean, int64_t n_clean, const double *anomalous, int64_t n_anomalous, double acc, double asr, fa_detection_metrics *out);

#endif
