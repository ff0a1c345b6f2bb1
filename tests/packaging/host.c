/* SPDX-License-Identifier: Apache-2.0 */
/* A host of the installed library: loads a model, prints what it is. */
#include <fattr/fattr.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    fa_context *context;
    fa_model *model;
    fa_model_info info = {.struct_size = sizeof info};
    if (argc != 2 || fa_context_create(NULL, &context) != FA_OK) return 2;
    if (fa_model_load_file(context, argv[1], NULL, &model) != FA_OK || fa_model_get_info(model, &info) != FA_OK) {
        fprintf(stderr, "%s\n", fa_error_message());
        return 1;
    }
    printf("libfattr %s: %lld parameters, %d layers, %s\n", fa_version_string(), (long long)info.parameter_count, info.layer_count, fa_build_info());
    fa_model_release(model);
    fa_context_release(context);
    return info.parameter_count > 0 ? 0 : 1;
}
