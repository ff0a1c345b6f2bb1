/* SPDX-License-Identifier: Apache-2.0 */
#include "api/model.h"

#include "api/check.h"
#include "api/tensor.h"

#include <string.h>

fa_status fa_model_from_backend(fa_context *context, const fa_backend *backend, fa_model **out)
{
    fa_host *host;
    FA_CHECK(context);
    FA_CHECK(backend);
    FA_CHECK(out);
    FA_TRY(fa_host_create(context, backend, &host));
    return fa_model_from_host(context, host, out);
}

static fa_status run_parts(fa_pass *pass, const fa_array *inputs, int64_t n, float *to)
{
    const int64_t outputs = fa_pass_head(pass)->outputs;
    for (int64_t i = 0, part; i < n; i += part) {
        part = n - i < fa_pass_batch(pass) ? n - i : fa_pass_batch(pass);
        FA_TRY(fa_pass_forward(pass, inputs, i, part, NULL, NULL));
        memcpy(to + i * outputs, fa_pass_logits(pass), (size_t)(part * outputs) * sizeof *to);
    }
    return FA_OK;
}

fa_status fa_model_run_host(const fa_model *m, const fa_array *inputs, int64_t n, int64_t batch, fa_tensor **out)
{
    fa_pass *pass;
    fa_tensor *t = NULL;
    FA_TRY(fa_pass_create(&(fa_pass_request){.program = m->program, .context = m->context, .inputs = inputs, .n_inputs = m->network.n_input, .batch = n < batch ? n : batch,
                                             .loss = FA_LOSS_HOST}, &pass));
    int64_t dim[FA_MAX_DIMS];
    memcpy(dim, fa_host_output(pass)->dim, sizeof dim);
    dim[0] = n;
    fa_status status = fa_tensor_new(m->context, m->graph->value[m->logits].name, FA_FLOAT32, fa_host_output(pass)->ndim, dim, &t);
    if (status == FA_OK) status = run_parts(pass, inputs, n, t->data);
    fa_pass_destroy(pass);
    if (status != FA_OK) {
        fa_tensor_release(t);
        return status;
    }
    *out = t;
    return FA_OK;
}
