/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SCORE_METRICS_H
#define FA_SCORE_METRICS_H

#include "base/alloc.h"

#include <fattr/metrics.h>

/* One score and whether it belongs to an anomalous input. */
typedef struct fa_labelled {
    double score;
    int32_t anomalous;
} fa_labelled;

/* Sorts `all`, the n_clean and n_anomalous scores together (at least one of each, no NaN), and fills in everything but struct_size. */
void fa_metrics_of(fa_labelled *all, int64_t n_clean, int64_t n_anomalous, double acc, double asr, fa_detection_metrics *out);

#endif
