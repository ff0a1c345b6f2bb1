/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/monitor.h"

#include "base/error.h"

#include <math.h>
#include <string.h>

#define SMALLEST 1e-4 /* u without a calibration set */

/* l: from an anomaly in a few hundred inputs to nothing but anomalies. */
static const double stake[] = {0.02, 0.05, 0.1, 0.25, 0.5, 0.95};
#define STAKES (int32_t)(sizeof stake / sizeof *stake)

/* v_(t+1) + v_(t+2) + ... */
static double laid_aside(int64_t t)
{
    return 1 / log2((double)t + 2);
}

void fa_monitor_sum(fa_monitor *m)
{
    double sum = 0;
    for (int32_t i = 0; i < m->n_bet; i++) sum += m->wealth[i] / m->n_bet;
    m->total = sum + laid_aside(m->count);
}

void fa_monitor_restart(fa_monitor *m)
{
    memset(m->wealth, 0, (size_t)m->n_bet * sizeof *m->wealth);
    m->count = m->alarm_at = 0;
    fa_monitor_sum(m);
}

void fa_monitor_step(fa_monitor *m, double p)
{
    if (m->envelope.n) p = fa_envelope_of(&m->envelope, p);
    double now = laid_aside(m->count) - laid_aside(m->count + 1);
    m->count++;
    for (int32_t i = 0; i < m->n_limit; i++)
        for (int32_t k = 0; k < STAKES; k++) {
            double *w = &m->wealth[i * STAKES + k];
            *w = fmin((*w + now) * (1 - stake[k] + (p <= m->limit[i] ? stake[k] / m->limit[i] : 0)), FA_MONITOR_WEALTH_MOST);
        }
    fa_monitor_sum(m);
    if (!m->alarm_at && m->total >= m->threshold) m->alarm_at = m->count;
}

void fa_monitor_free(fa_monitor *m)
{
    if (!m) return;
    fa_delete(m->context, m->wealth);
    fa_delete(m->context, m->limit);
    fa_delete(m->context, m->envelope.rank);
    fa_delete(m->context, m->envelope.bound);
    fa_delete(m->context, m);
}

/* u from the smallest p that may come, doubled up to one half. */
static fa_status lay_out(fa_monitor *m)
{
    m->n_limit = 1;
    for (double u = m->smallest; 2 * u <= 0.5; u *= 2) m->n_limit++;
    m->n_bet = m->n_limit * STAKES;
    m->limit = fa_new_array(m->context, (size_t)m->n_limit, sizeof *m->limit);
    m->wealth = fa_new_array(m->context, (size_t)m->n_bet, sizeof *m->wealth);
    if (!m->limit || !m->wealth) return FA_ERR_MEMORY;
    for (int32_t i = 0; i < m->n_limit; i++) m->limit[i] = ldexp(m->smallest, i);
    return FA_OK;
}

fa_status fa_monitor_make(fa_context *context, const fa_monitor_options *options, fa_monitor **out)
{
    fa_monitor *m = fa_new(context, sizeof *m);
    if (!m) return FA_ERR_MEMORY;
    m->context = context;
    m->options = *options;
    fa_status status = FA_OK;
    if (options->calibration_count) {
        status = fa_envelope_make(context, options->calibration_count, options->false_alarm / 2, &m->envelope);
        m->smallest = status == FA_OK ? m->envelope.bound[0] : 0;
        m->threshold = 2 / options->false_alarm;
    } else {
        m->smallest = SMALLEST;
        m->threshold = 1 / options->false_alarm;
    }
    if (status == FA_OK) status = lay_out(m);
    if (status != FA_OK) {
        fa_monitor_free(m);
        return status;
    }
    fa_monitor_restart(m);
    *out = m;
    return FA_OK;
}
