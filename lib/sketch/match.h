/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_SKETCH_MATCH_H
#define FA_SKETCH_MATCH_H

#include "sketch/network.h"
#include "sketch/sketch.h"

/* FA_OK when the sketch was made for this network; FA_ERR_MISMATCH with what differs otherwise. */
fa_status fa_sketch_match(const fa_sketch_body *body, const fa_network *network);

#endif
