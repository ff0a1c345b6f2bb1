# SPDX-License-Identifier: Apache-2.0
"""The C interface as the headers have it. Written by generate.py: ninja -C build python-interface"""

DECLARATIONS = """
typedef struct fa_array { const void *data; const int64_t *shape; int32_t ndim; int32_t dtype; const char *name; } fa_array;
typedef struct fa_tensor fa_tensor;
fa_status fa_tensor_view(const fa_tensor *tensor, fa_array *view);
void fa_tensor_release(fa_tensor *tensor);
typedef struct fa_backend_layer { const char *name; const char *weight; int64_t in; int64_t out; int64_t groups; int64_t kernel_h, kernel_w; int32_t has_bias; } fa_backend_layer;
typedef struct fa_backend_parameter { const char *name; int64_t rows; int64_t count; const float *data; } fa_backend_parameter;
typedef struct fa_backend_geometry { int64_t h, w; int64_t oh, ow; int64_t stride_h, stride_w, dilation_h, dilation_w; int64_t pad_top, pad_left; int32_t layout; int64_t a_n, a_c, a_h, a_w; int64_t d_n, d_c, d_h, d_w; } fa_backend_geometry;
typedef struct fa_backend_tap { const float *a; const float *d; } fa_backend_tap;
typedef struct fa_backend_request { size_t struct_size; int64_t batch; const fa_array *inputs; const uint8_t *tapped; int32_t weights; int32_t weight_gradient; } fa_backend_request;
typedef struct fa_backend { size_t struct_size; int32_t abi; int32_t input_count, layer_count, parameter_count; int64_t classes; const char *name; void *user; const fa_value_info *inputs; const fa_backend_layer *layers; const fa_backend_parameter *parameters; uint8_t digest[FA_DIGEST_SIZE]; fa_status (*create_pass)(void *user, const fa_backend_request *request, fa_backend_geometry *geometry, void **pass); void (*destroy_pass)(void *user, void *pass); fa_status (*forward)(void *user, void *pass, const void *const *inputs, int64_t n, float *logits); fa_status (*taps)(void *user, void *pass, const float *at_logits, int64_t n, fa_backend_tap *taps); fa_status (*gradients)(void *user, void *pass, const float *at_logits, int64_t n, const float **gradients); fa_status (*weight_gradient)(void *user, void *pass, const float *at_logits, int64_t n, float *gradient); fa_status (*set_weights)(void *user, void *pass, const float *weights); void (*release)(void *user); const fa_value_info *output; fa_status (*output_shape)(void *user, const fa_backend_request *request, int64_t *shape); } fa_backend;
fa_status fa_model_from_backend(fa_context *context, const fa_backend *backend, fa_model **out);
typedef struct fa_context fa_context;
typedef void (*fa_parallel_body)(void *argument, int32_t index);
typedef struct fa_context_options { size_t struct_size; void *(*alloc)(void *user, size_t size, size_t align); void (*free)(void *user, void *block, size_t size, size_t align); void *alloc_user; void (*log)(void *user, int32_t level, const char *message); void *log_user; int32_t threads; int32_t kernels; uint64_t memory_limit; void (*parallel_for)(void *user, int32_t count, fa_parallel_body body, void *argument); void *parallel_user; } fa_context_options;
void fa_context_options_init(fa_context_options *options, size_t size);
fa_status fa_context_create(const fa_context_options *options, fa_context **out);
fa_context *fa_context_retain(fa_context *context);
void fa_context_release(fa_context *context);
uint64_t fa_context_memory_used(const fa_context *context);
uint64_t fa_context_memory_peak(const fa_context *context);
void fa_context_memory_peak_reset(fa_context *context);
const char *fa_context_kernels(const fa_context *context);
typedef struct fa_generate_options { size_t struct_size; int64_t tokens; const int64_t *lengths; int64_t stop; int64_t pad; int32_t batch; fa_progress progress; void *progress_user; uint64_t timeout_ms; } fa_generate_options;
void fa_generate_options_init(fa_generate_options *options, size_t size);
fa_status fa_model_generate(const fa_model *model, const fa_array *prompts, const fa_generate_options *options, fa_tensor **tokens, fa_tensor **mask);
const char *fa_loss_name(int32_t loss);
int32_t fa_loss_from_name(const char *name);
typedef struct fa_output_batch { size_t struct_size; int64_t n; int64_t length; const float *outputs; const fa_array *inputs; int64_t first; int32_t input_count; } fa_output_batch;
typedef fa_status (*fa_output_gradient)(void *user, const fa_output_batch *batch, float *gradient);
typedef struct fa_mechanisms fa_mechanisms;
typedef struct fa_mechanisms_options { size_t struct_size; double linkage; double likeness; } fa_mechanisms_options;
void fa_mechanisms_options_init(fa_mechanisms_options *options, size_t size);
fa_status fa_mechanisms_create(const fa_sketch *sketch, const fa_mechanisms_options *options, fa_mechanisms **out);
fa_mechanisms *fa_mechanisms_retain(const fa_mechanisms *mechanisms);
void fa_mechanisms_release(fa_mechanisms *mechanisms);
int64_t fa_mechanisms_fingerprint_length(const fa_mechanisms *mechanisms);
int64_t fa_mechanisms_count(const fa_mechanisms *mechanisms);
fa_status fa_mechanisms_fingerprint(const fa_mechanisms *mechanisms, const float *residual, float *out);
fa_status fa_mechanisms_assign(const fa_mechanisms *mechanisms, const float *fingerprint, int64_t *group, double *likeness);
fa_status fa_mechanisms_group(const fa_mechanisms *mechanisms, const float *fingerprints, int64_t n, int64_t *group, fa_mechanisms **out);
typedef struct fa_mechanism_info { char name[16]; int64_t count; double cohesion; const float *center; } fa_mechanism_info;
fa_status fa_mechanisms_get(const fa_mechanisms *mechanisms, int64_t index, fa_mechanism_info *info);
fa_status fa_mechanisms_save_file(const fa_mechanisms *mechanisms, const char *path);
fa_status fa_mechanisms_load_file(const fa_sketch *sketch, const char *path, fa_mechanisms **out);
fa_status fa_mechanisms_load_memory(const fa_sketch *sketch, const void *data, size_t size, fa_mechanisms **out);
typedef struct fa_detection_metrics { size_t struct_size; double auroc; double aupr; double aupr_clean; double fpr95; double der_best; double best_threshold; } fa_detection_metrics;
fa_status fa_detection_metrics_compute(const double *clean, int64_t n_clean, const double *anomalous, int64_t n_anomalous, double acc, double asr, fa_detection_metrics *out);
typedef struct fa_model fa_model;
typedef struct fa_model_options { size_t struct_size; const char *output; const fa_array *bound; int32_t bound_count; int64_t plan_cache; int32_t precision; int32_t packing; } fa_model_options;
void fa_model_options_init(fa_model_options *options, size_t size);
fa_status fa_model_load_file(fa_context *context, const char *path, const fa_model_options *options, fa_model **out);
fa_status fa_model_load_memory(fa_context *context, const void *data, size_t size, const fa_model_options *options, fa_model **out);
fa_model *fa_model_retain(const fa_model *model);
void fa_model_release(fa_model *model);
fa_status fa_model_digest(const fa_model *model, uint8_t digest[FA_DIGEST_SIZE]);
typedef struct fa_model_info { size_t struct_size; int64_t parameter_count; int64_t opset; int32_t input_count; int32_t output_count; int32_t node_count; int32_t layer_count; int32_t class_count; const char *logits; const char *producer; int32_t precision; } fa_model_info;
fa_status fa_model_get_info(const fa_model *model, fa_model_info *info);
typedef struct fa_value_info { const char *name; int32_t dtype; int32_t ndim; int64_t shape[FA_MAX_DIMS]; } fa_value_info;
fa_status fa_model_get_input(const fa_model *model, int32_t index, fa_value_info *info);
fa_status fa_model_get_output(const fa_model *model, int32_t index, fa_value_info *info);
typedef struct fa_node_info { const char *name; const char *op; const char *output; const char *domain; } fa_node_info;
fa_status fa_model_get_node(const fa_model *model, int32_t index, fa_node_info *info);
typedef struct fa_layer_info { const char *name; const char *op; const char *weight; int64_t in; int64_t out; int64_t groups; int32_t has_bias; } fa_layer_info;
fa_status fa_model_get_layer(const fa_model *model, int32_t index, fa_layer_info *info);
fa_status fa_model_run(const fa_model *model, const fa_array *inputs, int32_t input_count, const char *name, fa_tensor **out);
typedef struct fa_monitor fa_monitor;
typedef struct fa_monitor_options { size_t struct_size; double false_alarm; int64_t calibration_count; } fa_monitor_options;
void fa_monitor_options_init(fa_monitor_options *options, size_t size);
fa_status fa_monitor_create(fa_context *context, const fa_monitor_options *options, fa_monitor **out);
void fa_monitor_destroy(fa_monitor *monitor);
fa_status fa_monitor_update(fa_monitor *monitor, const double *p_values, int64_t n);
typedef struct fa_monitor_state { size_t struct_size; int64_t count; double log_wealth; double log_threshold; int64_t alarm_at; double smallest_p; } fa_monitor_state;
fa_status fa_monitor_get(const fa_monitor *monitor, fa_monitor_state *state);
fa_status fa_monitor_reset(fa_monitor *monitor);
fa_status fa_monitor_save_file(const fa_monitor *monitor, const char *path);
fa_status fa_monitor_load_file(fa_context *context, const char *path, fa_monitor **out);
fa_status fa_monitor_load_memory(fa_context *context, const void *data, size_t size, fa_monitor **out);
typedef struct fa_refset fa_refset;
typedef struct fa_refset_options { size_t struct_size; const int64_t *labels; const int64_t *ids; } fa_refset_options;
void fa_refset_options_init(fa_refset_options *options, size_t size);
fa_status fa_refset_create(fa_context *context, const fa_array *inputs, int32_t input_count, const fa_refset_options *options, fa_refset **out);
fa_refset *fa_refset_retain(const fa_refset *refset);
void fa_refset_release(fa_refset *refset);
int64_t fa_refset_count(const fa_refset *refset);
int32_t fa_refset_input_count(const fa_refset *refset);
fa_status fa_refset_get_input(const fa_refset *refset, int32_t index, fa_array *view);
fa_status fa_refset_get_id(const fa_refset *refset, int64_t index, int64_t *id);
fa_status fa_refset_get_label(const fa_refset *refset, int64_t index, int64_t *label);
fa_status fa_refset_digest(const fa_refset *refset, uint8_t digest[16]);
typedef struct fa_scorer fa_scorer;
typedef struct fa_scorer_options { size_t struct_size; int32_t max_batch; int32_t score; int32_t all_scores; double alpha; int32_t want_residual; double confidence; uint64_t draw_cache_bytes; fa_output_gradient output_gradient; void *output_gradient_user; int64_t plan_cache; int32_t threads; int32_t signatures; } fa_scorer_options;
void fa_scorer_options_init(fa_scorer_options *options, size_t size);
typedef struct fa_result { double score; double p_value; int32_t flagged; int32_t no_signal; int64_t predicted; double confidence; double scores[FA_SCORE_COUNT]; const float *couplings; const float *weights; const float *residual; int64_t reference_count; int64_t signature_length; int64_t draws; } fa_result;
fa_status fa_scorer_create(const fa_sketch *sketch, const fa_model *model, const fa_scorer_options *options, fa_scorer **out);
void fa_scorer_destroy(fa_scorer *scorer);
fa_status fa_score(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *result);
fa_status fa_score_batch(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, fa_result *results, int64_t n);
typedef struct fa_token { int64_t position; int64_t token; double loss; double score; int32_t no_signal; } fa_token;
fa_status fa_score_tokens(fa_scorer *scorer, const fa_array *inputs, int32_t input_count, int64_t capacity, fa_token *tokens, float *couplings, float *weights, int64_t *count);
typedef struct fa_score_timing { size_t struct_size; uint64_t forward_ns; uint64_t backward_ns; uint64_t coupling_ns; uint64_t solve_ns; uint64_t draw_ns; } fa_score_timing;
fa_status fa_scorer_get_timing(const fa_scorer *scorer, fa_score_timing *timing);
fa_status fa_scorer_get_flops(const fa_scorer *scorer, double *forward, double *score);
typedef struct fa_sketch fa_sketch;
const char *fa_score_name(int32_t score);
int32_t fa_score_from_name(const char *name);
typedef int32_t (*fa_progress)(void *user, const char *stage, int64_t done, int64_t total);
typedef struct fa_sketch_options { size_t struct_size; int32_t k_in; int32_t k_out; double beta; double damping; double ridge; int32_t blocks; int32_t topk; const char *layers; uint64_t seed; int32_t batch; int32_t drop_misclassified; fa_progress progress; void *progress_user; uint64_t timeout_ms; const struct fa_trace_options *trace; int32_t loss; int32_t keep_moments; fa_output_gradient output_gradient; void *output_gradient_user; double max_forwards; int32_t subset; } fa_sketch_options;
void fa_sketch_options_init(fa_sketch_options *options, size_t size);
fa_status fa_sketch_build(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
typedef struct fa_memory_estimate { size_t struct_size; uint64_t build_bytes; uint64_t sketch_bytes; uint64_t scorer_bytes; uint64_t file_bytes; uint64_t draw_bytes; } fa_memory_estimate;
fa_status fa_sketch_memory_estimate(const fa_model *model, const fa_refset *references, const fa_refset *calibration, const fa_sketch_options *options, fa_memory_estimate *out);
fa_status fa_sketch_recalibrate(const fa_sketch *sketch, const fa_model *model, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
fa_status fa_sketch_merge_shards(const fa_model *model, const fa_sketch *const *sketches, const fa_refset *const *references, int32_t count, const fa_refset *calibration, const fa_sketch_options *options, fa_sketch **out);
fa_sketch *fa_sketch_retain(const fa_sketch *sketch);
void fa_sketch_release(fa_sketch *sketch);
fa_status fa_sketch_save_file(const fa_sketch *sketch, const char *path);
fa_status fa_sketch_load_file(fa_context *context, const char *path, fa_sketch **out);
fa_status fa_sketch_load_memory(fa_context *context, const void *data, size_t size, fa_sketch **out);
fa_status fa_sketch_check_model(const fa_sketch *sketch, const fa_model *model);
typedef struct fa_sketch_info { size_t struct_size; int64_t reference_count; int64_t calibration_count; int64_t class_count; int64_t signature_length; int32_t layer_count; int32_t dropped_layer_count; int32_t k_in, k_out, blocks, topk; double beta, damping, ridge; uint64_t seed; uint8_t model_digest[FA_DIGEST_SIZE]; uint8_t references_digest[FA_DIGEST_SIZE]; const char *library_version; int32_t format_version; int32_t is_trace; int32_t loss; int32_t has_moments; int32_t precision; } fa_sketch_info;
fa_status fa_sketch_get_info(const fa_sketch *sketch, fa_sketch_info *info);
typedef struct fa_sketch_layer_info { const char *name; int64_t in, out, groups; int32_t k_in, k_out; int32_t dropped; int32_t random_in, random_out; } fa_sketch_layer_info;
fa_status fa_sketch_get_layer(const fa_sketch *sketch, int32_t index, fa_sketch_layer_info *info);
typedef struct fa_reference_info { int64_t id; int64_t predicted; int64_t label; int32_t no_signal; } fa_reference_info;
fa_status fa_sketch_get_reference(const fa_sketch *sketch, int64_t index, fa_reference_info *info);
fa_status fa_sketch_audit(const fa_sketch *sketch, int32_t score, double *out);
fa_status fa_sketch_get_calibration(const fa_sketch *sketch, int32_t score, double *out);
typedef int32_t fa_status;
const char *fa_status_name(fa_status status);
const char *fa_error_message(void);
fa_status fa_error_set(fa_status status, const char *message);
typedef struct fa_trace_options { size_t struct_size; int32_t sampler; int32_t storage; int32_t batchnorm; int32_t chains; int32_t partial; int32_t resume; int64_t draws; int64_t burn_in; int64_t thinning; int64_t minibatch; double step_size; double gamma; double nbeta; double noise; double decay; double epsilon; uint64_t first_chain; const char *parameters; const fa_refset *sampling; const char *checkpoint; uint64_t checkpoint_ms; } fa_trace_options;
void fa_trace_options_init(fa_trace_options *options, size_t size);
fa_status fa_trace_options_preset(fa_sketch_options *options, fa_trace_options *trace, const char *name);
typedef struct fa_diagnosis { double ess; double ess_min; double split_rhat; double split_rhat_max; double drift; double signal; double moved; int64_t shortest; } fa_diagnosis;
typedef struct fa_trace_info { size_t struct_size; int32_t sampler, storage, batchnorm, partial, chain_count; int32_t parameter_count; int64_t weight_count; int64_t draw_count; uint64_t draw_bytes; int64_t burn_in, thinning, minibatch; double step_size, gamma, nbeta, noise, decay, epsilon; double loss_before; double loss_after; fa_diagnosis diagnosis; const char *verdict; } fa_trace_info;
fa_status fa_sketch_get_trace_info(const fa_sketch *sketch, fa_trace_info *info);
typedef struct fa_chain_info { size_t struct_size; uint64_t seed, id; int64_t draws; double loss_before; double loss_after; double distance; fa_diagnosis diagnosis; } fa_chain_info;
fa_status fa_sketch_get_chain(const fa_sketch *sketch, int32_t index, fa_chain_info *info);
fa_status fa_sketch_get_traces(const fa_sketch *sketch, float *out);
fa_status fa_sketch_merge(const fa_sketch *const *sketches, int32_t count, fa_sketch **out);
int32_t fa_version(void);
const char *fa_version_string(void);
const char *fa_build_info(void);
size_t fa_struct_size(const char *name);
"""

CONSTANTS = {
    "FA_MAX_DIMS": 8,
    "FA_FLOAT32": 1,
    "FA_UINT8": 2,
    "FA_INT8": 3,
    "FA_UINT16": 4,
    "FA_INT16": 5,
    "FA_INT32": 6,
    "FA_INT64": 7,
    "FA_BOOL": 9,
    "FA_FLOAT16": 10,
    "FA_FLOAT64": 11,
    "FA_UINT32": 12,
    "FA_UINT64": 13,
    "FA_BFLOAT16": 16,
    "FA_BACKEND_ABI": 1,
    "FA_LAYOUT_CHANNELS_LAST": 0,
    "FA_LAYOUT_CHANNELS_FIRST": 1,
    "FA_LAYOUT_STRIDES": 2,
    "FA_KERNELS_AUTO": 0,
    "FA_KERNELS_REFERENCE": 1,
    "FA_KERNELS_FAST": 2,
    "FA_LOG_INFO": 1,
    "FA_LOG_WARNING": 2,
    "FA_LOSS_MARGIN": 0,
    "FA_LOSS_CROSS_ENTROPY": 1,
    "FA_LOSS_NEXT_TOKEN": 2,
    "FA_LOSS_PER_TOKEN": 3,
    "FA_LOSS_PER_PIXEL": 4,
    "FA_LOSS_MULTI_LABEL": 5,
    "FA_LOSS_REGRESSION": 6,
    "FA_LOSS_EMBEDDING": 7,
    "FA_LOSS_HOST": 8,
    "FA_LOSS_COUNT": 9,
    "FA_PRECISION_F32": 0,
    "FA_PRECISION_BF16": 1,
    "FA_PACKING_FAST": 0,
    "FA_PACKING_ONCE": 1,
    "FA_DIGEST_SIZE": 16,
    "FA_SIGNATURES_INT16": 0,
    "FA_SIGNATURES_F32": 1,
    "FA_SIGNATURES_INT8": 2,
    "FA_BLOCKS_BOTH": 0,
    "FA_BLOCKS_PLAIN": 1,
    "FA_BLOCKS_LAYER_UNIT": 2,
    "FA_SUBSET_ALL": 0,
    "FA_SUBSET_CLASS": 1,
    "FA_SCORE_CONE": 0,
    "FA_SCORE_SPAN": 1,
    "FA_SCORE_TOPK": 2,
    "FA_SCORE_CLASS": 3,
    "FA_SCORE_MEAN": 4,
    "FA_SCORE_MEAN_CCC": 5,
    "FA_SCORE_CLASS_CCC": 6,
    "FA_SCORE_COUNT": 7,
    "FA_SCORE_COMMON_COUNT": 5,
    "FA_OK": 0,
    "FA_ERR_ARGUMENT": -1,
    "FA_ERR_MEMORY": -2,
    "FA_ERR_IO": -3,
    "FA_ERR_FORMAT": -4,
    "FA_ERR_CHECKSUM": -5,
    "FA_ERR_VERSION": -6,
    "FA_ERR_UNSUPPORTED": -7,
    "FA_ERR_SHAPE": -8,
    "FA_ERR_DTYPE": -9,
    "FA_ERR_NOT_FINITE": -10,
    "FA_ERR_MISMATCH": -11,
    "FA_ERR_NO_SIGNAL": -12,
    "FA_ERR_CANCELLED": -13,
    "FA_ERR_LIMIT": -14,
    "FA_ERR_STATE": -15,
    "FA_ERR_INTERNAL": -99,
    "FA_SAMPLER_GAUSSIAN": 0,
    "FA_SAMPLER_RMSPROP_SGLD": 1,
    "FA_SAMPLER_SGLD": 2,
    "FA_DRAWS_DEFAULT": 0,
    "FA_DRAWS_F32": 1,
    "FA_DRAWS_BF16": 2,
    "FA_DRAWS_INT8": 3,
    "FA_BATCHNORM_FROZEN": 0,
    "FA_BATCHNORM_REESTIMATE": 1,
}
