/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/match.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#define MISMATCH(...) fa_fail(FA_ERR_MISMATCH, "the sketch was made for another model: " __VA_ARGS__)

static void hex(const uint8_t digest[16], char text[33])
{
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static fa_status match_layer(const fa_sketch_layer *s, const fa_program *program)
{
    int32_t layers = fa_program_layer_count(program);
    if (s->index >= layers) return MISMATCH("its layer '%.100s' is number %d, but the model has %d layers", s->name, s->index, layers);
    const fa_layer *l = fa_program_layer(program, s->index);
    if (s->in != l->in || s->out != l->out || s->groups != l->groups)
        return MISMATCH("layer '%.100s' is %lld x %lld in %lld groups in the sketch, layer '%.100s' %lld x %lld in %lld groups in the model", s->name,
                        (long long)s->in,
                        (long long)s->out, (long long)s->groups, l->name, (long long)l->in, (long long)l->out, (long long)l->groups);
    return FA_OK;
}

fa_status fa_sketch_match(const fa_sketch_body *b, const fa_network *n)
{
    char one[33], other[33];
    /* The shapes first: they say more than a digest. */
    for (int32_t i = 0; !b->trace && i < b->n_layer + b->n_dropped; i++) FA_TRY(match_layer(&b->layer[i], n->program));
    if (b->n_input != n->n_input) return MISMATCH("the sketch has %d inputs, the model %d", b->n_input, n->n_input);
    if (memcmp(b->model_digest, n->digest, 16)) {
        hex(b->model_digest, one);
        hex(n->digest, other);
        return MISMATCH("the layers have the same shapes, but the weights or the graph differ (digest %s in the sketch, %s of the model)", one,
                        other);
    }
    if (b->logits_node != n->logits_node)
        return MISMATCH("the network is the same, but another value is taken as logits (node %d in the sketch, node %d of the model)", b->logits_node,
                        n->logits_node);
    return FA_OK;
}
