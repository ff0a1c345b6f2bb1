/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/fattr.h>
#include <math.h>
#include <stdlib.h>

/* Any bytes as a monitor: an error with words, or a monitor that goes on. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds)
{
    if (!holds) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_context_options o;
    fa_context *context;
    fa_monitor *monitor;
    fa_context_options_init(&o, sizeof o);
    o.memory_limit = 16u << 20;
    if (fa_context_create(&o, &context) != FA_OK) abort();
    fa_status status = fa_monitor_load_memory(context, data, size, &monitor);
    if (status == FA_OK) {
        const double p[4] = {1e-12, 0.01, 0.5, 1};
        fa_monitor_state before = {.struct_size = sizeof before}, after = before;
        check(fa_monitor_get(monitor, &before) == FA_OK);
        check(fa_monitor_update(monitor, p, 4) == FA_OK);
        check(fa_monitor_get(monitor, &after) == FA_OK);
        check(after.count == before.count + 4 && isfinite(after.log_wealth) && after.alarm_at <= after.count && after.log_threshold > 0);
        fa_monitor_destroy(monitor);
    } else {
        check(status == FA_ERR_FORMAT || status == FA_ERR_CHECKSUM || status == FA_ERR_VERSION || status == FA_ERR_MEMORY);
        check(fa_error_message()[0] != '\0');
    }
    check(fa_context_memory_used(context) == 0);
    fa_context_release(context);
    return 0;
}
