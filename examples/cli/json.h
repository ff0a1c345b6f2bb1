/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CLI_JSON_H
#define FATTR_CLI_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A number, or null for NaN and infinity, which JSON does not have. */
json_t *json_number(double value);

/* A class, or null where the loss has none for an input. */
json_t *json_class(int64_t predicted);

/* A digest as hexadecimal text. */
json_t *json_digest(const uint8_t digest[16]);

/* Prints the value on a line of its own and lets it go. EXIT_DONE, or EXIT_FAILED when memory ran out while it was made. */
int json_print(json_t *value);

#endif
