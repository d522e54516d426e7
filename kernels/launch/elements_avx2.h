// SPDX-License-Identifier: Apache-2.0
#pragma once

// Eight elements of either type as float32, and the elementary functions of the AVX2 variants.
#include <immintrin.h>

#include <cstdint>

#include "kernels/launch/avx2.h"
#include "kernels/launch/bfloat16.h"

namespace vorta::kernels {

inline constexpr int kLanesAvx2 = 8;

VORTA_AVX2_INLINE __m256 load8(const float* from) { return _mm256_loadu_ps(from); }

VORTA_AVX2_INLINE __m256 load8(const BFloat16Bits* from) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// The nearest bfloat16, ties to even, in the upper half of each lane; NaN stays NaN. The lower half is not cleared.
VORTA_AVX2_INLINE __m256i bfloat16_bits8(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

VORTA_AVX2_INLINE __m256 round8(__m256 value) {
  return _mm256_castsi256_ps(_mm256_and_si256(bfloat16_bits8(value), _mm256_set1_epi32(-0x10000)));
}

VORTA_AVX2_INLINE void store8(float* to, __m256 value) { _mm256_storeu_ps(to, value); }

VORTA_AVX2_INLINE void store8(BFloat16Bits* to, __m256 value) {
  const __m256i upper = _mm256_srli_epi32(bfloat16_bits8(value), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}

/// 16 neighbours: those at even and at odd places.
struct PairsAvx2 {
  __m256 even;
  __m256 odd;
};

VORTA_AVX2_INLINE PairsAvx2 load16(const BFloat16Bits* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)),
          _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(-0x10000)))};
}

/// As bfloat16_bits8, for what was computed from bfloat16 alone: the lower half of its NaNs is 0, so that none of them
/// needs care.
VORTA_AVX2_INLINE __m256i bits8_of_bfloat16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
}

VORTA_AVX2_INLINE __m256 round8_of_bfloat16(__m256 value) {
  return _mm256_castsi256_ps(_mm256_and_si256(bits8_of_bfloat16(value), _mm256_set1_epi32(-0x10000)));
}

VORTA_AVX2_INLINE void store16_of_bfloat16(BFloat16Bits* to, const PairsAvx2& value) {
  const __m256i even = _mm256_srli_epi32(bits8_of_bfloat16(value.even), 16);
  const __m256i both = _mm256_blend_epi16(even, bits8_of_bfloat16(value.odd), 0xaa);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), both);
}

/// 16 neighbours as unpacking leaves them: 0 to 3 and 8 to 11, and the others.
struct FoursAvx2 {
  __m256 first;
  __m256 second;
};

VORTA_AVX2_INLINE FoursAvx2 load_fours(const BFloat16Bits* from) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return {_mm256_castsi256_ps(_mm256_unpacklo_epi16(_mm256_setzero_si256(), bits)),
          _mm256_castsi256_ps(_mm256_unpackhi_epi16(_mm256_setzero_si256(), bits))};
}

VORTA_AVX2_INLINE FoursAvx2 load_fours(const float* from) {
  return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 8), 1),
          _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from + 4)), _mm_loadu_ps(from + 12), 1)};
}

VORTA_AVX2_INLINE void store_fours(BFloat16Bits* to, const FoursAvx2& value) {
  const __m256i first = _mm256_srli_epi32(bfloat16_bits8(value.first), 16);
  const __m256i second = _mm256_srli_epi32(bfloat16_bits8(value.second), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_packus_epi32(first, second));
}

VORTA_AVX2_INLINE float sum8(__m256 value) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

VORTA_AVX2_INLINE float max8(__m256 value) {
  __m128 top = _mm_max_ps(_mm256_castps256_ps128(value), _mm256_extractf128_ps(value, 1));
  top = _mm_max_ps(top, _mm_movehl_ps(top, top));
  return _mm_cvtss_f32(_mm_max_ss(top, _mm_movehdup_ps(top)));
}

/// 2^n for whole n in -127..127; -127 gives 0.
VORTA_AVX2_INLINE __m256 power_of_two(__m256 n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

/// 2^x for x <= 0, relative error below 4e-6; 0 below 2^-126.5, NaN for NaN.
VORTA_AVX2_INLINE __m256 exp2_nonpositive(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(-127.0f), x);  // the second operand, x, passes when it is NaN
  // Added to x, its last bit is worth 1: the sum holds the nearest whole number n, and n + 127 in its lowest bits.
  const __m256 whole = _mm256_set1_ps(0x1.8p23f + 127.0f);
  const __m256 sum = _mm256_add_ps(x, whole);
  const __m256 f = _mm256_sub_ps(x, _mm256_sub_ps(sum, whole));
  __m256 p = _mm256_set1_ps(1.339887440e-3f);  // minimax polynomial of 2^f on [-1/2, 1/2]
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.618437357e-3f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.550332548e-2f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.402264791e-1f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.931471825e-1f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(sum), 23)));
}

}  // namespace vorta::kernels
