/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/npz.h>

#include <stdlib.h>

/* Any bytes as a NumPy file: an error or arrays whose every byte can be read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t element_size(int32_t dtype)
{
    switch (dtype) {
    case FA_FLOAT64:
    case FA_INT64:
    case FA_UINT64: return 8;
    case FA_FLOAT32:
    case FA_INT32:
    case FA_UINT32: return 4;
    case FA_FLOAT16:
    case FA_INT16:
    case FA_UINT16: return 2;
    default: return 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fa_npz *npz;
    if (fa_npz_load_memory(data, size, &npz) != FA_OK) return 0;
    volatile unsigned sum = 0;
    for (int32_t i = 0; i < fa_npz_count(npz); i++) {
        fa_array a;
        if (!fa_npz_name(npz, i)) abort();
        if (fa_npz_get(npz, i, &a) != FA_OK) continue;
        size_t bytes = element_size(a.dtype);
        for (int32_t d = 0; d < a.ndim; d++) bytes *= (size_t)a.shape[d];
        for (size_t k = 0; k < bytes; k++) sum += ((const unsigned char *)a.data)[k];
    }
    fa_npz_release(npz);
    return 0;
}
