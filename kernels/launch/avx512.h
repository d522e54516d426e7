// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/launch/unroll.h"

// Functions of the vector variants name their instruction set themselves, so that no flag of the build leaks it into
// code that must run on any machine. Callers ask cpu_features() first.
#define VORTA_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define VORTA_AVX512_INLINE VORTA_AVX512 __attribute__((always_inline)) inline
