/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/fattr.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Any bytes as a file of mechanisms of one small sketch: an error with words, or groups that can be used. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

/* Read once; the files of the corpus belong to it. */
static fa_sketch *small_sketch(void)
{
    static fa_sketch *sketch;
    fa_context *context;
    if (sketch) return sketch;
    check(fa_context_create(NULL, &context) == FA_OK);
    check(fa_sketch_load_file(context, FATTR_SOUND_SKETCH, &sketch) == FA_OK);
    fa_context_release(context);
    return sketch;
}

static void use(const fa_mechanisms *m)
{
    int64_t length = fa_mechanisms_fingerprint_length(m), n = fa_mechanisms_count(m), group[3];
    fa_mechanism_info info;
    fa_mechanisms *known;
    double likeness;
    float *x = calloc((size_t)(3 * length), sizeof *x);
    check(x != NULL && length > 0);
    for (int64_t i = 0; i < n; i++) {
        check(fa_mechanisms_get(m, i, &info) == FA_OK);
        check(info.count >= 1 && info.cohesion > 0 && strlen(info.name) == 12);
        for (int64_t k = 0; k < length; k++) check(fabsf(info.center[k]) <= 1.01f);
    }
    for (int i = 0; i < 3; i++) x[i * length + i % 2] = 1;
    check(fa_mechanisms_assign(m, x, group, &likeness) == FA_OK);
    check(group[0] >= -1 && group[0] < n && !isnan(likeness));
    check(fa_mechanisms_group(m, x, 3, group, &known) == FA_OK);
    for (int i = 0; i < 3; i++) check(group[i] >= 0 && group[i] < fa_mechanisms_count(known));
    check(fa_mechanisms_count(known) >= n);
    fa_mechanisms_release(known);
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_mechanisms *mechanisms;
    fa_status status = fa_mechanisms_load_memory(small_sketch(), data, size, &mechanisms);
    if (status == FA_OK) {
        use(mechanisms);
        fa_mechanisms_release(mechanisms);
    } else {
        check(status == FA_ERR_FORMAT || status == FA_ERR_CHECKSUM || status == FA_ERR_VERSION || status == FA_ERR_MISMATCH || status == FA_ERR_MEMORY);
        check(fa_error_message()[0] != '\0');
    }
    return 0;
}
