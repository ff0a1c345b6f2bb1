/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_FINGERPRINTS_H
#define FATTR_CLI_FINGERPRINTS_H

#include "cli.h"

/* Fingerprints of the flagged ones among some inputs, collected while these are scored: for `scoring.take`. */
typedef struct fingerprints {
    const fa_mechanisms *mechanisms; /* what is known beforehand */
    int64_t n;
    float **row;    /* [n] NULL for inputs that are not flagged */
    int64_t *group; /* [n] after fingerprints_group(); -1 for inputs that are not flagged */
} fingerprints;

int fingerprints_create(const fa_mechanisms *mechanisms, int64_t n, fingerprints *out);
void fingerprints_destroy(fingerprints *f);
bool fingerprints_take(void *fingerprints, int64_t index, const fa_result *result);

/* Groups the flagged inputs; what is known then. Returns EXIT_DONE or has said what is wrong. */
int fingerprints_group(fingerprints *f, fa_mechanisms **known);

#endif
