/* SPDX-License-Identifier: Apache-2.0 */
#include "mechanism/background.h"

#include "base/context.h"
#include "base/error.h"
#include "base/hash.h"
#include "score/cholesky.h"
#include "score/finish.h"
#include "score/scores.h"

#include <math.h>
#include <string.h>

void fa_sketch_body_digest(const fa_sketch_body *b, uint8_t digest[16])
{
    size_t n = (size_t)b->n_reference, layers = (size_t)b->n_layer;
    fa_hash hash;
    fa_hash_begin(&hash);
    fa_hash_add(&hash, b->model_digest, sizeof b->model_digest);
    fa_hash_add(&hash, b->references_digest, sizeof b->references_digest);
    fa_hash_add(&hash, &b->options.ridge, sizeof b->options.ridge);
    fa_hash_add_i64(&hash, b->options.blocks);
    fa_hash_add_i64(&hash, b->n_layer);
    fa_hash_add_i64(&hash, b->n_reference);
    fa_hash_add(&hash, b->offset, (layers + 1) * sizeof *b->offset);
    fa_hash_add(&hash, b->blocks, n * (size_t)b->offset[layers] * sizeof *b->blocks);
    fa_hash_add(&hash, b->share, n * layers * sizeof *b->share);
    if (b->gram) fa_hash_add(&hash, b->gram, n * n * sizeof *b->gram);
    fa_hash_end(&hash, digest);
}

/* ---- features */

static double dot(const float *x, const float *y, int32_t n)
{
    double s[4] = {0, 0, 0, 0};
    int32_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int e = 0; e < 4; e++) s[e] += (double)x[i + e] * y[i + e];
    for (; i < n; i++) s[0] += (double)x[i] * y[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Where feature `at` goes when features are folded, and its sign in the lowest bit (Steele et al., SplitMix64). */
static uint64_t scatter(uint64_t at)
{
    uint64_t z = (at + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void features(const fa_background *b, const float *residual, float *out)
{
    const float *m = residual + b->start;
    int64_t at = 0;
    memset(out, 0, (size_t)b->length * sizeof *out);
    for (int32_t l = 0; l < b->n_layer; l++) {
        int32_t rows = b->k_in[l], columns = b->k_out[l];
        double squares = 0;
        for (int32_t i = 0; i < rows; i++)
            for (int32_t j = i; j < rows; j++) {
                double g = dot(m + (int64_t)i * columns, m + (int64_t)j * columns, columns);
                squares += (i == j ? 1 : 2) * g * g;
            }
        double scale = squares > 0 ? 1 / sqrt(squares) : 0;
        for (int32_t i = 0; i < rows; i++)
            for (int32_t j = i; j < rows; j++, at++) {
                double g = dot(m + (int64_t)i * columns, m + (int64_t)j * columns, columns) * scale * (i == j ? 1 : 1.4142135623730951);
                uint64_t s = b->folded ? scatter((uint64_t)at) : (uint64_t)at << 1;
                out[(s >> 1) % (uint64_t)b->length] += (float)(s & 1 ? -g : g);
            }
        m += (int64_t)rows * columns;
    }
}

bool fa_fingerprint(const fa_background *b, const float *residual, float *out)
{
    features(b, residual, out);
    double squares = 0;
    for (int64_t i = 0; i < b->length; i++) {
        const float *row = b->factor + i * b->length;
        out[i] = (float)((out[i] - b->mean[i] - dot(row, out, (int32_t)i)) / row[i]);
        squares += (double)out[i] * out[i];
    }
    if (!isfinite(squares)) return false;
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (int64_t i = 0; i < b->length; i++) out[i] = (float)(out[i] * scale);
    return true;
}

/* ---- what is ordinary */

/* Features [n, length] of n references' residuals against the others. */
static fa_status leave_one_out(const fa_sketch *s, const fa_background *b, int64_t n, fa_arena *arena, float *x)
{
    const fa_sketch_body *body = s->body;
    fa_space space = fa_body_space(body);
    fa_rows rows = fa_body_rows(body);
    fa_scores_setup setup = fa_body_scores_setup(body, s->context->kernels, FA_WANT(FA_SCORE_CONE));
    float *weight = fa_arena_array(arena, (size_t)body->n_reference, sizeof *weight);
    float *residual = fa_arena_array(arena, (size_t)b->residual_length, sizeof *residual);
    fa_scores *scores;
    if (!weight || !residual) return FA_ERR_MEMORY;
    FA_TRY(fa_scores_create(s->context, &setup, &scores));
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i * body->n_reference / n;
        fa_scores_result r = {.cone_weight = weight};
        fa_scores_audit(scores, at, NULL, FA_WANT(FA_SCORE_CONE), &r);
        fa_space_residual(&space, &rows, at, &rows, weight, residual);
        features(b, residual, x + i * b->length);
    }
    fa_scores_destroy(scores);
    return FA_OK;
}

/* Moves x's rows to mean 0; cov [length, length] their covariance, lower triangle, four rows of x at a time. */
static void moments(const fa_dot_kernels *kernels, float *x, int64_t n, int64_t length, float *mean, float *cov)
{
    for (int64_t k = 0; k < length; k++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += x[i * length + k];
        mean[k] = (float)(sum / (double)n);
        for (int64_t i = 0; i < n; i++) x[i * length + k] -= mean[k];
    }
    for (int64_t k = 0; k < length; k++)
        for (int64_t i = 0; i < n; i += 4) {
            const float *row[4];
            float a[4];
            for (int64_t q = 0; q < 4; q++) {
                row[q] = x + (i + q < n ? i + q : i) * length;
                a[q] = i + q < n ? row[q][k] / (float)n : 0;
            }
            kernels->add4(k + 1, a, row, cov + k * length);
        }
}

static fa_status fill(const fa_sketch *s, fa_background *b)
{
    const fa_sketch_body *body = s->body;
    const fa_dot_kernels *kernels = fa_dot_kernels_for(s->context->kernels);
    int64_t n = body->n_reference < FA_BACKGROUND_REFERENCES ? body->n_reference : FA_BACKGROUND_REFERENCES, all = 0;
    fa_space space = fa_body_space(body);
    fa_arena scratch = {.context = s->context};
    b->n_layer = body->n_layer;
    b->residual_length = fa_space_signature_length(&space);
    b->start = body->options.blocks == FA_BLOCKS_BOTH ? body->offset[body->n_layer] : 0;
    b->k_in = fa_arena_array(&b->arena, (size_t)b->n_layer, sizeof *b->k_in);
    b->k_out = fa_arena_array(&b->arena, (size_t)b->n_layer, sizeof *b->k_out);
    if (!b->k_in || !b->k_out) return FA_ERR_MEMORY;
    for (int32_t l = 0; l < b->n_layer; l++) {
        b->k_in[l] = body->layer[l].k_in;
        b->k_out[l] = body->layer[l].k_out;
        all += (int64_t)b->k_in[l] * (b->k_in[l] + 1) / 2;
    }
    b->folded = all > FA_FINGERPRINT_MOST;
    b->length = b->folded ? FA_FINGERPRINT_MOST : all;
    size_t length = (size_t)b->length;
    b->mean = fa_arena_array(&b->arena, length, sizeof *b->mean);
    b->factor = fa_arena_array(&b->arena, length * length, sizeof *b->factor);
    float *x = fa_arena_array(&scratch, (size_t)n * length, sizeof *x);
    fa_status status = b->mean && b->factor && x ? leave_one_out(s, b, n, &scratch, x) : FA_ERR_MEMORY;
    if (status == FA_OK) {
        double trace = 0;
        moments(kernels, x, n, b->length, b->mean, b->factor);
        for (int64_t k = 0; k < b->length; k++) trace += b->factor[k * b->length + k];
        fa_cholesky(kernels, b->factor, b->length, trace / (double)b->length, b->factor);
    }
    fa_arena_clear(&scratch);
    return status;
}

fa_status fa_background_create(const fa_sketch *s, fa_background **out)
{
    if (s->body->trace) return fa_fail(FA_ERR_UNSUPPORTED, "mechanisms are told apart layer by layer, and the signatures of a trace sketch have no layers");
    fa_background *b = fa_new(s->context, sizeof *b);
    if (!b) return FA_ERR_MEMORY;
    atomic_init(&b->references, 1);
    b->context = b->arena.context = s->context;
    fa_sketch_body_digest(s->body, b->digest);
    fa_status status = fill(s, b);
    if (status != FA_OK) {
        fa_background_release(b);
        return status;
    }
    *out = b;
    return FA_OK;
}

fa_background *fa_background_retain(fa_background *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

void fa_background_release(fa_background *b)
{
    if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) > 1) return;
    fa_arena_clear(&b->arena);
    fa_delete(b->context, b);
}
