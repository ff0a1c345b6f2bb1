/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_ONNX_UNSUPPORTED_H
#define FA_ONNX_UNSUPPORTED_H

#include <fattr/status.h>
#include <stddef.h>

/* Collects what the reader does not support, so that one message has it all. Zero-initialised: empty. */
typedef struct fa_onnx_unsupported {
    char text[8192];
    size_t length;
    int32_t unlisted; /* those that `text` has no room for */
} fa_onnx_unsupported;

/* Takes the error text of FA_ERR_UNSUPPORTED and returns FA_OK, so that reading goes on; passes every other status on. */
fa_status fa_onnx_unsupported_note(fa_onnx_unsupported *list, fa_status status);

/* FA_OK when nothing was noted, else FA_ERR_UNSUPPORTED with the list. */
fa_status fa_onnx_unsupported_end(const fa_onnx_unsupported *list);

#endif
