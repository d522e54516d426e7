// SPDX-License-Identifier: Apache-2.0
#pragma once

// Element types of the vector variant. Products run along one "word" of 32 bits at a time: a pair of bfloat16, or one
// float32. `Element` is what q, k, v and out hold, `Weight` what a probability is stored as.
#include <immintrin.h>

#include "kernels/launch/avx512.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {

VORTA_AVX512_INLINE __m512 widen16(const BFloat16Bits* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

VORTA_AVX512_INLINE void narrow16(BFloat16Bits* to, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
}

VORTA_AVX512_INLINE __m512 round16(__m512 value) {
  const __m256i bits = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

VORTA_AVX512_INLINE __m512 float32_multiply_add(__m512 sum, __m512i a, __m512i b) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

/// bfloat16 through VDPBF16PS.
struct PairedBFloat16 {
  using Element = BFloat16Bits;
  using Weight = BFloat16Bits;
  static constexpr int kPair = 2;
  static constexpr bool kCopiesQueries = false;
  VORTA_AVX512_INLINE static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  VORTA_AVX512_INLINE static __m512i load_words(const Element* from, __mmask16 mask) {
    return _mm512_maskz_loadu_epi32(mask, from);
  }
  VORTA_AVX512_INLINE static void store_weights(Weight* to, __m512 value) { narrow16(to, value); }
  VORTA_AVX512_INLINE static void store_out(Element* to, __m512 value) { narrow16(to, value); }
};

/// bfloat16 widened to float32 where keys, values and queries are packed, for CPUs whose FMA outruns VDPBF16PS.
struct WidenedBFloat16 {
  using Element = BFloat16Bits;
  using Weight = float;
  static constexpr int kPair = 1;
  static constexpr bool kCopiesQueries = true;
  VORTA_AVX512_INLINE static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return float32_multiply_add(sum, a, b);
  }
  VORTA_AVX512_INLINE static __m512i load_words(const Element* from, __mmask16) {
    return _mm512_castps_si512(widen16(from));
  }
  VORTA_AVX512_INLINE static void store_weights(Weight* to, __m512 value) { _mm512_storeu_ps(to, value); }
  VORTA_AVX512_INLINE static void store_out(Element* to, __m512 value) { narrow16(to, value); }
};

struct Float32 {
  using Element = float;
  using Weight = float;
  static constexpr int kPair = 1;
  static constexpr bool kCopiesQueries = false;
  VORTA_AVX512_INLINE static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return float32_multiply_add(sum, a, b);
  }
  VORTA_AVX512_INLINE static __m512i load_words(const Element* from, __mmask16) { return _mm512_loadu_si512(from); }
  VORTA_AVX512_INLINE static void store_weights(Weight* to, __m512 value) { _mm512_storeu_ps(to, value); }
  VORTA_AVX512_INLINE static void store_out(Element* to, __m512 value) { _mm512_storeu_ps(to, value); }
};

/// 2^x for x <= 0, relative error below 4e-6; -inf gives 0.
VORTA_AVX512_INLINE __m512 exp2_nonpositive(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-150.0f));
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.339887440e-3f);  // minimax polynomial of 2^f on [-1/2, 1/2]
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.618437357e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550332548e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402264791e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931471825e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, n);
}

/// 2^x for any x, relative error below 3e-7; a float32 out of range becomes 0 or infinity.
VORTA_AVX512_INLINE __m512 exp2_any(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // what scalef leaves: x - floor(x)
  __m512 p = _mm512_set1_ps(1.877576199e-3f);  // minimax polynomial of 2^f on [0, 1]
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.989341308e-3f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.582631703e-2f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.401536174e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931530731e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, x);
}

/// The same with relative error below 8e-5, a twentieth of what rounding to bfloat16 adds.
VORTA_AVX512_INLINE __m512 exp2_coarse(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 p = _mm512_set1_ps(7.802452266e-2f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.260671554e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.958335405e-1f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.999252186e-1f));
  return _mm512_scalef_ps(p, x);
}

}  // namespace vorta::kernels
