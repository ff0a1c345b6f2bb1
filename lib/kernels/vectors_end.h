/* SPDX-License-Identifier: Apache-2.0 */
/* Undefines what vectors_avx2.h and vectors_avx512.h define. */
#undef NAME
#undef LABEL
#undef TARGET
#undef FLOATS
#undef FMA_F
#undef SPLAT_F
#undef MIN_F
#undef MAX_F
#undef SQRT_F
#undef SELECT
#undef MASK
#undef MASK_OF
#undef MASK_LOAD
#undef MASK_STORE
