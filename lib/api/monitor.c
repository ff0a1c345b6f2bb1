/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/monitor.h"

#include "api/check.h"
#include "base/context.h"
#include "base/file.h"
#include "base/options.h"

#include <math.h>

static const fa_monitor_options defaults = {.struct_size = sizeof defaults, .false_alarm = 0.01};

void fa_monitor_options_init(fa_monitor_options *options, size_t size)
{
    fa_options_defaults(options, size, &defaults, sizeof defaults);
}

fa_status fa_monitor_create(fa_context *context, const fa_monitor_options *options, fa_monitor **out)
{
    fa_monitor_options o = defaults;
    fa_monitor *m;
    FA_CHECK(context);
    FA_CHECK(out);
    FA_TRY(fa_options_read("fa_monitor_options", &o, sizeof o, options));
    if (o.false_alarm == 0) o.false_alarm = defaults.false_alarm;
    if (!(o.false_alarm >= 1e-12 && o.false_alarm <= 1 - 1e-12))
        return fa_fail(FA_ERR_ARGUMENT, "fa_monitor_options.false_alarm: %g is not between 0 and 1", o.false_alarm);
    if (o.calibration_count < 0 || o.calibration_count > FA_MONITOR_CALIBRATION_MOST)
        return fa_fail(FA_ERR_ARGUMENT, "fa_monitor_options.calibration_count: %lld is not in 0 to %lld", (long long)o.calibration_count,
                       (long long)FA_MONITOR_CALIBRATION_MOST);
    FA_TRY(fa_monitor_make(context, &o, &m));
    fa_context_retain(context);
    *out = m;
    return FA_OK;
}

void fa_monitor_destroy(fa_monitor *m)
{
    if (!m) return;
    fa_context *context = m->context;
    fa_monitor_free(m);
    fa_context_release(context);
}

fa_status fa_monitor_update(fa_monitor *monitor, const double *p_values, int64_t n)
{
    FA_CHECK(monitor);
    if (n < 0) return fa_fail(FA_ERR_ARGUMENT, "fa_monitor_update: n is %lld", (long long)n);
    if (n) FA_CHECK(p_values);
    for (int64_t i = 0; i < n; i++)
        if (!(p_values[i] > 0 && p_values[i] <= 1))
            return fa_fail(FA_ERR_ARGUMENT, "fa_monitor_update: p-value %lld is %g, not in (0, 1]", (long long)i, p_values[i]);
    for (int64_t i = 0; i < n; i++) fa_monitor_step(monitor, p_values[i]);
    return FA_OK;
}

fa_status fa_monitor_get(const fa_monitor *monitor, fa_monitor_state *state)
{
    FA_CHECK(monitor);
    const fa_monitor_state own = {.struct_size = sizeof own, .count = monitor->count, .log_wealth = log(monitor->total),
                                  .log_threshold = log(monitor->threshold), .alarm_at = monitor->alarm_at, .smallest_p = monitor->smallest};
    return fa_info_write("fa_monitor_state", state, &own, sizeof own);
}

fa_status fa_monitor_reset(fa_monitor *monitor)
{
    FA_CHECK(monitor);
    fa_monitor_restart(monitor);
    return FA_OK;
}

fa_status fa_monitor_save_file(const fa_monitor *monitor, const char *path)
{
    FA_CHECK(monitor);
    FA_CHECK(path);
    return fa_monitor_write(monitor, path);
}

static fa_status load(fa_context *context, const void *data, size_t size, fa_monitor **out)
{
    fa_monitor *m;
    FA_TRY(fa_monitor_read(context, data, size, &m));
    fa_context_retain(context);
    *out = m;
    return FA_OK;
}

fa_status fa_monitor_load_file(fa_context *context, const char *path, fa_monitor **out)
{
    void *data;
    size_t size;
    FA_CHECK(context);
    FA_CHECK(path);
    FA_CHECK(out);
    FA_TRY(fa_file_read(context, path, &data, &size));
    fa_status status = load(context, data, size, out);
    fa_delete(context, data);
    return status == FA_OK ? FA_OK : fa_fail_at(status, "%s", path);
}

fa_status fa_monitor_load_memory(fa_context *context, const void *data, size_t size, fa_monitor **out)
{
    FA_CHECK(context);
    FA_CHECK(out);
    if (size) FA_CHECK(data);
    return load(context, data, size, out);
}
