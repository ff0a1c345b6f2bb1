/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_CONTEXT_H
#define FATTR_CONTEXT_H

#include <fattr/status.h>

/** What every other object hangs on: allocator, log sink, threads, limits. Reference-counted and safe from many threads. */
typedef struct fa_context fa_context;

/** Kernel sets (`fa_context_options.kernels`). */
#define FA_KERNELS_AUTO 0      /**< the fastest that this build has and this CPU runs; default */
#define FA_KERNELS_REFERENCE 1 /**< plain C, the same everywhere */
#define FA_KERNELS_FAST 2      /**< as AUTO, but creating the context fails with FA_ERR_UNSUPPORTED where only the reference set is to be had */

/** Log levels of `fa_context_options.log`. */
#define FA_LOG_INFO 1
#define FA_LOG_WARNING 2

/** One share of a piece of work; for `fa_context_options.parallel_for` to call. */
typedef void (*fa_parallel_body)(void *argument, int32_t index);

typedef struct fa_context_options {
    size_t struct_size; /**< sizeof(fa_context_options) of the caller; set by fa_context_options_init() */
    /** Returns `size` bytes (> 0) aligned to `align` (a power of two, at most 64), or NULL. Called from any thread. NULL: the C library. */
    void *(*alloc)(void *user, size_t size, size_t align);
    /** Takes back what `alloc` returned, with the same `size` and `align`. Both callbacks are given, or neither. */
    void (*free)(void *user, void *block, size_t size, size_t align);
    void *alloc_user;
    /** Receives what the library has to say beside errors, one line without newline, from any thread. NULL: nothing is said. */
    void (*log)(void *user, int32_t level, const char *message);
    void *log_user;
    int32_t threads;       /**< threads that long work (building a sketch) may use, the calling one included; 0 (default): 1; at most 256. The library's threads sleep between
                            *   pieces of work and belong to the object that works: a call under way, a scorer with `threads` */
    int32_t kernels;       /**< FA_KERNELS_...; default FA_KERNELS_AUTO */
    uint64_t memory_limit; /**< bytes that all objects of this context may hold together; 0 (default): no limit */
    /** The host's own executor, in the place of threads of the library's: calls body(argument, i) once for each i in 0 ... count - 1 (count is at most the number of threads asked
     * for), on any threads, in any order and at the same time as far as it can, and returns when all have returned. Called from the thread of a public call that works in
     * parallel, from several at once where the host makes such calls at once. Where one input is shared (fa_scorer_options.threads), the first body that is called
     * leads, and others help until it is done: they return at its end, and none waits for one that has not begun. Results do not depend on it. NULL (default): the library starts threads. */
    void (*parallel_for)(void *user, int32_t count, fa_parallel_body body, void *argument);
    void *parallel_user;
} fa_context_options;

/** Fills in the defaults. @param size sizeof(fa_context_options) of the caller. */
FA_API void fa_context_options_init(fa_context_options *options, size_t size);

/**
 * Creates a context.
 * @param options NULL for the defaults; copied.
 * @param out     the new context, owned by the caller; release with fa_context_release().
 * @return FA_ERR_ARGUMENT, FA_ERR_MEMORY, FA_ERR_UNSUPPORTED.
 */
FA_API fa_status fa_context_create(const fa_context_options *options, fa_context **out);

/** Takes another reference. @return `context`. */
FA_API fa_context *fa_context_retain(fa_context *context);

/** Gives a reference back; NULL is allowed. Models, reference sets, sketches and scorers hold references of their own. */
FA_API void fa_context_release(fa_context *context);

/** Bytes that this context's objects hold now. 0 for NULL. */
FA_API uint64_t fa_context_memory_used(const fa_context *context);

/** The largest value that fa_context_memory_used() has had since the context was made or the peak was last reset. 0 for NULL. */
FA_API uint64_t fa_context_memory_peak(const fa_context *context);

/** Sets the peak back to the bytes held now. */
FA_API void fa_context_memory_peak_reset(fa_context *context);

/** "reference", or the kernel set in use: "avx2", "avx512", "avx2+blis", "avx512+blis". Static storage. "" for NULL. */
FA_API const char *fa_context_kernels(const fa_context *context);

#endif
