/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_EXPORT_H
#define FATTR_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define FA_EXTERN extern "C"
#else
#define FA_EXTERN extern
#endif

/** Marks the functions of the stable C ABI; everything else in the library is hidden. */
#if defined(__GNUC__)
#define FA_API FA_EXTERN __attribute__((visibility("default")))
#else
#define FA_API FA_EXTERN
#endif

#endif
