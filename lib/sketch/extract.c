/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch/extract.h"

#include "base/error.h"
#include "sketch/progress.h"

#include <string.h>

struct fa_projector {
    fa_context *context;
    const fa_tap_ops *ops;
    const fa_sketch_body *body;
    int32_t *block;    /* [layers of the program] index into body->layer, or -1 */
    size_t *packed_at; /* [layers of the program] */
    char *packed;
};

int32_t fa_block_first(const fa_program *program, int32_t layer)
{
    const fa_layer *l = fa_program_layer(program, layer), *first = fa_program_layer(program, l->block);
    return first->in == l->in && first->out == l->out && first->groups == l->groups ? l->block : layer;
}

/* A layer that the logits do not depend on has no geometry and is never visited. */
static bool visited(const fa_pass *pass, int32_t layer)
{
    return fa_pass_geometry(pass, layer)->n > 0;
}

static int32_t block_of(const fa_program *program, const fa_sketch_body *body, int32_t layer)
{
    int32_t first = fa_block_first(program, layer);
    for (int32_t j = 0; j < body->n_layer; j++)
        if (body->layer[j].index == first) return j;
    return -1;
}

void fa_body_taps(const fa_program *program, const fa_sketch_body *body, bool *tapped)
{
    for (int32_t l = 0; l < fa_program_layer_count(program); l++) tapped[l] = block_of(program, body, l) >= 0;
}

static size_t padded(size_t size)
{
    return (size + FA_ALIGN - 1) / FA_ALIGN * FA_ALIGN;
}

static size_t packed_bytes(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass, int32_t layer)
{
    int32_t j = block_of(program, body, layer);
    if (j < 0 || !visited(pass, layer)) return 0;
    const fa_sketch_layer *l = &body->layer[j];
    return padded(fa_program_tap_ops(program)->packed_size(fa_pass_geometry(pass, layer), l->k_in, l->k_out));
}

static size_t table_bytes(int32_t layers)
{
    return sizeof(fa_projector) + padded((size_t)layers * sizeof(int32_t)) + (size_t)layers * sizeof(size_t) + FA_ALIGN;
}

size_t fa_projector_bytes(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass)
{
    int32_t layers = fa_program_layer_count(program);
    size_t size = 0;
    for (int32_t l = 0; l < layers; l++) size += packed_bytes(program, body, pass, l);
    return size + table_bytes(layers) + 2 * FA_ALIGN;
}

void fa_projector_destroy(fa_projector *p)
{
    if (!p) return;
    fa_delete(p->context, p->packed);
    fa_delete(p->context, p);
}

fa_status fa_projector_create(fa_context *context, const fa_program *program, const fa_sketch_body *body, const fa_pass *pass, fa_projector **out)
{
    int32_t layers = fa_program_layer_count(program);
    fa_projector *p = fa_new(context, table_bytes(layers));
    if (!p) return FA_ERR_MEMORY;
    char *tables = (char *)p + padded(sizeof *p);
    *p = (fa_projector){.context = context, .ops = fa_program_tap_ops(program), .body = body};
    p->block = (int32_t *)(void *)tables;
    p->packed_at = (size_t *)(void *)(tables + padded((size_t)layers * sizeof(int32_t)));
    size_t size = 0;
    for (int32_t l = 0; l < layers; l++) {
        p->block[l] = visited(pass, l) ? block_of(program, body, l) : -1;
        p->packed_at[l] = size;
        size += packed_bytes(program, body, pass, l);
    }
    p->packed = fa_new_uncleared(context, size);
    if (!p->packed) {
        fa_projector_destroy(p);
        return FA_ERR_MEMORY;
    }
    for (int32_t l = 0; l < layers; l++) {
        if (p->block[l] < 0) continue;
        const fa_sketch_layer *s = &body->layer[p->block[l]];
        p->ops->pack(fa_pass_geometry(pass, l), s->p_in, s->k_in, s->p_out, s->k_out, p->packed + p->packed_at[l]);
    }
    *out = p;
    return FA_OK;
}

static bool same_layout(const fa_tap *x, const fa_tap *y)
{
    return x->c == y->c && x->h == y->h && x->w == y->w && x->out == y->out && x->oh == y->oh && x->ow == y->ow && x->groups == y->groups && x->kh == y->kh && x->kw == y->kw &&
           x->stride_h == y->stride_h && x->stride_w == y->stride_w && x->dilation_h == y->dilation_h && x->dilation_w == y->dilation_w && x->pad_top == y->pad_top && x->pad_left == y->pad_left &&
           x->a_n == y->a_n && x->a_c == y->a_c && x->a_h == y->a_h && x->a_w == y->a_w && x->d_n == y->d_n && x->d_c == y->d_c && x->d_h == y->d_h && x->d_w == y->d_w &&
           x->has_bias == y->has_bias && x->lookup == y->lookup && x->turned == y->turned;
}

bool fa_projector_serves(const fa_program *program, const fa_pass *made_for, const fa_pass *pass)
{
    for (int32_t l = 0; l < fa_program_layer_count(program); l++)
        if (visited(made_for, l) != visited(pass, l) || !same_layout(fa_pass_geometry(made_for, l), fa_pass_geometry(pass, l))) return false;
    return true;
}

size_t fa_extract_scratch(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass)
{
    size_t most = FA_ALIGN;
    for (int32_t l = 0; l < fa_program_layer_count(program); l++) {
        int32_t j = visited(pass, l) ? block_of(program, body, l) : -1;
        if (j < 0) continue;
        size_t size = fa_program_tap_ops(program)->scratch(fa_pass_geometry(pass, l), body->layer[j].k_in, body->layer[j].k_out);
        if (size > most) most = size;
    }
    return most;
}

double fa_extract_flops(const fa_program *program, const fa_sketch_body *body, const fa_pass *pass)
{
    double flops = 0;
    for (int32_t l = 0; l < fa_program_layer_count(program); l++) {
        int32_t j = visited(pass, l) ? block_of(program, body, l) : -1;
        if (j >= 0) flops += fa_program_tap_ops(program)->flops(fa_pass_geometry(pass, l), body->layer[j].k_in, body->layer[j].k_out);
    }
    return flops;
}

typedef struct visit_state {
    const fa_extraction *extraction;
    float *blocks;
} visit_state;

static void visit(void *user, const fa_tap *tap)
{
    const visit_state *v = user;
    const fa_projector *p = v->extraction->projector;
    int32_t j = p->block[tap->layer];
    if (j < 0) return;
    const fa_sketch_body *b = p->body;
    p->ops->blocks(tap, p->packed + p->packed_at[tap->layer], b->layer[j].k_in, b->layer[j].k_out, v->blocks + b->offset[j], b->offset[b->n_layer],
                   v->extraction->scratch);
}

fa_status fa_extract(fa_extraction *e, const fa_array *inputs, int64_t first, int64_t n, const fa_asked *asked, float *blocks, const fa_pass_outputs *outputs)
{
    const fa_sketch_body *b = e->projector->body;
    uint64_t begin = fa_now_ns();
    FA_TRY(fa_pass_forward(e->pass, inputs, first, n, asked, outputs));
    uint64_t middle = fa_now_ns();
    memset(blocks, 0, (size_t)(n * b->offset[b->n_layer]) * sizeof *blocks);
    FA_TRY(fa_pass_backward(e->pass, visit, &(visit_state){e, blocks}));
    e->forward_ns += middle - begin;
    e->backward_ns += fa_now_ns() - middle;
    return FA_OK;
}
