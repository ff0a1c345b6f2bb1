/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest host: scores one blank 28 x 28 picture. minimal MODEL.onnx SKETCH.fattr */
#include <fattr/fattr.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    fa_context *context = NULL;
    fa_model *model = NULL;
    fa_sketch *sketch = NULL;
    fa_scorer *scorer = NULL;
    fa_result result;
    static float pixels[28 * 28];
    int64_t shape[] = {1, 1, 28, 28};
    fa_array image = {pixels, shape, 4, FA_FLOAT32, NULL};

    if (argc != 3) return 2;
    if (fa_context_create(NULL, &context) != FA_OK || fa_model_load_file(context, argv[1], NULL, &model) != FA_OK ||
        fa_sketch_load_file(context, argv[2], &sketch) != FA_OK || fa_scorer_create(sketch, model, NULL, &scorer) != FA_OK ||
        fa_score(scorer, &image, 1, &result) != FA_OK) {
        fprintf(stderr, "%s\n", fa_error_message());
        return 1;
    }
    printf("class %lld, score %.3f, p %.4f%s\n", (long long)result.predicted, result.score, result.p_value, result.flagged == 1 ? ", flagged" : "");
    fa_scorer_destroy(scorer);
    fa_sketch_release(sketch);
    fa_model_release(model);
    fa_context_release(context);
    return 0;
}
