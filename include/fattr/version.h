/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_VERSION_H
#define FATTR_VERSION_H

#include <fattr/export.h>

#define FA_VERSION_MAJOR 0
#define FA_VERSION_MINOR 1
#define FA_VERSION_PATCH 0

/** The version of the library that is loaded, as 10000 * major + 100 * minor + patch. Any thread. */
FA_API int32_t fa_version(void);

/** The loaded library's version as text, "0.1.0". Static storage. Any thread. */
FA_API const char *fa_version_string(void);

/** How the loaded library was built and what it found: compiler, kernel libraries, the kernel set chosen on this CPU. The text is the calling thread's; hold it no longer. Any thread. */
FA_API const char *fa_build_info(void);

/**
 * The loaded library's size of a public struct, for bindings of languages that do not read these headers.
 * @param name e.g. "fa_result".
 * @return bytes; 0 for NULL and for a name that is no struct of this version. Any thread.
 */
FA_API size_t fa_struct_size(const char *name);

#endif
