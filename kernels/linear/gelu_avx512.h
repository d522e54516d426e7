// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <immintrin.h>

#include "kernels/launch/elements_avx512.h"

namespace vorta::kernels {

/// x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): the tanh form of GELU without a tanh.
VORTA_AVX512_INLINE __m512 gelu_tanh(__m512 x) {
  const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(0.044715f), _mm512_mul_ps(x, x)), x, x);
  const __m512 exponent = _mm512_mul_ps(cubic, _mm512_set1_ps(-2.302208198f));  // -2 sqrt(2 / pi) log2(e)
  // Beyond 2^126 the reciprocal would not be normal; x times 2^-126 is zero for any purpose. NaN passes as the second
  // operand.
  const __m512 bounded = _mm512_min_ps(_mm512_set1_ps(126.0f), exponent);
  const __m512 divisor = _mm512_add_ps(_mm512_set1_ps(1.0f), exp2_any(bounded));
  const __m512 guess = _mm512_rcp14_ps(divisor);  // one Newton step takes its 14 bits to 28, and a third of a division
  const __m512 reciprocal = _mm512_mul_ps(guess, _mm512_fnmadd_ps(divisor, guess, _mm512_set1_ps(2.0f)));
  return _mm512_mul_ps(x, reciprocal);
}

}  // namespace vorta::kernels
