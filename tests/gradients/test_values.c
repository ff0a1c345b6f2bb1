/* SPDX-License-Identifier: Apache-2.0 */
/* Results that ONNX's test data does not hold (old and new operator sets, integers, rounding, indices out of range), and what operators refuse.
 * Cases are written as for gradients; `expected` lists the elements of output 0 behind its shape and `#`. */
#include "../unit/one_context.h"
#include "trial.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct value_case {
    gradient_case node;
    const char *expected;
} value_case;

static const value_case values[] = {
    /* attributes of operator sets 1 to 6 */
    {{"Add", 6, "2,3#1,2,3,4,5,6 2#10,20", "broadcast=1 axis=0"}, "[2, 3]#11,12,13,24,25,26"},
    {{"Mul", 1, "2,2#1,2,3,4 2#10,20", "broadcast=1"}, "[2, 2]#10,40,30,80"},
    {{"PRelu", 6, "1,2,2#-1,2,-3,-4 2#0.5,2", NULL}, "[1, 2, 2]#-0.5,2,-6,-8"},
    {{"Selu", 1, "2#-100,2", NULL}, "[2]#-1.7580312,2.1014"},
    {{"Cast", 1, "3#-1.5,2.9,0", "to=INT32"}, "[3]#-1,2,0"},
    {{"Concat", 1, "2,1#1,2 2,1#3,4", NULL}, "[2, 2]#1,3,2,4"},
    {{"Pad", 1, "1,2#1,2", "paddings=0,1,0,0 value=9.0"}, "[1, 3]#9,1,2"},
    {{"Clip", 6, "3#-2,0.5,2", "min=-1.0"}, "[3]#-1,0.5,2"},
    {{"Reshape", 1, "2,3#1,2,3,4,5,6", "shape=0,-1,1"}, "[2, 3, 1]#1,2,3,4,5,6"},
    {{"Dropout", 6, "2#1,2", NULL}, "[2]#1,2"},
    {{"Softmax", 11, "1,2,2#0,0,0,0", NULL}, "[1, 2, 2]#0.25,0.25,0.25,0.25"},
    /* operator sets above 17 */
    {{"ReduceMean", 18, "2,2#1,2,3,4 1=0", "keepdims=0"}, "[2]#2,3"},
    {{"ReduceMax", 18, "2,2#1,nan,3,4", NULL}, "[1, 1]#nan"},
    {{"ReduceMin", 20, "2,2#1,2,3,4 1=-1", "keepdims=0"}, "[2]#1,3"},
    {{"ReduceSumSquare", 18, "2#3,-4 0=", "noop_with_empty_axes=1"}, "[2]#9,16"},
    {{"ReduceLogSumExp", 18, "2#1000,1000 1=0", "keepdims=0"}, "[]#1000.6931471805599"},
    {{"Split", 18, "5#1,2,3,4,5", "num_outputs=2", 2}, "[3]#1,2,3"},
    {{"Pad", 18, "2,2#1,2,3,4 2=1,1 s#7 1=-1", NULL}, "[2, 4]#7,1,2,7,7,3,4,7"},
    {{"Pad", 19, "3#1,2,3 2=4,2", "mode=wrap"}, "[9]#3,1,2,3,1,2,3,1,2"},
    {{"Pad", 13, "3#1,2,3 2=5,0", "mode=reflect"}, "[8]#2,1,2,3,2,1,2,3"},
    {{"Pad", 13, "4#1,2,3,4 2=-1,-2", NULL}, "[1]#2"},
    {{"Pad", 13, "2#1,2 2=3,-4 s#5", NULL}, "[1]#5"},
    {{"Mish", 18, "2#0,1", NULL}, "[2]#0,0.8650983882673103"},
    {{"Gelu", 20, "2#-1,1", NULL}, "[2]#-0.15865525393145707,0.8413447460685429"},
    {{"Gelu", 20, "1#1", "approximate=tanh"}, "[1]#0.8411919906082768"},
    /* batch statistics before operator set 14, loss labels, windows: what the data does not hold of newer operators */
    {{"BatchNormalization", 9, "2,1#1,3 1#2 1#5 1#0 1#1", "epsilon=0. momentum=0.5", 5}, "[2, 1]#3,7"},
    {{"BatchNormalization", 6, "2,1#1,3 1#2 1#5 1#0 1#4", "epsilon=0. is_test=1", 5}, "[2, 1]#6,8"},
    {{"NegativeLogLikelihoodLoss", 13, "3,2#-1,-2,-3,-4,-5,-6 3~0,7,-100", "reduction=none ignore_index=-100"}, "[3]#1,nan,0"},
    {{"SoftmaxCrossEntropyLoss", 13, "1,2#1000,1000 1~0", NULL}, "[]#0.6931471805599453"},
    {{"ScatterElements", 11, "2#1,2 2~0,5 2#8,9", NULL}, "[2]#8,2"},
    {{"ScatterElements", 16, "2~1,2@3 2~0,0 2~100,100@3", "reduction=add"}, "[2]#-55,2"},
    {{"ScatterElements", 18, "2#nan,1 2~0,1 2#5,nan", "reduction=max"}, "[2]#nan,nan"},
    {{"ScatterND", 18, "2~3,4 2,1~0,-1 2~9,-9", "reduction=min"}, "[2]#3,-9"},
    {{"TopK", 11, "5#2,nan,2,1,3 1=3", NULL, 2}, "[3]#nan,3,2"},
    {{"TopK", 11, "4~3,9,9,1 1=2", "largest=0", 2}, "[2]#1,3"},
    {{"TopK", 1, "3#1,3,2", "k=0", 2}, "[0]#"},
    {{"OneHot", 11, "3~0,-1,5 s=2 2#0.5,7", NULL}, "[3, 2]#7,0.5,0.5,7,0.5,0.5"},
    {{"CumSum", 11, "3~100,100,100@3 s=0", NULL}, "[3]#100,-56,44"},
    {{"Trilu", 14, "2,2~1,2,3,4 s~9223372036854775807", NULL}, "[2, 2]#0,0,0,0"},
    {{"Trilu", 14, "2,2~1,2,3,4 s~-9223372036854775808", "upper=0"}, "[2, 2]#0,0,0,0"},
    {{"EyeLike", 9, "2,3", "k=-1 dtype=7"}, "[2, 3]#0,0,0,1,0,0"},
    {{"Det", 11, "2,2#1,2,2,4", NULL}, "[]#0"},
    {{"BitShift", 11, "3~255,1,128@2 3~1,9,64@2", "direction=LEFT"}, "[3]#254,0,0"},
    {{"BitShift", 11, "2~255,1@2 1~4@2", "direction=RIGHT"}, "[2]#15,0"},
    {{"BitwiseAnd", 18, "2~12,-1 1~10", NULL}, "[2]#8,10"},
    {{"BitwiseOr", 18, "2~12,5@2 2~10,2@2", NULL}, "[2]#14,7"},
    {{"BitwiseXor", 18, "1~12 1~10", NULL}, "[1]#6"},
    {{"BitwiseNot", 18, "2~0,255@2", NULL}, "[2]#255,0"},
    {{"Resize", 13, "1,3#1,2,3 - 2#1,2!", "mode=linear coordinate_transformation_mode=asymmetric"}, "[1, 6]#1,1.5,2,2.5,3,3"},
    {{"Resize", 18, "2,4#1,2,3,4,5,6,7,8 - - 2=2,2", "keep_aspect_ratio_policy=not_larger nearest_mode=floor"}, "[1, 2]#1,3"},
    {{"Upsample", 7, "1,2#1,2", "scales=1.,2."}, "[1, 4]#1,1,2,2"},
    {{"Einsum", 12, "2,3#1,2,3,4,5,6 3#1,0,1", "equation=ij,j"}, "[2]#4,10"},
    {{"Einsum", 12, "1,2#3,4 2,1#5,6", "equation=aB,Ba"}, "[]#39"},
    {{"Einsum", 12, "2#1,2 0#", "equation=i,j->i"}, "[2]#0,0"},
    {{"NonZero", 13, "2,2=0,3,0,5", NULL}, "[2, 2]#0,1,1,1"},
    {{"Compress", 11, "2,2#1,2,3,4 3=0,1,1@9", NULL}, "[2]#2,3"},
    {{"DequantizeLinear", 13, "2,2~1,2,3,4@3 2#0.5,2 2~1,0@3", "axis=0"}, "[2, 2]#0,0.5,6,8"},
    {{"MaxUnpool", 11, "1,1,2#5,6 1,1,2~3,9", "kernel_shape=2, strides=2,"}, "[1, 1, 4]#0,0,0,5"},
    {{"ReverseSequence", 10, "3,1~1,2,3 1~9", NULL}, "[3, 1]#3,2,1"},
    {{"GridSample", 16, "1,1,1,2#3,5 1,1,2,2#nan,0,1e30,0", NULL}, "[1, 1, 1, 2]#nan,0"},
    {{"GridSample", 16, "1,1,1,1#3 1,1,1,2#0.3,9", "padding_mode=reflection align_corners=1"}, "[1, 1, 1, 1]#3"},
    {{"RoiAlign", 16, "1,1,1,1#3 2,4#0,0,1,1,0,0,1e30,1e30 2~1,0", NULL}, "[2, 1, 1, 1]#nan,0"},
    {{"HannWindow", 17, "s=1", "periodic=0"}, "[1]#1"},
    {{"HammingWindow", 17, "s=2", "output_datatype=11"}, "[2]#0.08695652173913043,1"},
    {{"DFT", 17, "1,3,1#3,1,1 s=1", NULL}, "[1, 1, 2]#3,0"},
    {{"Dropout", 13, "2#1,2 s#0! s=1@9", NULL}, "[2]#1,2"},
    {{"LSTM", 7, "1,1,1#1 1,4,1#0,0,0,9 1,4,1#0,0,0,0 - - - 1,1,1#8", NULL, 2}, "[1, 1, 1, 1]#0.49987660542025564"},
    /* integers */
    {{"Add", 14, "3~250,-1,3@2 1~10@2", NULL}, "[3]#4,9,13"},
    {{"Sub", 14, "1~-9223372036854775808 1~1", NULL}, "[1]#9223372036854775807"},
    {{"Mul", 14, "2~100,-100@3 1~3@3", NULL}, "[2]#44,-44"},
    {{"Div", 14, "4~7,-7,5,-9223372036854775808 4~2,2,0,-1", NULL}, "[4]#3,-3,0,-9223372036854775808"},
    {{"Mod", 13, "4~-7,7,-7,5 4~3,-3,-1,0", NULL}, "[4]#2,-2,0,0"},
    {{"Mod", 13, "2~-7,7 2~3,-3", "fmod=1"}, "[2]#-1,1"},
    {{"Pow", 13, "4~2,-3,2,-1 4~10,3,-1,-3", NULL}, "[4]#1024,-27,0,-1"},
    {{"Pow", 13, "2~4,9 s#0.5", NULL}, "[2]#2,3"},
    {{"Max", 13, "2~3,-4 1~0", NULL}, "[2]#3,0"},
    {{"Neg", 13, "2~-128,5@3", NULL}, "[2]#-128,-5"},
    {{"Abs", 13, "2~-7,7", NULL}, "[2]#7,7"},
    {{"Sign", 13, "3~-7,0,7", NULL}, "[3]#-1,0,1"},
    {{"Clip", 12, "3~-7,0,7 s~-1 s~3", NULL}, "[3]#-1,0,3"},
    {{"Less", 13, "2~-1,1@13 1~2@13", NULL}, "[2]#0,1"},
    {{"ReduceMin", 13, "3~4,-9,2", "keepdims=0"}, "[]#-9"},
    {{"ReduceMax", 13, "3~-4,-9,-2", "keepdims=0"}, "[]#-2"},
    {{"ReduceProd", 13, "3~4,-9,2", "keepdims=0"}, "[]#-72"},
    {{"ReduceMean", 13, "3~4,-9,2", "keepdims=0"}, "[]#-1"},
    /* the shape arithmetic of exported networks */
    {{"Shape", 15, "2,3,4", "start=-2 end=100"}, "[2]#3,4"},
    {{"Size", 13, "2,3,4", NULL}, "[]#24"},
    {{"Gather", 13, "3=2,3,4 s=-1", NULL}, "[]#4"},
    {{"Concat", 13, "1=2 2=3,4", "axis=0"}, "[3]#2,3,4"},
    {{"Slice", 13, "5=1,2,3,4,5 1=-1 1=-9223372036854775808 1=0 1=-2", NULL}, "[3]#5,3,1"},
    {{"Slice", 13, "5#1,2,3,4,5 1=1 1=9223372036854775807 1=0 1=9223372036854775807", NULL}, "[1]#2"},
    {{"Slice", 13, "5#1,2,3,4,5 1=4 1=2", NULL}, "[0]#"},
    {{"Range", 11, "s=5 s=0 s=-2", NULL}, "[3]#5,3,1"},
    {{"ConstantOfShape", 9, "2=2,1", NULL}, "[2, 1]#0,0"},
    {{"Constant", 13, "", "value_ints=3,1"}, "[2]#3,1"},
    {{"Constant", 13, "", "value_float=0.5"}, "[]#0.5"},
    {{"Expand", 13, "2,1#1,2 3=2,1,2", NULL}, "[2, 2, 2]#1,1,2,2,1,1,2,2"},
    {{"Where", 9, "2?1,0 2~1,2 s~7", NULL}, "[2]#1,7"},
    /* indices that only a run knows */
    {{"Gather", 13, "2,2#1,2,3,4 2~-1,2", NULL}, "[2, 2]#3,4,nan,nan"},
    {{"Gather", 13, "2~1,2 2~-3,1", NULL}, "[2]#0,2"},
    {{"GatherElements", 13, "2#1,2 2~9,0", NULL}, "[2]#nan,1"},
    {{"GatherND", 13, "2,2#1,2,3,4 2,2~0,-1,0,2", NULL}, "[2]#2,nan"},
    /* casts */
    {{"Cast", 13, "6#1e30,-1e30,nan,3.99,-3.99,300", "to=7"}, "[6]#9223372036854775807,-9223372036854775808,0,3,-3,300"},
    {{"Cast", 13, "3#-1,256.5,127", "to=2"}, "[3]#255,0,127"},
    {{"Cast", 13, "3#0,-0.25,nan", "to=9"}, "[3]#0,1,1"},
    {{"Cast", 13, "7#1.00048828125,1.00146484375,65519,65520,5.9604644775390625e-8,2.9802322387695312e-8,-3e-8", "to=10"},
     "[7]#1,1.001953125,65504,inf,5.9604644775390625e-8,0,-5.9604644775390625e-8"},
    {{"Cast", 13, "3#1.00390625,1.01171875,3.4e38", "to=16"}, "[3]#1,1.015625,inf"},
    {{"Cast", 13, "1~-1@13", "to=11"}, "[1]#18446744073709551615"},
    /* NaN and infinity pass through */
    {{"Relu", 13, "3#nan,-1,2", NULL}, "[3]#nan,0,2"},
    {{"Clip", 13, "2#nan,9 s#0 s#1", NULL}, "[2]#nan,1"},
    {{"Max", 13, "2#nan,1 2#1,nan", NULL}, "[2]#nan,nan"},
    {{"HardSwish", 14, "3#nan,-4,4", NULL}, "[3]#nan,0,4"},
    {{"Softplus", 1, "3#1000,-1000,0", NULL}, "[3]#1000,0,0.6931471805599453"},
    {{"Softmax", 13, "2#1000,1000", NULL}, "[2]#0.5,0.5"},
    {{"LogSoftmax", 13, "2#1000,1000", NULL}, "[2]#-0.6931471805599453,-0.6931471805599453"},
    /* nothing at all */
    {{"Add", 13, "0,3# 1,3#1,2,3", NULL}, "[0, 3]#"},
    {{"ReduceSum", 13, "0,2# 1=0", NULL}, "[1, 2]#0,0"},
    {{"ReduceMax", 13, "2,0#", "axes=1, keepdims=0"}, "[2]#-inf,-inf"},
    {{"Reshape", 14, "0,4# 2=2,0", "allowzero=1"}, "[2, 0]#"},
    {{"Concat", 13, "0,2# 1,2#1,2", "axis=0"}, "[1, 2]#1,2"},
    {{"Transpose", 13, "2,0,3#", NULL}, "[3, 0, 2]#"},
    {{"Slice", 13, "0# 1=0 1=-9 1=0 1=-1", NULL}, "[0]#"},
};

/* What prepare turns away, with which status and naming what. */
static const struct refusal {
    gradient_case node;
    fa_status status;
    const char *names;
} refusals[] = {
    {{"Relu", 13, "2 2", NULL}, FA_ERR_FORMAT, "2 inputs"},
    {{"Relu", 13, "-", NULL}, FA_ERR_FORMAT, "input 0 is missing"},
    {{"Sigmoid", 13, "2~1,2", NULL}, FA_ERR_DTYPE, "int64"},
    {{"Add", 13, "2,3 2", NULL}, FA_ERR_SHAPE, "[2, 3] and [2]"},
    {{"Add", 13, "2 2~1,2", NULL}, FA_ERR_DTYPE, "float64 and int64"},
    {{"Add", 6, "2,3 2", "broadcast=1 axis=5"}, FA_ERR_SHAPE, "axis 5"},
    {{"Mod", 13, "2 2", NULL}, FA_ERR_FORMAT, "fmod"},
    {{"PRelu", 9, "2,3 4", NULL}, FA_ERR_SHAPE, "[4]"},
    {{"Clip", 13, "2 2", NULL}, FA_ERR_SHAPE, "input 1"},
    {{"Gelu", 20, "2", "approximate=fast"}, FA_ERR_FORMAT, "fast"},
    {{"And", 7, "2?1,0 2~1,0", NULL}, FA_ERR_DTYPE, "input 1"},
    {{"ReduceSum", 13, "2 1~0", NULL}, FA_ERR_UNSUPPORTED, "axes"},
    {{"ReduceMean", 13, "2,3", "axes=2,"}, FA_ERR_SHAPE, "axis 2"},
    {{"ReduceL2", 13, "2~1,2", NULL}, FA_ERR_UNSUPPORTED, "int64"},
    {{"ArgMax", 13, "0,2#", NULL}, FA_ERR_SHAPE, "axis 0"},
    {{"Softmax", 13, "2,3", "axis=2"}, FA_ERR_SHAPE, "axis 2"},
    {{"Reshape", 13, "2,3 2=4,-1", NULL}, FA_ERR_SHAPE, "[4, -1]"},
    {{"Reshape", 13, "2,3 2=-1,-1", NULL}, FA_ERR_SHAPE, "[-1, -1]"},
    {{"Reshape", 13, "2,3 3=1,6,0", NULL}, FA_ERR_SHAPE, "dimension 2"},
    {{"Reshape", 13, "2,3 2~3,2", NULL}, FA_ERR_UNSUPPORTED, "new shape"},
    {{"Reshape", 13, "2,3 9=1,1,1,1,1,1,1,2,3", NULL}, FA_ERR_LIMIT, "9 dimensions"},
    {{"Reshape", 13, "2,3 3=4294967296,4294967296,4294967296", NULL}, FA_ERR_LIMIT, "too large"},
    {{"Squeeze", 13, "2,1 1=0", NULL}, FA_ERR_SHAPE, "axis 0"},
    {{"Unsqueeze", 13, "2,1 2=0,0", NULL}, FA_ERR_FORMAT, "twice"},
    {{"Unsqueeze", 11, "2,1", NULL}, FA_ERR_FORMAT, "axes"},
    {{"Dropout", 13, "2 s#0.5 s=1@9", NULL}, FA_ERR_UNSUPPORTED, "training_mode"},
    {{"Expand", 13, "2 2=3,4", NULL}, FA_ERR_SHAPE, "[2] and [3, 4]"},
    {{"Concat", 13, "2,3 3,3", "axis=1"}, FA_ERR_SHAPE, "axis 1"},
    {{"Concat", 13, "2,3 3,3", NULL}, FA_ERR_FORMAT, "axis"},
    {{"Split", 13, "5", NULL, 2}, FA_ERR_SHAPE, "equal parts"},
    {{"Split", 13, "5 2=2,2", NULL, 2}, FA_ERR_SHAPE, "4 elements"},
    {{"Split", 13, "5 2=7,-2", NULL, 2}, FA_ERR_SHAPE, "part 0"},
    {{"Split", 13, "5 1=5", NULL, 2}, FA_ERR_FORMAT, "1 sizes"},
    {{"Tile", 13, "2,3 2=4611686018427387904,1", NULL}, FA_ERR_SHAPE, "axis 0"},
    {{"Tile", 13, "2,3 2=1099511627776,1", NULL}, FA_ERR_LIMIT, "too large"},
    {{"Slice", 13, "5 1=0 1=3 1=0 1=0", NULL}, FA_ERR_FORMAT, "step"},
    {{"Slice", 13, "5 2=0,0 2=3,3 2=0,0", NULL}, FA_ERR_FORMAT, "twice"},
    {{"Slice", 9, "5", "starts=0,1 ends=3,"}, FA_ERR_FORMAT, "starts"},
    {{"Transpose", 13, "2,3", "perm=0,0"}, FA_ERR_FORMAT, "axis 0 twice"},
    {{"Transpose", 13, "2,3", "perm=0,"}, FA_ERR_SHAPE, "perm"},
    {{"DepthToSpace", 13, "1,6,2,2", "blocksize=2"}, FA_ERR_SHAPE, "6 channels"},
    {{"Pad", 13, "3 2=-2,-2", NULL}, FA_ERR_SHAPE, "axis 0"},
    {{"Pad", 13, "3 2=1,1", "mode=wrap"}, FA_ERR_UNSUPPORTED, "wrap"},
    {{"Pad", 13, "0# 2=1,1", "mode=edge"}, FA_ERR_SHAPE, "empty"},
    {{"Pad", 13, "3 2=9223372036854775807,1", NULL}, FA_ERR_LIMIT, "axis 0"},
    {{"Gather", 13, "3,2 1=3", NULL}, FA_ERR_SHAPE, "index 3"},
    {{"GatherND", 13, "3,2 1,3=0,0,0", NULL}, FA_ERR_SHAPE, "[1, 3]"},
    {{"Cast", 13, "3", "to=8"}, FA_ERR_UNSUPPORTED, "8"},
    {{"Cast", 1, "3", "to=STRING"}, FA_ERR_UNSUPPORTED, "STRING"},
    {{"Constant", 13, "", "value_string=abc"}, FA_ERR_UNSUPPORTED, "constant"},
    {{"ConstantOfShape", 13, "1~4", NULL}, FA_ERR_UNSUPPORTED, "shape"},
    {{"BatchNormalization", 15, "0,2# 2 2 2 2", "training_mode=1"}, FA_ERR_SHAPE, "empty"},
    {{"NegativeLogLikelihoodLoss", 13, "2,3 4~0,0,0,0", NULL}, FA_ERR_SHAPE, "labels of shape [4]"},
    {{"SoftmaxCrossEntropyLoss", 13, "2,3 2~0,0", "reduction=max"}, FA_ERR_FORMAT, "max"},
    {{"Trilu", 14, "3", NULL}, FA_ERR_SHAPE, "1 dimensions"},
    {{"EyeLike", 9, "3", NULL}, FA_ERR_SHAPE, "1 dimensions"},
    {{"Det", 11, "2,3", NULL}, FA_ERR_SHAPE, "2 rows"},
    {{"CumSum", 11, "3 1~0", NULL}, FA_ERR_UNSUPPORTED, "axis"},
    {{"TopK", 11, "3 1=4", NULL, 2}, FA_ERR_SHAPE, "first 4"},
    {{"TopK", 11, "3 1~2", NULL, 2}, FA_ERR_UNSUPPORTED, "k (input 1)"},
    {{"OneHot", 11, "2~0,1 s~3 2", NULL}, FA_ERR_UNSUPPORTED, "depth"},
    {{"ScatterND", 11, "3 1,2=0,0 1", NULL}, FA_ERR_SHAPE, "[1, 2]"},
    {{"ScatterElements", 11, "3 1=3 1", NULL}, FA_ERR_SHAPE, "index 3"},
    {{"ScatterElements", 16, "3 1=0 1", "reduction=max"}, FA_ERR_FORMAT, "max"},
    {{"BitShift", 11, "1~1@3 1~1@3", "direction=LEFT"}, FA_ERR_DTYPE, "int8"},
    {{"BitShift", 11, "1~1@2 1~1@2", NULL}, FA_ERR_FORMAT, "direction"},
    {{"Resize", 13, "2,3 - 2", NULL}, FA_ERR_UNSUPPORTED, "scales"},
    {{"Resize", 13, "2,3 - 2#1,-1!", NULL}, FA_ERR_SHAPE, "axis 1"},
    {{"Resize", 13, "2,3 - 2#1,1e30!", NULL}, FA_ERR_SHAPE, "axis 1"},
    {{"Resize", 13, "2,3 - 2#1,nan!", NULL}, FA_ERR_SHAPE, "axis 1"},
    {{"Resize", 13, "2,3 - - 1=4", NULL}, FA_ERR_SHAPE, "1 sizes"},
    {{"Resize", 13, "2,0# - - 2=2,3", NULL}, FA_ERR_SHAPE, "axis 1"},
    {{"Upsample", 9, "2,3 2#1000000,1000000000!", NULL}, FA_ERR_SHAPE, "axis 1"},
    {{"Einsum", 12, "2,3 4", "equation=ij,j"}, FA_ERR_SHAPE, "4"},
    {{"Einsum", 12, "2 2", "equation=i,i->j"}, FA_ERR_FORMAT, "i,i->j"},
    {{"Einsum", 12, "2 2", "equation=i,i->ii"}, FA_ERR_FORMAT, "i,i->ii"},
    {{"Einsum", 12, "2,3 3", "equation=i,i"}, FA_ERR_SHAPE, "input 0"},
    {{"Einsum", 12, "2 2 2 2", "equation=i,i,i,i"}, FA_ERR_FORMAT, "4 inputs"},
    {{"RNN", 7, "2,1,3 1,2,3 1,3,2", NULL}, FA_ERR_SHAPE, "input 2"},
    {{"GRU", 7, "2,1,3 1,6,3 1,6,2", "activations=Sigmoid;Sine"}, FA_ERR_UNSUPPORTED, "Sine"},
    {{"LSTM", 7, "2,1,3 1,8,3 1,8,2 - 1#1", NULL}, FA_ERR_DTYPE, "input 4"},
    {{"LSTM", 7, "2,1,3 1,8,3 1,8,2", "direction=sideways"}, FA_ERR_FORMAT, "sideways"},
    {{"Compress", 11, "3 2?1,0", NULL}, FA_ERR_UNSUPPORTED, "condition"},
    {{"Compress", 11, "3 4=1,0,1,1@9", "axis=0"}, FA_ERR_SHAPE, "4 conditions"},
    {{"NonZero", 13, "2~1,0", NULL}, FA_ERR_UNSUPPORTED, "input 0"},
    {{"NonMaxSuppression", 11, "1,2,4 1,1,2", NULL}, FA_ERR_UNSUPPORTED, "boxes"},
    {{"DequantizeLinear", 13, "2,3~1,2,3,4,5,6@3 2", NULL}, FA_ERR_SHAPE, "input 1"},
    {{"MaxUnpool", 11, "1,1,2 1,1,2~0,1", "kernel_shape=2, pads=3,3"}, FA_ERR_SHAPE, "axis 2"},
    {{"ReverseSequence", 10, "2,3 3~1,1,1", "time_axis=2"}, FA_ERR_FORMAT, "time_axis"},
    {{"MeanVarianceNormalization", 13, "2,3", NULL}, FA_ERR_SHAPE, "axis 2"},
    {{"GridSample", 16, "1,1,2,2 2,1,1,2", NULL}, FA_ERR_SHAPE, "[2, 1, 1, 2]"},
    {{"GridSample", 20, "1,1,2,2,2 1,1,1,1,2", NULL}, FA_ERR_SHAPE, "[1, 1, 1, 1, 2]"},
    {{"GridSample", 20, "1,1,2,2,2 1,1,1,1,3", "mode=cubic"}, FA_ERR_UNSUPPORTED, "volumes"},
    {{"LpNormalization", 1, "2,3", "p=3"}, FA_ERR_FORMAT, "p is 3"},
    {{"DequantizeLinear", 21, "2,4~1,2,3,4,5,6,7,8@3 2,3", "block_size=2"}, FA_ERR_SHAPE, "scales of shape [2, 3] for blocks of 2 in [2, 4] along axis 1"},
    {{"DequantizeLinear", 21, "2,4~1,2,3,4,5,6,7,8@3 2,2", "block_size=-2"}, FA_ERR_SHAPE, "blocks of -2"},
    {{"Col2Im", 18, "1,4,3 2=3,3 2=2,2", NULL}, FA_ERR_SHAPE, "blocks of 4 at 4 places"},
    {{"Col2Im", 18, "1,4,4 2~3,3 2=2,2", NULL}, FA_ERR_UNSUPPORTED, "the size of the image"},
    {{"Col2Im", 18, "1,4,4 2=3,-3 2=2,2", NULL}, FA_ERR_SHAPE, "a block of 2 in an image of -3"},
    {{"Col2Im", 18, "1,4,4 2=3,3 2=2,2", "strides=1,0"}, FA_ERR_FORMAT, "strides: 0"},
    {{"Attention", 23, "1,2,3 1,2,3 1,2,3", "q_num_heads=2 kv_num_heads=1"}, FA_ERR_SHAPE, "no whole heads"},
    {{"Attention", 23, "1,2,4 1,2,4 1,2,4", NULL}, FA_ERR_SHAPE, "0 heads of queries over 0 of keys"},
    {{"Attention", 23, "1,3,2,2 1,2,2,2 1,2,2,2", NULL}, FA_ERR_SHAPE, "3 heads of queries over 2 of keys"},
    {{"Attention", 23, "1,2,2,2 1,2,2,3 1,2,2,2", NULL}, FA_ERR_SHAPE, "keys do not fit the queries"},
    {{"Attention", 23, "1,2,2,2 1,2,2,2 1,2,3,2", NULL}, FA_ERR_SHAPE, "values do not fit the keys"},
    {{"Attention", 23, "1,2,2,2 1,2,2,2 1,2,2,2 3,2", NULL}, FA_ERR_SHAPE, "the mask does not fit"},
    {{"Attention", 23, "1,2,2,2 1,2,2,2 1,2,2,2 - 1,2,1,2", NULL}, FA_ERR_FORMAT, "come together"},
    {{"Attention", 23, "1,2,2,2 1,2,2,2 1,2,2,2 - 1,2,1,2 1,2,2,2", NULL}, FA_ERR_SHAPE, "the past does not fit"},
    {{"Attention", 24, "1,2,2,2 1,2,2,2 1,2,2,2 - - - 2~1,2", NULL}, FA_ERR_SHAPE, "an integer for each input"},
    {{"RoiAlign", 16, "1,1,2,2 1,4 1~0", "mode=max"}, FA_ERR_UNSUPPORTED, "max"},
    {{"DFT", 17, "2,3", NULL}, FA_ERR_SHAPE, "last axis"},
    {{"DFT", 17, "2,3,1 s=0", NULL}, FA_ERR_SHAPE, "0 elements"},
    {{"STFT", 17, "1,4,1 s=0 2", NULL}, FA_ERR_SHAPE, "every 0"},
    {{"HannWindow", 17, "s~4", NULL}, FA_ERR_UNSUPPORTED, "size"},
    {{"MelWeightMatrix", 17, "s=4 s=8 s=0 s#0! s#9!", NULL}, FA_ERR_SHAPE, "0 samples"},
    {{"Range", 13, "s=0 s=9 s=0", NULL}, FA_ERR_SHAPE, "steps of 0"},
};

START_TEST(value)
{
    const value_case *c = &values[_i];
    trial t;
    char shape[FA_SHAPE_TEXT];
    if (trial_begin(&t, context, &c->node) != FA_OK) fail_case(&c->node, "refused:", fa_error_message());
    trial_forward(&t, t.out, NULL);
    const fa_view *y = &t.out[0];
    const char *at = strchr(c->expected, '#');
    size_t n = (size_t)(at - c->expected);
    fa_shape_text(y->ndim, y->dim, shape, sizeof shape);
    if (strlen(shape) != n || strncmp(shape, c->expected, n) != 0) fail_case(&c->node, "shape", shape);
    at++;
    for (int64_t i = 0; i < y->count; i++, at += *at == ',') {
        char *end, have[64];
        bool same;
        if (fa_dtype_is_real(y->dtype)) {
            double v = ((const double *)y->data)[i], want = strtod(at, &end);
            same = isnan(want) ? isnan(v) : isinf(want) ? v == want : fabs(v - want) <= 1e-7 * fabs(want);
            snprintf(have, sizeof have, "%.17g at %lld", v, (long long)i);
        } else {
            int64_t v = ((const int64_t *)y->data)[i];
            same = v == strtoll(at, &end, 10);
            snprintf(have, sizeof have, "%lld at %lld", (long long)v, (long long)i);
        }
        if (!same || end == at) fail_case(&c->node, "result", have);
        at = end;
    }
    if (*at) fail_case(&c->node, "more elements are expected:", at);
    trial_end(&t);
}
END_TEST

START_TEST(refusal)
{
    const struct refusal *c = &refusals[_i];
    trial t;
    fa_status status = trial_begin(&t, context, &c->node);
    if (status != c->status) fail_case(&c->node, fa_status_name(status), fa_error_message());
    if (!strstr(fa_error_message(), c->names)) fail_case(&c->node, "message", fa_error_message());
    trial_end(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operator values");
    TCase *tcase = tcase_create("cases");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, value, 0, (int)(sizeof values / sizeof values[0]));
    tcase_add_loop_test(tcase, refusal, 0, (int)(sizeof refusals / sizeof refusals[0]));
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
