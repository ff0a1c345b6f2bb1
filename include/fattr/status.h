/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_STATUS_H
#define FATTR_STATUS_H

#include <fattr/export.h>

/**
 * Every function that can fail returns an `fa_status`: 0 on success, one of the pinned negative codes otherwise. Out-parameters are
 * untouched on failure.
 */
typedef int32_t fa_status;

#define FA_OK 0
#define FA_ERR_ARGUMENT (-1)     /**< a null pointer, an unknown name, a number outside its range */
#define FA_ERR_MEMORY (-2)       /**< the allocator returned NULL, or the context's memory limit would be passed */
#define FA_ERR_IO (-3)           /**< the operating system refused to open, read or write a file */
#define FA_ERR_FORMAT (-4)       /**< a file is not what it claims to be: truncated, malformed, nested too deep */
#define FA_ERR_CHECKSUM (-5)     /**< a file was altered after it was written */
#define FA_ERR_VERSION (-6)      /**< a file was written by a newer format version */
#define FA_ERR_UNSUPPORTED (-7)  /**< the file is well-formed but asks for something the library does not have */
#define FA_ERR_SHAPE (-8)        /**< an array's rank or a dimension does not fit the model */
#define FA_ERR_DTYPE (-9)        /**< an array's element type does not fit */
#define FA_ERR_NOT_FINITE (-10)  /**< NaN or infinity in an input, or produced by the model from it */
#define FA_ERR_MISMATCH (-11)    /**< a sketch and a model that do not belong together */
#define FA_ERR_NO_SIGNAL (-12)   /**< nothing to attribute to: no parameters, or no layer with a gradient on the references */
#define FA_ERR_CANCELLED (-13)   /**< the progress callback or the deadline ended the work */
#define FA_ERR_LIMIT (-14)       /**< a limit of the context or of the library was passed */
#define FA_ERR_STATE (-15)       /**< the call does not fit the object's state, e.g. an alpha without calibration */
#define FA_ERR_INTERNAL (-99)    /**< a bug in libfattr: please report it */

/** The code's name, e.g. "FA_ERR_SHAPE"; "unknown" for a number that is none. Static storage, never NULL. Any thread. */
FA_API const char *fa_status_name(fa_status status);

/**
 * What went wrong in this thread's most recent failing call, naming the node, field, array or file offset.
 * @return UTF-8 text owned by the library, "" when nothing failed yet; valid until the next libfattr call on this thread.
 */
FA_API const char *fa_error_message(void);

/**
 * Sets this thread's error text, for host callbacks and companion libraries that report through fa_error_message().
 * @param message copied, cut to what fits; NULL: "".
 * @return `status`, so that `return fa_error_set(status, text);` reads well.
 */
FA_API fa_status fa_error_set(fa_status status, const char *message);

#endif
