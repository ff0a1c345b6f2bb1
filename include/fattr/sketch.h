/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_SKETCH_H
#define FATTR_SKETCH_H

#include <fattr/loss.h>
#include <fattr/model.h>
#include <fattr/refset.h>

/** What the references do in the network, compressed: projections, signatures, Gram matrix, calibration. Immutable, reference-counted, any thread. */
typedef struct fa_sketch fa_sketch;

/** How a layer's block enters the signature (`fa_sketch_options.blocks`). */
#define FA_BLOCKS_BOTH 0       /**< unit(plain) and unit(layer-unit) side by side, over sqrt 2; default */
#define FA_BLOCKS_PLAIN 1      /**< blocks concatenated as they are */
#define FA_BLOCKS_LAYER_UNIT 2 /**< each block at unit length first */

/** Which references may explain an input (`fa_sketch_options.subset`). */
#define FA_SUBSET_ALL 0   /**< all of them; default */
#define FA_SUBSET_CLASS 1 /**< those of the class that the model predicts for the input: their couplings alone are computed, by every score. An input of a class that no reference has
                           *   scores as one without signal */

/** Scores. All: HIGHER = MORE ANOMALOUS. c_j is the coupling (cosine of signatures) with reference j, R the references' signatures. */
#define FA_SCORE_CONE 0  /**< |s - R'w|^2, w = argmin over w >= 0 of |s - R'w|^2 + ridge |w|^2; in [0, 1]; default */
#define FA_SCORE_SPAN 1  /**< |s - R'w|^2, w = (RR' + ridge I)^-1 R s; in [0, 1]; of sketches with up to 3072 references */
#define FA_SCORE_TOPK 2  /**< minus the mean of the k largest c_j; in [-1, 1] */
#define FA_SCORE_CLASS 3 /**< minus the largest class mean of c_j, classes as predicted on the references; in [-1, 1] (arXiv 2604.18970, "CLC") */
#define FA_SCORE_MEAN 4  /**< minus the mean of c_j; in [-1, 1] (arXiv 2604.18970, "MeanCorr") */
#define FA_SCORE_MEAN_CCC 5  /**< the same on Lin's concordance of loss traces; trace sketches only */
#define FA_SCORE_CLASS_CCC 6 /**< FA_SCORE_CLASS on Lin's concordance; trace sketches only */
#define FA_SCORE_COUNT 7
#define FA_SCORE_COMMON_COUNT 5 /**< scores below this number exist for every sketch */

/** "cone", "span", "topk", "class", "mean", "mean_ccc", "class_ccc"; NULL for a number that is no score. Static storage. */
FA_API const char *fa_score_name(int32_t score);

/** The score's number, or -1 for an unknown name. */
FA_API int32_t fa_score_from_name(const char *name);

/**
 * Called on the thread that called the long function, a few times per second at most.
 * @param stage what is being done, text that holds during the call; @param done, @param total units of the whole work.
 * @return 0 to go on, anything else to cancel (the function then returns FA_ERR_CANCELLED and nothing is changed).
 */
typedef int32_t (*fa_progress)(void *user, const char *stage, int64_t done, int64_t total);

typedef struct fa_sketch_options {
    size_t struct_size;     /**< sizeof(fa_sketch_options) of the caller */
    int32_t k_in;           /**< eigenvectors kept on the input side of a layer; default 16, 1 to 256 */
    int32_t k_out;          /**< on the output side; default 16, 1 to 256 */
    double beta;            /**< exponent of the preconditioner, 0 to 1; default 0.25; negative: default */
    double damping;         /**< added to every eigenvalue, in units of the mean eigenvalue; default 0.1; negative: default */
    double ridge;           /**< of `cone` and `span`; > 0; default 1 */
    int32_t blocks;         /**< FA_BLOCKS_...; default FA_BLOCKS_BOTH */
    int32_t topk;           /**< k of the score `topk`; default 5 */
    const char *layers;     /**< which layers are tapped: comma-separated shell patterns over layer names, the last that matches decides, a leading '!' takes out (and as the
                             *   list's first begins with all); NULL (default): all. A shared weight is tapped at every use when one is selected */
    uint64_t seed;          /**< of random projections (sides larger than 8192, rows of embeddings); default 0 */
    int32_t batch;          /**< inputs per pass while building; default 16, 1 to 4096 */
    int32_t drop_misclassified; /**< 1: references whose prediction is not their label are left out (needs labels); default 0 */
    fa_progress progress;   /**< NULL (default): none */
    void *progress_user;
    uint64_t timeout_ms;    /**< FA_ERR_CANCELLED after this many milliseconds; 0 (default): no limit */
    const struct fa_trace_options *trace; /**< NULL (default): a gradient sketch. Otherwise a trace sketch (fattr/trace.h), which takes none of k_in, k_out, beta, damping, blocks
                                           *   and layers */
    int32_t loss;           /**< FA_LOSS_... (fattr/loss.h), what the output is and is held against; default FA_LOSS_MARGIN. A trace sketch has losses of the cross-entropy where a
                             *   gradient is the margin's */
    int32_t keep_moments;   /**< 1: the second moments stay in the sketch, so that fa_sketch_merge_shards() can join it with sketches over other references; 4 n (n + 1) bytes for
                             *   each layer's side of n; default 0. Gradient sketches only */
    fa_output_gradient output_gradient; /**< with FA_LOSS_HOST, also when such a sketch is calibrated anew or merged: the gradient at the output; NULL (default): none */
    void *output_gradient_user;         /**< handed to output_gradient */
    double max_forwards;    /**< > 1: of the layers that `layers` selects only the last ones are tapped, as many as keep a score at or below so many forward passes, counted in FLOPs;
                             *   FA_ERR_ARGUMENT when the last one alone takes more. What was made to look normal in the last layers is then not seen (docs/method.md, "Last layers only");
                             *   0 (default): all. Gradient sketches only */
    int32_t subset;         /**< FA_SUBSET_...; calibration follows the same rule, so p-values hold; default FA_SUBSET_ALL. Other than that: gradient sketches over class logits
                             *   only, without the score `span` */
} fa_sketch_options;

/** Fills in the defaults. @param size sizeof(fa_sketch_options) of the caller. In fields where 0 is no value of its own it means the default too. */
FA_API void fa_sketch_options_init(fa_sketch_options *options, size_t size);

/**
 * Builds a sketch in two streaming passes over the references (second moments, then signatures) and one over the calibration inputs, on the
 * context's threads; the same bits for any number of threads.
 * @param references  at least two trusted inputs.
 * @param calibration held-out trusted inputs that are not references; NULL: the sketch gives no p-value and no verdict.
 * @param options     NULL for the defaults.
 * @param out         the sketch, owned by the caller; release with fa_sketch_release().
 * @return FA_ERR_ARGUMENT, FA_ERR_SHAPE, FA_ERR_DTYPE, FA_ERR_NOT_FINITE, FA_ERR_NO_SIGNAL, FA_ERR_CANCELLED, FA_ERR_MEMORY.
 */
FA_API fa_status fa_sketch_build(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);

typedef struct fa_memory_estimate {
    size_t struct_size;      /**< sizeof(fa_memory_estimate) of the caller, set before the call */
    uint64_t build_bytes;    /**< peak of fa_sketch_build() beside the model and the reference sets, in bytes of the context's allocator */
    uint64_t sketch_bytes;   /**< what the finished sketch holds */
    uint64_t scorer_bytes;   /**< what one scorer over it holds, at max_batch 1 and for inputs of the references' size alone */
    uint64_t file_bytes;     /**< size of the sketch file */
    uint64_t draw_bytes;     /**< of sketch_bytes and of file_bytes, what the draws of a trace sketch take */
} fa_memory_estimate;

/** States beforehand what fa_sketch_build() with the same arguments will take, within 10 %, all layers having signal and no reference being dropped. What the model packs when
 *  something first goes backward, for this call too, is the model's and not counted. */
FA_API fa_status fa_sketch_memory_estimate(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_memory_estimate *out);

/**
 * A copy of the sketch with a new calibration set (NULL: none); the signatures are shared, not copied.
 * @param options NULL for the defaults; batch, progress and timeout_ms are used, the rest stays as the sketch was built.
 * @return as fa_sketch_build(); FA_ERR_MISMATCH for another model.
 */
FA_API fa_status fa_sketch_recalibrate(const fa_sketch *sketch, const fa_model *model, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);

/**
 * Joins gradient sketches over different references of one model into the sketch of all of them. The shards' second moments (`fa_sketch_options.keep_moments`) are added up in
 * double precision, projections are taken from the sum, and one pass over all references signs them anew; then as fa_sketch_build(). Shards are taken in the order of their
 * references' digests, and references in that order and their own, so the result is the same to the bit whatever the order of `sketches`. It is that of one fa_sketch_build()
 * over the references in that order up to the rounding of the moments (docs/method.md says how far that reaches).
 * @param sketches    `[count]`, at least one, built with the same options (but for batch) and keep_moments.
 * @param references  `[count]` the set that each sketch was built from, checked by its digest; ids must be distinct over all of them. Copied while the call lasts.
 * @param calibration as in fa_sketch_build().
 * @param options     NULL for the defaults; batch, keep_moments, progress and timeout_ms are used, the rest is as the shards were built.
 * @param out         owned by the caller.
 * @return as fa_sketch_build(); FA_ERR_STATE for a sketch without moments; FA_ERR_MISMATCH for another model, other references or other options: the message says which
 *         sketch and what differs.
 */
FA_API fa_status fa_sketch_merge_shards(const fa_model *model, const fa_sketch *const *sketches, const fa_refset *const *references, int32_t count,
                                        const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);

/** Takes another reference. @return `sketch`. */
FA_API fa_sketch *fa_sketch_retain(const fa_sketch *sketch);

/** Gives a reference back; NULL is allowed. */
FA_API void fa_sketch_release(fa_sketch *sketch);

/** Writes the sketch file (docs/sketch-format.md) atomically: a full disk or a kill leaves the old file. @return FA_ERR_IO, FA_ERR_MEMORY. */
FA_API fa_status fa_sketch_save_file(const fa_sketch *sketch, const char *path);

/**
 * Reads a sketch file into aligned memory.
 * @return FA_ERR_IO; FA_ERR_FORMAT (truncated, not a sketch); FA_ERR_CHECKSUM (altered); FA_ERR_VERSION (newer); FA_ERR_MEMORY.
 */
FA_API fa_status fa_sketch_load_file(fa_context *context, const char *path, fa_sketch **out);

/** The same from `size` bytes at `data` (not kept). */
FA_API fa_status fa_sketch_load_memory(fa_context *context, const void *data, size_t size, fa_sketch **out);

/** FA_OK when the sketch was made for this model; FA_ERR_MISMATCH with a message that says what differs otherwise. */
FA_API fa_status fa_sketch_check_model(const fa_sketch *sketch, const fa_model *model);

typedef struct fa_sketch_info {
    size_t struct_size;          /**< sizeof(fa_sketch_info) of the caller, set before the call */
    int64_t reference_count;
    int64_t calibration_count;   /**< 0: no p-values */
    int64_t class_count;         /**< classes or labels of the output; 0 where it has none (regression, embedding, host) */
    int64_t signature_length;    /**< D */
    int32_t layer_count;         /**< tapped layers with signal */
    int32_t dropped_layer_count; /**< tapped layers without signal on the references */
    int32_t k_in, k_out, blocks, topk;
    double beta, damping, ridge;
    uint64_t seed;
    uint8_t model_digest[FA_DIGEST_SIZE];
    uint8_t references_digest[FA_DIGEST_SIZE];
    const char *library_version; /**< of the library that built it; owned by the sketch */
    int32_t format_version;
    int32_t is_trace;            /**< 1: a trace sketch: see fa_sketch_get_trace_info(); layer_count is 0 and so are k_in, k_out, blocks, beta and damping */
    int32_t loss;                /**< FA_LOSS_... */
    int32_t has_moments;         /**< 1: built with keep_moments */
    int32_t precision;           /**< FA_PRECISION_... of the model that it was built with; any may score with it. FA_PRECISION_F32 of a trace sketch */
} fa_sketch_info;

FA_API fa_status fa_sketch_get_info(const fa_sketch *sketch, fa_sketch_info *info);

/** A layer of the sketch. `k_in`, `k_out` are what the layer has of them; `dropped` is 1 for a layer without signal on the references. */
typedef struct fa_sketch_layer_info {
    const char *name; /**< owned by the sketch */
    int64_t in, out, groups;
    int32_t k_in, k_out;
    int32_t dropped;
    int32_t random_in, random_out; /**< 1 where a seeded random projection stands in for eigenvectors */
} fa_sketch_layer_info;

/** Layer `index` of `layer_count + dropped_layer_count`, those with signal first. */
FA_API fa_status fa_sketch_get_layer(const fa_sketch *sketch, int32_t index, fa_sketch_layer_info *info);

/** A reference as the sketch knows it. */
typedef struct fa_reference_info {
    int64_t id;
    int64_t predicted; /**< the model's class; -1 where the loss has none for an input (fattr/loss.h) */
    int64_t label;     /**< the true class, or -1 */
    int32_t no_signal; /**< 1 when its signature is zero: it couples with nothing */
} fa_reference_info;

FA_API fa_status fa_sketch_get_reference(const fa_sketch *sketch, int64_t index, fa_reference_info *info);

/**
 * Reference audit: scores each reference against the others (its own column left out); a poisoned reference set shows itself here.
 * @param score FA_SCORE_...; @param out `[reference_count]` scores.
 */
FA_API fa_status fa_sketch_audit(const fa_sketch *sketch, int32_t score, double *out);

/** The calibration scores, ascending. @param out `[calibration_count]`. @return FA_ERR_STATE without calibration, FA_ERR_ARGUMENT for a score that the sketch has not. */
FA_API fa_status fa_sketch_get_calibration(const fa_sketch *sketch, int32_t score, double *out);

#endif
