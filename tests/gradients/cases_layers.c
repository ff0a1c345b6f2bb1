/* SPDX-License-Identifier: Apache-2.0 */
#include "cases.h"

#include <stddef.h>

const gradient_case gradient_cases_layers[] = {
    {"Conv", 11, "2,3,5,6 4,3,3,2 4", "strides=2,1 pads=1,0,2,1"},
    {"Conv", 11, "1,4,6,5 4,2,3,3", "group=2 dilations=2,1 pads=2,1,1,2"},
    {"Conv", 11, "2,3,4,4 6,1,3,3 6", "group=3 pads=1,1,1,1"}, /* depthwise with a multiplier */
    {"Conv", 11, "2,3,4,3 2,3,1,1 2", NULL},
    {"Conv", 11, "1,2,5,5 2,2,1,1", "strides=2,2"},
    {"Conv", 1, "2,2,7 3,2,3 3", "auto_pad=SAME_UPPER strides=2,"},
    {"Conv", 11, "1,2,6,5 2,2,2,3", "auto_pad=SAME_LOWER strides=1,2"},
    {"Conv", 11, "1,2,6,5 2,2,2,3", "auto_pad=VALID pads=0,0,0,0"},
    {"Conv", 11, "1,2,3,4,3 2,2,2,2,2 2", "strides=1,2,1 pads=0,1,0,1,0,1"},
    {"Conv", 11, "1,1,2,2 2,1,5,5 2", "pads=2,2,2,2"}, /* most taps see padding alone */
    {"ConvTranspose", 11, "2,3,3,4 3,2,3,2 2", "strides=2,1 pads=1,0,0,1 output_padding=1,0"},
    {"ConvTranspose", 11, "1,4,4 4,1,3 2", "group=2 strides=2, dilations=2,"},
    {"ConvTranspose", 11, "1,1,3,3 1,2,3,3", "strides=3,2 output_shape=10,8"},
    {"ConvTranspose", 11, "1,1,3,3 1,2,3,3", "strides=2,2 auto_pad=SAME_UPPER"},

    {"MaxPool", 12, "2,2,5,6", "kernel_shape=2,3 strides=2,1 pads=1,0,0,1"},
    {"MaxPool", 12, "1,2,6,6", "kernel_shape=3,2 strides=2,2 ceil_mode=1 dilations=1,2"},
    {"MaxPool", 8, "2,2,7", "kernel_shape=3, strides=2, auto_pad=SAME_LOWER"},
    {"MaxPool", 10, "1,2,3,4,3", "kernel_shape=2,2,2"},
    {"GlobalMaxPool", 1, "2,3,4,3", NULL},
    {"AveragePool", 11, "2,2,5,6", "kernel_shape=3,2 strides=2,1 pads=1,0,1,1"},
    {"AveragePool", 11, "2,2,5,6", "kernel_shape=3,2 strides=2,3 pads=1,0,1,1 count_include_pad=1 ceil_mode=1"},
    {"AveragePool", 19, "1,2,7,6", "kernel_shape=2,2 dilations=3,2 pads=1,1,1,1 count_include_pad=1"},
    {"AveragePool", 7, "2,2,7", "kernel_shape=3, strides=2, auto_pad=SAME_UPPER"},
    {"AveragePool", 11, "1,2,3,4,3", "kernel_shape=2,2,2 ceil_mode=1 strides=2,2,2"},
    {"GlobalAveragePool", 1, "2,3,4,3", NULL},
    {"LpPool", 11, "2,2,5,6:+-0.2..1", "kernel_shape=3,2 strides=2,1 pads=1,0,1,1 p=3"},
    {"LpPool", 2, "2,2,6:+-0.2..1", "kernel_shape=2, p=1"},
    {"GlobalLpPool", 2, "2,3,2,3:+-0.2..1", NULL},

    {"BatchNormalization", 15, "2,3,2,2 3 3 3 3:0.3..1", "epsilon=0.01"},
    {"BatchNormalization", 9, "4,3 3 3 3 3:0.3..1", NULL},
    {"BatchNormalization", 7, "2,2,3 6 6 6 6:0.3..1", "spatial=0"},
    {"InstanceNormalization", 6, "2,3,2,3 3 3", NULL},
    {"LayerNormalization", 17, "2,3,4 3,4 3,4", "axis=1"},
    {"LayerNormalization", 17, "3,5 5", "epsilon=0.1", 3},
    {"GroupNormalization", 18, "2,6,3 3 3", "num_groups=3"},
    {"GroupNormalization", 21, "2,6,3 6 6", "num_groups=2"},
    {"LRN", 13, "2,6,2,2", "size=3 alpha=0.5 beta=0.6 bias=1.5"},
    {"LRN", 13, "1,5,3", "size=4 alpha=0.9"},

    {"Gemm", 13, "3,4 4,5 5", "alpha=0.7 beta=1.3"},
    {"Gemm", 13, "4,3 5,4 3,5", "transA=1 transB=1"},
    {"Gemm", 13, "3,12 5,12 3,1", "transB=1"},
    {"Gemm", 11, "4,3 4,5", "transA=1 alpha=0.5"},
    {"Gemm", 9, "3,4 4,5 1,1", NULL},
    {"Gemm", 7, "3,4 4,5 s", "beta=2.0"},
    {"Gemm", 6, "3,4 4,5 5", "broadcast=1"},
    {"MatMul", 13, "3,4 4,5", NULL},
    {"MatMul", 13, "4 4", NULL},
    {"MatMul", 13, "4 2,4,3", NULL},
    {"MatMul", 13, "2,3,4 4", NULL},
    {"MatMul", 13, "2,3,4 4,5", NULL},
    {"MatMul", 9, "2,1,3,4 3,4,2", NULL},
    {"MatMul", 1, "1,3,2,4 2,1,4,9", NULL},
    {NULL},
};
