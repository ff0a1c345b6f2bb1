/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "monitor/monitor.h"
#include "sketch/beside.h"

#include <string.h>

#define FORMAT "fattr-monitor"
#define FORMAT_VERSION 1

fa_status fa_monitor_write(const fa_monitor *m, const char *path)
{
    fa_st_tensor tensor;
    int32_t tensors = 0;
    fa_st_add(&tensor, &tensors, "monitor.wealth", FA_ST_F64, m->n_bet, 0, m->wealth);
    fa_json_writer w = {.context = m->context};
    fa_beside_begin(&w, FORMAT, FORMAT_VERSION);
    fa_beside_put_real(&w, "false_alarm", m->options.false_alarm);
    fa_put_decimal(&w, "calibration_count", m->options.calibration_count);
    fa_put_decimal(&w, "count", m->count);
    fa_put_decimal(&w, "alarm_at", m->alarm_at);
    fa_status status = fa_st_write(&w, path, &tensor, tensors);
    fa_delete(m->context, w.text);
    return status;
}

static fa_status read_state(fa_st_file *f, fa_monitor *m)
{
    const fa_st_tensor *wealth;
    FA_TRY(fa_beside_int(f, "count", 0, INT64_MAX / 2, &m->count));
    FA_TRY(fa_beside_int(f, "alarm_at", 0, m->count, &m->alarm_at));
    FA_TRY(fa_st_expect(f, "monitor.wealth", FA_ST_F64, m->n_bet, 0, &wealth));
    memcpy(m->wealth, wealth->data, (size_t)m->n_bet * sizeof *m->wealth);
    for (int32_t i = 0; i < m->n_bet; i++)
        if (!(m->wealth[i] >= 0 && m->wealth[i] <= FA_MONITOR_WEALTH_MOST)) return fa_fail(FA_ERR_FORMAT, "tensor 'monitor.wealth': element %d is out of range", i);
    fa_monitor_sum(m);
    return FA_OK;
}

static fa_status read_open(fa_st_file *f, fa_context *context, const void *data, size_t size, fa_monitor_options *o)
{
    FA_TRY(fa_beside_open(context, data, size, FORMAT, FORMAT_VERSION, "a file of a monitor", f));
    FA_TRY(fa_beside_real(f, "false_alarm", 1e-12, 1 - 1e-12, &o->false_alarm));
    return fa_beside_int(f, "calibration_count", 0, FA_MONITOR_CALIBRATION_MOST, &o->calibration_count);
}

fa_status fa_monitor_read(fa_context *context, const void *data, size_t size, fa_monitor **out)
{
    fa_st_file f = {0};
    fa_monitor_options o = {.struct_size = sizeof o};
    fa_monitor *m = NULL;
    fa_status status = read_open(&f, context, data, size, &o);
    if (status == FA_OK) status = fa_monitor_make(context, &o, &m);
    if (status == FA_OK) status = read_state(&f, m);
    if (f.context) fa_st_close(&f);
    if (status != FA_OK) {
        fa_monitor_free(m);
        return status;
    }
    *out = m;
    return FA_OK;
}
