/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FA_KERNELS_CHAIN_H
#define FA_KERNELS_CHAIN_H

#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Functions of one number, applied one after the other to every element of an array: y = f_n(... f_1(x)), which reads and writes memory once. Arguments a and b as
 * said; NaN stays NaN, subnormal numbers are numbers. Errors against double precision (tests/unit/test_elementwise.c sweeps the floats): exp 1.2 ulp, tanh and erf 2 ulp, sigmoid
 * 2.5 ulp, silu 3 ulp, where both are 0 below -88.7 (true: 3e-39 and -3e-37); the others are rounded as their formulas stand.
 */
enum {
    FA_STEP_AFFINE,       /* a x + b */
    FA_STEP_RELU,         /* max(0, x) */
    FA_STEP_CLIP,         /* min(b, max(a, x)) */
    FA_STEP_HARD_SIGMOID, /* min(1, max(0, a x + b)) */
    FA_STEP_HARD_SWISH,   /* x min(1, max(0, x / 6 + 1 / 2)) */
    FA_STEP_SIGMOID,      /* 1 / (1 + exp(-x)) */
    FA_STEP_SILU,         /* x / (1 + exp(-x)) */
    FA_STEP_TANH,
    FA_STEP_EXP,
    FA_STEP_ERF,
    FA_STEP_SQRT,
    FA_STEP_SQUARE,
    FA_STEPS
};

/* True of functions that take no more than a few instructions. */
static inline bool fa_chain_is_cheap(int32_t function)
{
    return function <= FA_STEP_HARD_SWISH || function == FA_STEP_SQUARE;
}

typedef struct fa_chain_step {
    int32_t function;
    float a, b;
} fa_chain_step;

/* Steps that fa_chain_kernels.gradient() takes: it has room for the numbers between them. */
#define FA_CHAIN_MOST 8

typedef struct fa_chain_kernels {
    const char *name;
    /* y may be x. */
    void (*forward)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, float *y);
    /* gx = g times the chain's derivative at x, or += with `add`; gx may be g. The derivative of what has corners is that of the reference operators (lib/ops). */
    void (*gradient)(const fa_chain_step *step, int32_t n_step, int64_t n, const float *x, const float *g, float *gx, bool add);
} fa_chain_kernels;

/* The derivative of a chain at `before`; n_step 0: there is none. */
typedef struct fa_slope {
    int32_t n_step;
    const fa_chain_step *step;
    const float *before;
} fa_slope;

/* What decides where the numbers stay, and are 0 elsewhere: it is above 0 there. NULL where the slope is not that simple. */
static inline const float *fa_slope_mask(const fa_slope *slope)
{
    return slope->n_step == 1 && slope->step->function == FA_STEP_RELU ? slope->before : NULL;
}

/* Multiplies the n numbers at `g`, by the derivatives at `before` from number `at` on. */
void fa_slope_apply(const fa_slope *slope, int64_t at, int64_t n, float *g);

/* Set 0: portable C, 1: AVX2, 2: AVX-512; NULL where the CPU has it not. Every set rounds in its own way. */
#define FA_CHAIN_SETS 3
const fa_chain_kernels *fa_chain_kernels_for(int32_t set);
/* The last that there is. */
const fa_chain_kernels *fa_chain_kernels_best(void);

#endif
