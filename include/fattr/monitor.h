/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_MONITOR_H
#define FATTR_MONITOR_H

#include <fattr/context.h>

/**
 * Has the traffic as a whole left the references? A monitor bets against that, input by input: each p-value may raise or lower its wealth, and while
 * inputs are like the calibration set no way of betting makes wealth grow for long. One thread's, like a scorer.
 *
 * Wealth is a mixture of test martingales (Ville 1939; conformal test martingales: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World",
 * 2005) over sizes of bets and over the moment when the change came. See docs/mechanisms.md, "Drift".
 */
typedef struct fa_monitor fa_monitor;

typedef struct fa_monitor_options {
    size_t struct_size;        /**< sizeof(fa_monitor_options) of the caller */
    double false_alarm;        /**< chance that a clean stream, however long, ever raises the alarm; in (0, 1); 0 (default): 0.01 */
    int64_t calibration_count; /**< inputs in the calibration set that the p-values come from (fa_sketch_info.calibration_count): they all lean on the same
                                *   set, and half of `false_alarm` pays for how that set happens to lie. 0 (default): p-values are exactly valid one given the others */
} fa_monitor_options;

/** Fills in the defaults. @param size sizeof(fa_monitor_options) of the caller. */
FA_API void fa_monitor_options_init(fa_monitor_options *options, size_t size);

/**
 * Makes a monitor that has seen nothing.
 * @param options NULL for the defaults.
 * @return FA_ERR_ARGUMENT, FA_ERR_MEMORY.
 */
FA_API fa_status fa_monitor_create(fa_context *context, const fa_monitor_options *options, fa_monitor **out);

/** Destroys the monitor; NULL is allowed. */
FA_API void fa_monitor_destroy(fa_monitor *monitor);

/**
 * Goes on with `n` p-values in the order of the inputs (fa_result.p_value). Allocates nothing.
 * @return FA_ERR_ARGUMENT for one outside (0, 1], or NaN; nothing is changed then.
 */
FA_API fa_status fa_monitor_update(fa_monitor *monitor, const double *p_values, int64_t n);

typedef struct fa_monitor_state {
    size_t struct_size;       /**< sizeof(fa_monitor_state) of the caller, set before the call */
    int64_t count;            /**< p-values seen */
    double log_wealth;        /**< natural logarithm of the wealth now; begins at 0 */
    double log_threshold;     /**< at which the alarm is raised */
    int64_t alarm_at;         /**< how many p-values had been seen when it was first reached; 0: not yet. Stays until a reset */
    double smallest_p;        /**< what a p-value counts for at least; larger than 0 with calibration_count */
} fa_monitor_state;

FA_API fa_status fa_monitor_get(const fa_monitor *monitor, fa_monitor_state *state);

/** Forgets what was seen. Each reset is a new bet with `false_alarm` of its own. */
FA_API fa_status fa_monitor_reset(fa_monitor *monitor);

/** Writes options and state to a file, atomically. @return FA_ERR_IO, FA_ERR_MEMORY. */
FA_API fa_status fa_monitor_save_file(const fa_monitor *monitor, const char *path);

/** Goes on from a file. @return FA_ERR_IO, FA_ERR_FORMAT, FA_ERR_CHECKSUM, FA_ERR_VERSION, FA_ERR_MEMORY. */
FA_API fa_status fa_monitor_load_file(fa_context *context, const char *path, fa_monitor **out);

/** The same from `size` bytes at `data` (not kept). */
FA_API fa_status fa_monitor_load_memory(fa_context *context, const void *data, size_t size, fa_monitor **out);

#endif
