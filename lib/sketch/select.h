/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_SELECT_H
#define FA_SKETCH_SELECT_H

#include <stdbool.h>

/*
 * fa_sketch_options.layers: comma-separated shell patterns over layer names, spaces around them ignored. The last pattern that matches a name
 * decides; a leading '!' takes out. A list that begins with '!' begins with every layer selected. NULL selects all.
 */
#define FA_LAYER_PATTERN 256 /* a pattern is shorter than this */

bool fa_layer_patterns_valid(const char *patterns);
bool fa_layer_selected(const char *patterns, const char *name);

#endif
