/* SPDX-License-Identifier: Apache-2.0 */
#include "onnx/unsupported.h"

#include "base/error.h"

#include <string.h>

fa_status fa_onnx_unsupported_note(fa_onnx_unsupported *list, fa_status status)
{
    if (status != FA_ERR_UNSUPPORTED) return status;
    const char *message = fa_error_message();
    size_t n = strlen(message);
    if (list->unlisted || n + 3 > sizeof list->text - list->length) {
        list->unlisted++;
        return FA_OK;
    }
    if (list->length) {
        memcpy(list->text + list->length, "; ", 2);
        list->length += 2;
    }
    memcpy(list->text + list->length, message, n + 1);
    list->length += n;
    return FA_OK;
}

fa_status fa_onnx_unsupported_end(const fa_onnx_unsupported *list)
{
    if (list->unlisted) return fa_fail(FA_ERR_UNSUPPORTED, "not supported: %s; and %d more", list->text, list->unlisted);
    if (list->length) return fa_fail(FA_ERR_UNSUPPORTED, "not supported: %s", list->text);
    return FA_OK;
}
