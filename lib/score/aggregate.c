/* SPDX-License-Identifier: Apache-2.0 */
#include "score/aggregate.h"

#include <math.h>
#include <string.h>

double fa_score_mean(const float *c, int64_t n, int64_t without)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += c[j];
    if (without >= 0) {
        sum -= c[without];
        n--;
    }
    return n > 0 ? 0 - sum / (double)n : 0;
}

/* Lets heap[0] sink to its place in a heap with the smallest on top. */
static void sink(float *heap, int64_t n)
{
    float v = heap[0];
    int64_t i = 0;
    for (int64_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (!(heap[child] < v)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = v;
}

void fa_largest(const float *x, int64_t n, int64_t without, int64_t k, float *heap)
{
    for (int64_t i = 0; i < k; i++) heap[i] = -INFINITY;
    for (int64_t j = 0; j < n; j++)
        if (x[j] > heap[0] && j != without) {
            heap[0] = x[j];
            sink(heap, k);
        }
}

double fa_score_topk(const float *c, int64_t n, int64_t without, int64_t k, float *heap)
{
    int64_t left = n - (without >= 0);
    if (k > left) k = left;
    if (k < 1) return 0;
    fa_largest(c, n, without, k, heap);
    double sum = 0;
    for (int64_t i = 0; i < k; i++) sum += heap[i];
    return 0 - sum / (double)k;
}

double fa_score_class(const float *c, int64_t n, int64_t without, const int32_t *group, int32_t groups, double *sum, int64_t *count)
{
    memset(sum, 0, (size_t)groups * sizeof *sum);
    memset(count, 0, (size_t)groups * sizeof *count);
    for (int64_t j = 0; j < n; j++) {
        if (j == without) continue;
        sum[group[j]] += c[j];
        count[group[j]]++;
    }
    double best = -INFINITY;
    for (int32_t g = 0; g < groups; g++)
        if (count[g] && sum[g] / (double)count[g] > best) best = sum[g] / (double)count[g];
    return best > -INFINITY ? 0 - best : 0;
}

int32_t fa_score_groups(const int64_t *predicted, int64_t n, int32_t *group, int64_t *classes)
{
    int32_t groups = 0;
    for (int64_t j = 0; j < n; j++) {
        int32_t g = 0;
        while (g < groups && classes[g] != predicted[j]) g++;
        if (g == groups) classes[groups++] = predicted[j];
        group[j] = g;
    }
    return groups;
}
