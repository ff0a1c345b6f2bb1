/* SPDX-License-Identifier: Apache-2.0 */
#include <fattr/fattr.h>
#include <string.h>

#define SIZE(type) {#type, sizeof(type)}

size_t fa_struct_size(const char *name)
{
    static const struct {
        const char *name;
        size_t size;
    } known[] = {
        SIZE(fa_array), SIZE(fa_backend), SIZE(fa_backend_geometry), SIZE(fa_backend_layer), SIZE(fa_backend_parameter), SIZE(fa_backend_request), SIZE(fa_backend_tap),
        SIZE(fa_chain_info), SIZE(fa_context_options), SIZE(fa_detection_metrics), SIZE(fa_diagnosis), SIZE(fa_generate_options), SIZE(fa_layer_info),
        SIZE(fa_mechanism_info), SIZE(fa_mechanisms_options), SIZE(fa_memory_estimate), SIZE(fa_model_info), SIZE(fa_model_options), SIZE(fa_monitor_options),
        SIZE(fa_monitor_state), SIZE(fa_node_info), SIZE(fa_output_batch), SIZE(fa_reference_info), SIZE(fa_refset_options),
        SIZE(fa_result), SIZE(fa_score_timing), SIZE(fa_scorer_options), SIZE(fa_sketch_info), SIZE(fa_sketch_layer_info), SIZE(fa_sketch_options),
        SIZE(fa_token), SIZE(fa_trace_info), SIZE(fa_trace_options), SIZE(fa_value_info),
    };
    for (size_t i = 0; name && i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(known[i].name, name)) return known[i].size;
    return 0;
}
