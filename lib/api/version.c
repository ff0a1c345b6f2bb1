/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

#include <fattr/version.h>
#include <stdio.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define VERSION TEXT(FA_VERSION_MAJOR) "." TEXT(FA_VERSION_MINOR) "." TEXT(FA_VERSION_PATCH)

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown compiler"
#endif

#if defined(FA_HAVE_BLIS)
#define LIBRARIES "blis"
#else
#define LIBRARIES "none"
#endif

int32_t fa_version(void)
{
    return 10000 * FA_VERSION_MAJOR + 100 * FA_VERSION_MINOR + FA_VERSION_PATCH;
}

const char *fa_version_string(void)
{
    return VERSION;
}

const char *fa_build_info(void)
{
    static _Thread_local char text[256]; /* a thread's own: what the CPU has is known at run time alone, and nothing is shared */
    snprintf(text, sizeof text, "libfattr " VERSION "; " COMPILER "; kernel libraries: " LIBRARIES "; kernels on this CPU: %s",
             fa_kernels_available() ? fa_kernels_name() : "reference");
    return text;
}
