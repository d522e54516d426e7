// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/launch/unroll.h"

// As in avx512.h. 16 registers of 8 floats: a micro-kernel of 6 rows x 16 columns keeps 12 sums, two loaded vectors and
// one broadcast in them.
#define VORTA_AVX2 __attribute__((target("avx2,fma")))
#define VORTA_AVX2_INLINE VORTA_AVX2 __attribute__((always_inline)) inline
