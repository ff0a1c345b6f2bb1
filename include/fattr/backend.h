/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_BACKEND_H
#define FATTR_BACKEND_H

#include <fattr/model.h>

/*
 * A network whose passes the host runs: libfattr never sees it as ONNX. The host describes it in an fa_backend, a table of callbacks, and gets an
 * fa_model with which everything else (build, score, audit, save, load, merge) works unchanged; of its values fa_model_run() gives the logits alone. A complete host is
 * examples/hosts/backend.c, a guide is docs/backends.md.
 *
 * The host computes outputs, mostly logits, and carries a gradient back from them; losses, targets and the gradient at the outputs are the library's. Which losses there are
 * follows from the outputs' shape (fattr/loss.h): a class, a class at every token or pixel, labels, numbers. What the callbacks given make possible:
 *
 *     create_pass, destroy_pass, forward   always needed: predictions, fa_model_run()
 *     taps or gradients                    gradient sketches. Without both, building one fails with FA_ERR_UNSUPPORTED
 *     set_weights                          losses at other weights: trace sketches (fattr/trace.h). Without it they fail with FA_ERR_UNSUPPORTED
 *     weight_gradient                      with set_weights, the samplers that follow a gradient: all but FA_SAMPLER_GAUSSIAN, which needs set_weights alone
 *
 * FA_BATCHNORM_REESTIMATE is not to be had: running statistics of a host's normalisations stay as they are (FA_ERR_UNSUPPORTED).
 *
 * Threads. A pass is used by one thread at a time, which need not be the one that created it; several passes are used at the same time by as many threads as the context has.
 * A host that cannot do that gives the context one thread (fa_context_options.threads) and scores from one thread.
 *
 * Errors. A callback returns FA_OK or another status, having said why with fa_error_set(): `return fa_error_set(FA_ERR_MEMORY, "no room for the activations");`. The call
 * that needed it returns that status (FA_ERR_ARGUMENT for a number that is none) with the message behind the backend's and the callback's name, and nothing
 * is half-changed. Callbacks must return: no longjmp, no exception past them. They may call libfattr, but not with the scorer that is being used.
 *
 * Structs of which there are arrays (layers, parameters, geometries, taps) never grow. fa_backend and fa_backend_request grow at the end.
 */

#define FA_BACKEND_ABI 1 /**< version of these structs and callbacks; a later library takes every earlier version */

/** A layer with weights: a convolution, or a fully connected layer at any number of positions. Its weight gradient for one input is the sum over output positions p of d_p a_p'. */
typedef struct fa_backend_layer {
    const char *name;   /**< what layer patterns are matched against; not empty */
    const char *weight; /**< layers with the same weight (not NULL) and dimensions share one weight, whose gradient is the sum over them; NULL: its own */
    int64_t in;         /**< inputs of one output, without the bias: channels / groups * kernel_h * kernel_w, in this order; > 0 */
    int64_t out;        /**< output channels or features, of all groups; > 0 */
    int64_t groups;     /**< of a grouped convolution; divides `out`; 1 otherwise */
    int64_t kernel_h, kernel_w; /**< kernel rows and columns, 1 to 1024; 1 for a fully connected layer */
    int32_t has_bias;   /**< 1: the layer has a bias that belongs to its gradient */
} fa_backend_layer;

/** A part of the flat vector of weights: `rows` rows of count / rows floats, one parameter after the other. */
typedef struct fa_backend_parameter {
    const char *name;  /**< what `fa_trace_options.parameters` is matched against; not empty */
    int64_t rows;      /**< leading dimension; > 0; a stored draw of 8-bit integers has one scale for each row */
    int64_t count;     /**< elements; a multiple of `rows`, > 0 */
    const float *data; /**< `[count]` the trained values, finite; copied */
} fa_backend_parameter;

#define FA_LAYOUT_CHANNELS_LAST 0  /**< dense [n, rows, columns, channels]; a fully connected layer's [n, positions, features] with `h` positions and w 1; default */
#define FA_LAYOUT_CHANNELS_FIRST 1 /**< dense [n, channels, rows, columns] */
#define FA_LAYOUT_STRIDES 2        /**< the strides given */

/**
 * Where a tapped layer's input `a` and the gradient `d` at its output lie. A fully connected layer is a 1 x 1 convolution over h positions. The library fills it in for a fully
 * connected layer at one position before it calls create_pass, which changes what is different.
 */
typedef struct fa_backend_geometry {
    int64_t h, w;   /**< rows and columns of `a`, 1 to 2^20 */
    int64_t oh, ow; /**< of `d`, 1 to 2^20 */
    int64_t stride_h, stride_w, dilation_h, dilation_w; /**< 1 to 2^20 */
    int64_t pad_top, pad_left;                          /**< 0 to 2^20; what a window reads outside `a` is 0 */
    int32_t layout;             /**< FA_LAYOUT_..., of both */
    int64_t a_n, a_c, a_h, a_w; /**< FA_LAYOUT_STRIDES: strides of `a` in floats, by input, channel, row, column; >= 0 */
    int64_t d_n, d_c, d_h, d_w; /**< and of `d` */
} fa_backend_geometry;

/** A layer's tap for the inputs of the last forward, in the geometry given for it. Owned by the host; read before the next call for this pass. */
typedef struct fa_backend_tap {
    const float *a; /**< the layer's input */
    const float *d; /**< the gradient at its output, before an activation */
} fa_backend_tap;

/** What a pass is for. Owned by the library, for the time of the call. */
typedef struct fa_backend_request {
    size_t struct_size;
    int64_t batch;          /**< inputs it takes at a time, at most */
    const fa_array *inputs; /**< `[input_count]` shape `[batch, ...]` and type as forward will get them; `data` is NULL */
    const uint8_t *tapped;  /**< `[layer_count]` 1: the layer is wanted of taps() or gradients(); all 0: neither will be called */
    int32_t weights;        /**< 1: set_weights() will be called */
    int32_t weight_gradient; /**< 1: weight_gradient() will be called */
} fa_backend_request;

typedef struct fa_backend {
    size_t struct_size; /**< sizeof(fa_backend) of the caller */
    int32_t abi;        /**< FA_BACKEND_ABI of the caller */
    int32_t input_count, layer_count, parameter_count;
    int64_t classes;    /**< columns of the logits [n, classes], at least 2; not read where `output` says more */
    const char *name;   /**< for messages; NULL: "backend" */
    void *user;         /**< handed to every callback */

    const fa_value_info *inputs;            /**< `[input_count]`, at least one: name, FA_FLOAT32 or FA_INT64, 1 to 8 dimensions, the first counts inputs, -1 where open */
    const fa_backend_layer *layers;         /**< `[layer_count]`; none: no gradient sketches */
    const fa_backend_parameter *parameters; /**< `[parameter_count]`; none: no trace sketches. The order is that of the flat vector */
    uint8_t digest[FA_DIGEST_SIZE];         /**< identifies the network's weights, so that a sketch is not used with others; the library mixes in what is declared above and the
                                             *   parameters' data. All zero: that alone, for which there must be parameters */

    /**
     * One thread's memory for running the network, at the trained weights.
     * @param geometry `[layer_count]` to be filled in for the tapped layers; not used for gradients().
     * @param pass     what the other callbacks get; may be set to NULL. When create_pass fails, destroy_pass is not called for it.
     */
    fa_status (*create_pass)(void *user, const fa_backend_request *request, fa_backend_geometry *geometry, void **pass);
    void (*destroy_pass)(void *user, void *pass);
    /**
     * @param inputs `[input_count]`: `[n, ...]` dense floats (FA_FLOAT32) or int64_t (FA_INT64), finite; the library's, for the time until the next forward.
     * @param n      1 to batch.
     * @param logits `[n, classes]`, or n of `output`, to be written.
     */
    fa_status (*forward)(void *user, void *pass, const void *const *inputs, int64_t n, float *logits);
    /**
     * Backward for the inputs of the last forward (the same n).
     * @param at_logits as `logits` in forward: gradient of each input's loss there; 0 at positions that do not count.
     * @param taps      `[layer_count]`, zeroed: to be filled in for the tapped layers.
     */
    fa_status (*taps)(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *taps);
    /**
     * In place of taps(), for a network that has whole weight gradients alone; taken where taps is NULL. Second moments are then those of the gradients W themselves,
     * A = mean W'W and G = mean WW' within groups (Gupta, Koren and Singer, arXiv 1802.09568), so a sketch differs from one built on taps.
     * @param gradients `[layer_count]`, zeroed: for the tapped layers to be set to `[n, out, in + has_bias]` dense, each input's own gradient, the bias's last; owned by the
     *                  host, read before the next call for this pass.
     */
    fa_status (*gradients)(void *user, void *pass, const float *at_logits, int64_t n, const float **gradients);
    /** Backward as taps(). @param gradient `[weights]`, zeroed: to be set to the sum over the n inputs of the gradient with regard to every parameter. */
    fa_status (*weight_gradient)(void *user, void *pass, const float *at_logits, int64_t n, float *gradient);
    /** The pass uses these weights from now on. @param weights `[weights]` every parameter; the library's, for the time of the call. */
    fa_status (*set_weights)(void *user, void *pass, const float *weights);
    /** The model is gone, and with it every pass: the last call. May be NULL. */
    void (*release)(void *user);

    /** What forward writes, dense: name (NULL: "logits"), FA_FLOAT32, 1 to 8 dimensions of which the first counts inputs, -1 where they follow from the inputs' shapes. NULL
     *  (default): `[n, classes]`. */
    const fa_value_info *output;
    /**
     * The open dimensions of `output`; needed where there are some beside the first. Called before create_pass, with the request that it will get.
     * @param shape `[output->ndim]` as declared, the first set to the batch; the open ones are to be set, > 0.
     */
    fa_status (*output_shape)(void *user, const fa_backend_request *request, int64_t *shape);
} fa_backend;

/**
 * A model from a host's passes.
 * @param backend read during the call; what it points to is copied, except `user`.
 * @param out     the model, owned by the caller; release with fa_model_release(), which calls backend->release with the last reference. On failure `release` is not called.
 * @return FA_ERR_ARGUMENT for a table that contradicts itself (the message names the field), FA_ERR_VERSION for a later `abi`, FA_ERR_NOT_FINITE, FA_ERR_MEMORY.
 */
FA_API fa_status fa_model_from_backend(fa_context *context, const fa_backend *backend, fa_model **out);

#endif
