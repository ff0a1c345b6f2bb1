/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_API_FAULTY_H
#define TESTS_API_FAULTY_H

#include "../../examples/hosts/mlp.h"

#include <stdatomic.h>

#define IN 6 /* its inputs; 3 classes */

enum { FORWARD, TAPS, WEIGHT_GRADIENT, SET_WEIGHTS };

/* The network of examples/hosts, between whose callbacks and the library a fault may come. */
typedef struct faulty {
    mlp net;
    fa_backend inner;
    atomic_long calls, open; /* calls of every callback; passes that were created and not destroyed */
    long fail_at;            /* the call that fails, -1: none */
    fa_status with;
    const char *saying;      /* NULL: nothing */
    int spoil;               /* a callback whose result gets a NaN */
    int released;
} faulty;

/* A network without faults yet, and its table. mlp_end(&faulty->net) when the models are gone. */
void faulty_begin(faulty *f, fa_backend *backend);

#endif
