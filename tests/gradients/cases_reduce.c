/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#include <stddef.h>

const gradient_case gradient_cases_reduce[] = {
    {"ReduceSum", 13, "2,3,4 1=1", NULL},
    {"ReduceSum", 13, "2,3,4 2=0,-1", "keepdims=0"},
    {"ReduceSum", 13, "2,3 0=", "noop_with_empty_axes=1"},
    {"ReduceSum", 13, "2,3", NULL},
    {"ReduceSum", 11, "2,3,4", "axes=-2, keepdims=0"},
    {"ReduceMean", 13, "2,3,2,2", "axes=2,3"},
    {"ReduceMean", 18, "2,3,4 1=-1", "keepdims=0"},
    {"ReduceMean", 1, "2,3", "keepdims=0"},
    {"ReduceMax", 13, "2,3,4", "axes=1,"},
    {"ReduceMax", 18, "2,3,4 2=0,2", NULL},
    {"ReduceMin", 13, "2,3,4", "axes=2, keepdims=0"},
    {"ReduceMin", 18, "2,3,4", NULL},
    {"ReduceProd", 13, "2,3,2:+-0.4..1.5", "axes=1,"},
    {"ReduceProd", 13, "3,3", "axes=1,"}, /* an element is 0 */
    {"ReduceL1", 13, "2,3,4:+-0.1..1", "axes=0,"},
    {"ReduceL2", 13, "2,3,4:+-0.1..1", "axes=1, keepdims=0"},
    {"ReduceL2", 18, "2,3 0=", NULL},
    {"ReduceSumSquare", 13, "2,3,4", "axes=0,2"},
    {"ReduceLogSum", 13, "2,3,4:0.2..1", "axes=1,"},
    {"ReduceLogSumExp", 13, "2,3,4:-3..3", "axes=2,"},
    {"ReduceLogSumExp", 18, "2,3,4:-3..3 2=0,1", "keepdims=0"},

    {"Softmax", 13, "2,5:-2..2", NULL},
    {"Softmax", 13, "2,3,4:-2..2", "axis=1"},
    {"Softmax", 11, "2,3,2:-2..2", NULL}, /* rows of 6 */
    {"Softmax", 1, "2,3,2:-2..2", "axis=2"},
    {"LogSoftmax", 13, "2,5:-2..2", "axis=-2"},
    {"LogSoftmax", 13, "2,5:-2..2", NULL},
    {"LogSoftmax", 11, "2,3,2:-2..2", "axis=0"},
    {"NegativeLogLikelihoodLoss", 13, "3,4 3~1,3,0 4:0.2..1", NULL},
    {"NegativeLogLikelihoodLoss", 12, "2,3,2,2 2,2,2~0,1,2,0,1,1,2,2 3:0.2..1", "reduction=none ignore_index=2"},
    {"NegativeLogLikelihoodLoss", 13, "2,3,2 2,2~0,1,2,-100", "reduction=sum ignore_index=-100"},
    {"SoftmaxCrossEntropyLoss", 13, "3,4 3~1,3,0", NULL, 2},
    {"SoftmaxCrossEntropyLoss", 13, "2,3,2 2,2~0,1,5,2 3:0.2..1", "ignore_index=5", 2},
    {"SoftmaxCrossEntropyLoss", 12, "2,3,2 2,2~0,1,1,2 3:0.2..1", "reduction=none", 2},
    {"SoftmaxCrossEntropyLoss", 12, "4,3 4~0,1,1,2 3:0.2..1", "reduction=sum"},
    {NULL},
};
