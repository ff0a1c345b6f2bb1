/* SPDX-License-Identifier: Apache-2.0 */
#include "score/metrics.h"

#include "api/check.h"
#include "base/options.h"

#include <math.h>
#include <stdlib.h>

static fa_status take(const char *name, const double *score, int64_t n, int32_t anomalous, fa_labelled *out)
{
    for (int64_t i = 0; i < n; i++) {
        if (isnan(score[i])) return fa_fail(FA_ERR_NOT_FINITE, "fa_detection_metrics_compute: '%s' element %lld is NaN", name, (long long)i);
        out[i] = (fa_labelled){score[i], anomalous};
    }
    return FA_OK;
}

fa_status fa_detection_metrics_compute(const double *clean, int64_t n_clean, const double *anomalous, int64_t n_anomalous, double acc, double asr,
                                       fa_detection_metrics *out)
{
    FA_CHECK(clean);
    FA_CHECK(anomalous);
    FA_CHECK(out);
    if (n_clean < 1 || n_anomalous < 1)
        return fa_fail(FA_ERR_ARGUMENT, "fa_detection_metrics_compute: %lld clean and %lld anomalous scores; each must be at least one",
                       (long long)n_clean, (long long)n_anomalous);
    if (!(acc >= 0 && acc <= 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_detection_metrics_compute: 'acc' is %g, not in [0, 1]", acc);
    if (!(asr >= 0 && asr <= 1)) return fa_fail(FA_ERR_ARGUMENT, "fa_detection_metrics_compute: 'asr' is %g, not in [0, 1]", asr);
    size_t bytes;
    if (!fa_mul_size((size_t)n_clean, sizeof(fa_labelled), &bytes) || !fa_mul_size((size_t)n_anomalous, sizeof(fa_labelled), &bytes) ||
        !fa_mul_size((size_t)n_clean + (size_t)n_anomalous, sizeof(fa_labelled), &bytes))
        return fa_fail_memory(SIZE_MAX);
    /* No context to take it from: this is the one function without any. */
    fa_labelled *all = malloc(bytes);
    if (!all) return fa_fail_memory(bytes);
    fa_detection_metrics own = {.struct_size = sizeof own};
    fa_status status = take("clean", clean, n_clean, 0, all);
    if (status == FA_OK) status = take("anomalous", anomalous, n_anomalous, 1, all + n_clean);
    if (status == FA_OK) {
        fa_metrics_of(all, n_clean, n_anomalous, acc, asr, &own);
        status = fa_info_write("fa_detection_metrics", out, &own, sizeof own);
    }
    free(all);
    return status;
}
