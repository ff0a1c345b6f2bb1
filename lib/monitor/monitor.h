/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_MONITOR_MONITOR_H
#define FA_MONITOR_MONITOR_H

#include "monitor/envelope.h"

#include <fattr/monitor.h>

#define FA_MONITOR_CALIBRATION_MOST ((int64_t)1 << 40)
#define FA_MONITOR_WEALTH_MOST 1e280 /* of a bet: less than it is stays a supermartingale */

/*
 * A bet (u, l) turns wealth w into w (1 - l + l [p <= u] / u). Where P(p <= u) <= u its expectation is at most w. With weights v_t that add up to 1 over
 * t = 1, 2, ...: what is laid aside at t for the case that things change then,
 *
 *     R_t = (R_(t-1) + v_t) (1 - l + l [p_t <= u] / u)       in play
 *     wealth = mean of R_t over all bets + (v_(t+1) + v_(t+2) + ...)
 *
 * begins at 1 and is a test supermartingale: the chance that it ever reaches 1 / a is at most a (Ville). v_t = 1 / log2(t + 1) - 1 / log2(t + 2)
 * falls nearly as slowly as it may, so that a late change is not found much later than an early one.
 */
struct fa_monitor {
    fa_context *context;
    fa_monitor_options options; /* as used */
    fa_envelope envelope;       /* empty without calibration_count */
    double smallest, threshold; /* p; wealth at which there is alarm */
    int32_t n_limit, n_bet;     /* values of u; bets: every u with every l */
    double *limit;              /* [n_limit] u, ascending */
    double *wealth;             /* [n_bet] R, by u and then l */
    double total;
    int64_t count, alarm_at;
};

fa_status fa_monitor_make(fa_context *context, const fa_monitor_options *options, fa_monitor **out);
void fa_monitor_free(fa_monitor *monitor);
void fa_monitor_step(fa_monitor *monitor, double p);
void fa_monitor_restart(fa_monitor *monitor);
void fa_monitor_sum(fa_monitor *monitor); /* `total` from wealth and count */

/* docs/mechanisms.md, "Files". */
fa_status fa_monitor_write(const fa_monitor *monitor, const char *path);
fa_status fa_monitor_read(fa_context *context, const void *data, size_t size, fa_monitor **out);

#endif
