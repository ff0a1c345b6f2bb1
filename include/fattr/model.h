/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FATTR_MODEL_H
#define FATTR_MODEL_H

#include <fattr/array.h>
#include <fattr/context.h>

/** A network: graph and weights. Immutable, reference-counted, safe from many threads; several sketches and scorers share one. */
typedef struct fa_model fa_model;

/** What layers are computed in (`fa_model_options.precision`). */
#define FA_PRECISION_F32 0
#define FA_PRECISION_BF16 1

/** How often weights are held in the order of the kernels (`fa_model_options.packing`). */
#define FA_PACKING_FAST 0
#define FA_PACKING_ONCE 1

typedef struct fa_model_options {
    size_t struct_size; /**< sizeof(fa_model_options) of the caller */
    /** Name of the output (or of any inner value) that holds the class logits `[n, classes]`; NULL (default): the first output. A trailing
     *  Softmax, LogSoftmax or Sigmoid is looked through. */
    const char *output;
    /** `[bound_count]` inputs that are the same in every run, by their names (`fa_array.name`, required) and of any rank: a sample rate, a mode, a state at rest. They are
     *  part of the model from then on, its digest included, and are given to no run and no reference set; a branch or a number of rounds that follows from them is
     *  decided when the model is loaded. Copied. One input at least is to be left. NULL (default): none. */
    const fa_array *bound;
    int32_t bound_count; /**< default 0 */
    /** Plans that fa_model_run() keeps for its next calls, one for each value and each shape of the inputs (their number included), the least recently used going
     *  first; 1 to 1024, default 8. A plan is small, but for weights that the file holds in another form (float16, quantised), which it has as floats on
     *  reference kernels. On fast kernels a value other than the logits takes the weights once more, packed, and initialisers as they were read; the last such value's
     *  are kept. */
    int64_t plan_cache;
    /** FA_PRECISION_...: what the layers are computed in; default FA_PRECISION_F32. FA_PRECISION_BF16: in products by constant matrices (fully connected layers, the projections of
     *  transformers) and in convolutions of images of one group, weights and what they multiply (the input; backward, the gradient at the output) are rounded to bfloat16, to nearest,
     *  ties to even, and the products summed up as floats. 3 x 3 convolutions of stride 1 that are faster by minimal filtering stay in float, as do attention between
     *  computed values, everything that has no weights, the signature's projections, and draws of trace sketches, which differ by less than bfloat16 tells apart. On CPUs with AVX-512 BF16
     *  it is up to twice as fast and takes half of the memory for packed weights, beside which those that were read stay (docs/performance.md); on any other CPU, and with reference kernels, the same numbers are
     *  rounded and nothing is gained. The digest is the same, and a sketch of either precision scores with a model of either (docs/method.md has what that changes). */
    int32_t precision;
    /** FA_PACKING_...; default FA_PACKING_FAST: on fast kernels weights are packed for either direction, matrices of more than 400 000 weights for one, and those of 3 x 3 convolutions
     *  by minimal filtering take four times as much each. FA_PACKING_ONCE: every weight is packed once, and what else a kernel wants is made of it at each call, a few outputs at a
     *  time: about a byte for each of the file's, and the time that docs/performance.md states, which a batch shares. The same numbers but for the order of sums in some data-gradients.
     *  Convolutions with groups, layers in bfloat16 and programs whose weights move (trace sketches) pack as by default. Without effect on reference kernels. */
    int32_t packing;
} fa_model_options;

/** Fills in the defaults. @param size sizeof(fa_model_options) of the caller. */
FA_API void fa_model_options_init(fa_model_options *options, size_t size);

/**
 * Reads an ONNX file. External data must lie inside the model's folder.
 * @param options NULL for the defaults.
 * @param out     the model, owned by the caller; release with fa_model_release().
 * @return FA_ERR_IO; FA_ERR_FORMAT for a file that is no ONNX model; FA_ERR_UNSUPPORTED with one message that lists EVERY unsupported node
 *         with its name and operator; FA_ERR_ARGUMENT for an unknown output or bound name; FA_ERR_SHAPE, FA_ERR_DTYPE and FA_ERR_NOT_FINITE for what is bound; FA_ERR_MEMORY; FA_ERR_LIMIT.
 */
FA_API fa_status fa_model_load_file(fa_context *context, const char *path, const fa_model_options *options, fa_model **out);

/** The same from `size` bytes at `data` (not kept). External data is refused with FA_ERR_UNSUPPORTED. */
FA_API fa_status fa_model_load_memory(fa_context *context, const void *data, size_t size, const fa_model_options *options, fa_model **out);

/** Takes another reference. @return `model`. */
FA_API fa_model *fa_model_retain(const fa_model *model);

/** Gives a reference back; NULL is allowed. */
FA_API void fa_model_release(fa_model *model);

#define FA_DIGEST_SIZE 16

/** Writes the digest (XXH3-128) over the graph and the canonical weights: the same for two files that hold the same network. */
FA_API fa_status fa_model_digest(const fa_model *model, uint8_t digest[FA_DIGEST_SIZE]);

typedef struct fa_model_info {
    size_t struct_size;       /**< sizeof(fa_model_info) of the caller, set before the call */
    int64_t parameter_count;  /**< elements of all real-valued initialisers and constants */
    int64_t opset;            /**< version of the default operator set */
    int32_t input_count;      /**< inputs without an initialiser */
    int32_t output_count;
    int32_t node_count;
    int32_t layer_count;      /**< layers with weights that a sketch can tap */
    int32_t class_count;      /**< columns of the logits; -1 when the file does not say */
    const char *logits;       /**< name of the value taken as logits; owned by the model */
    const char *producer;     /**< what wrote the file, "" when it does not say; owned by the model */
    int32_t precision;        /**< FA_PRECISION_... of its layers; FA_PRECISION_F32 of a host's */
} fa_model_info;

/** Describes the model. */
FA_API fa_status fa_model_get_info(const fa_model *model, fa_model_info *info);

/** An input or output: name, element type, shape with -1 where a dimension is open. Strings are owned by the model. */
typedef struct fa_value_info {
    const char *name;
    int32_t dtype;
    int32_t ndim; /**< -1 when the file does not say */
    int64_t shape[FA_MAX_DIMS];
} fa_value_info;

FA_API fa_status fa_model_get_input(const fa_model *model, int32_t index, fa_value_info *info);
FA_API fa_status fa_model_get_output(const fa_model *model, int32_t index, fa_value_info *info);

/** A node in topological order. Strings are owned by the model. */
typedef struct fa_node_info {
    const char *name;   /**< never empty: a node without a name is called after its first output */
    const char *op;     /**< operator type, "Conv" */
    const char *output; /**< name of its first output */
    const char *domain; /**< "" for the default operator set */
} fa_node_info;

FA_API fa_status fa_model_get_node(const fa_model *model, int32_t index, fa_node_info *info);

/** A layer with weights: convolution, fully connected, matrix product with a constant, or (behind these) an embedding, Gather of rows of a constant table by what an input says.
 *  Its weight gradient is `[out, in]` per group; of an embedding `in` counts the table's rows. One whose table is a product's weights too has that layer's `in` and `out`. */
typedef struct fa_layer_info {
    const char *name;   /**< the node's name, what a layer pattern is matched against */
    const char *op;
    const char *weight; /**< name of the weight value */
    int64_t in;         /**< inputs of one output, 1 for the bias included: channels / groups * kernel height * kernel width + bias */
    int64_t out;        /**< output channels or features, of all groups */
    int64_t groups;
    int32_t has_bias;
} fa_layer_info;

FA_API fa_status fa_model_get_layer(const fa_model *model, int32_t index, fa_layer_info *info);

/**
 * Runs the network and returns one of its values. Inputs may have any size that the model leaves open; the first run at a shape plans it, later ones take that plan
 * (`fa_model_options.plan_cache`). What a run takes beside, its values and the tensor, is allocated and freed by it.
 * @param inputs  one array per model input, `[n, ...]`; by name where `fa_array.name` is set, by position otherwise.
 * @param name    name of a node (its first output is returned) or of a value; NULL: the logits.
 * @param out     the tensor, owned by the caller; reals come as FA_FLOAT32 whatever the model declares, all else as FA_INT64.
 * @return FA_ERR_SHAPE, FA_ERR_DTYPE, FA_ERR_NOT_FINITE (in an input), FA_ERR_ARGUMENT, FA_ERR_MEMORY. Any thread.
 */
FA_API fa_status fa_model_run(const fa_model *model, const fa_array *inputs, int32_t input_count, const char *name, fa_tensor **out);

#endif
