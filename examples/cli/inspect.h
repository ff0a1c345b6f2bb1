/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_INSPECT_H
#define FATTR_CLI_INSPECT_H

#include "session.h"

#include <jansson.h>

int inspect_model(const session *s, const char *path, bool nodes, bool json);
int inspect_sketch(const session *s, const char *path, bool json);

/* What a trace sketch has in place of layers. */
json_t *inspect_trace_json(const fa_sketch *sketch);
void inspect_trace_text(const fa_sketch *sketch);

#endif
