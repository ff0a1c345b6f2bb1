/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include "cli.h"

#include <math.h>

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_class(int64_t predicted)
{
    return predicted < 0 ? json_null() : json_integer(predicted);
}

json_t *json_digest(const uint8_t digest[16])
{
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return json_string(text);
}

int json_print(json_t *value)
{
    if (!value) return say_error("out of memory, or text that is not UTF-8");
    int failed = json_dumpf(value, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
    json_decref(value);
    putchar('\n');
    return failed ? say_error("cannot write the output") : EXIT_DONE;
}
