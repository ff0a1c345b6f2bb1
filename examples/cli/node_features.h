/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_FEATURES_H
#define FATTR_CLI_FEATURES_H

#include "session.h"

/* A value of the network for every input of a set: [n, ...]. */
typedef struct features {
    void *data;
    int32_t dtype, ndim;
    int64_t shape[FA_MAX_DIMS];
} features;

int features_take(const session *s, const fa_refset *inputs, const char *node, int32_t batch, features *out);
void features_destroy(features *f);

/* Name of the node whose output the last fully connected layer takes; NULL when there is none that can be told. */
const char *penultimate_node(const session *s, const fa_refset *inputs);

#endif
