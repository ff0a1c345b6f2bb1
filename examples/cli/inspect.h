/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_INSPECT_H
#define FATTR_CLI_INSPECT_H

#include "session.h"

int inspect_model(const session *s, const char *path, bool nodes, bool json);
int inspect_sketch(const session *s, const char *path, bool json);

#endif
