// SPDX-License-Identifier: Apache-2.0
#pragma once

// Keys and values of one head as float32, packed four keys at a time in the layout that the products read.
#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/head_rows.h"
#include "kernels/launch/elements_avx2.h"

namespace vorta::kernels {

inline constexpr int kQuadAvx2 = 4;

/// Sizes of one packed head, in floats. Keys: [quad][dim][4 keys]; values: [quad][dim / 4][4 keys][4 dims].
struct PackedShapeAvx2 {
  int64_t quads;
  int64_t quad;  // floats in one quad of keys, or of values
  int64_t head() const { return 2 * quads * quad; }
};

inline PackedShapeAvx2 packed_shape_avx2(const GroupedAttentionArgs& args) {
  return {(args.key_rows + kQuadAvx2 - 1) / kQuadAvx2, args.head_dim * kQuadAvx2};
}

template <typename Element>
VORTA_AVX2_INLINE __m256 load_or_zero(const Element* row, int64_t at) {
  return row == nullptr ? _mm256_setzero_ps() : load8(row + at);
}

// 4 x 8 -> 8 x 4.
VORTA_AVX2_INLINE void store_columns(const __m256 (&rows)[kQuadAvx2], float* to) {
  const __m256 low = _mm256_unpacklo_ps(rows[0], rows[1]), high = _mm256_unpackhi_ps(rows[0], rows[1]);
  const __m256 other_low = _mm256_unpacklo_ps(rows[2], rows[3]), other_high = _mm256_unpackhi_ps(rows[2], rows[3]);
  const __m256 columns[4] = {  // each: one of the first four, and the one four behind it
                             _mm256_shuffle_ps(low, other_low, 0x44), _mm256_shuffle_ps(low, other_low, 0xee),
                             _mm256_shuffle_ps(high, other_high, 0x44), _mm256_shuffle_ps(high, other_high, 0xee)};
  store8(to, _mm256_permute2f128_ps(columns[0], columns[1], 0x20));
  store8(to + 8, _mm256_permute2f128_ps(columns[2], columns[3], 0x20));
  store8(to + 16, _mm256_permute2f128_ps(columns[0], columns[1], 0x31));
  store8(to + 24, _mm256_permute2f128_ps(columns[2], columns[3], 0x31));
}

VORTA_AVX2_INLINE void store_halves(const __m256 (&rows)[kQuadAvx2], float* to) {
  store8(to, _mm256_permute2f128_ps(rows[0], rows[1], 0x20));
  store8(to + 8, _mm256_permute2f128_ps(rows[2], rows[3], 0x20));
  store8(to + 16, _mm256_permute2f128_ps(rows[0], rows[1], 0x31));
  store8(to + 24, _mm256_permute2f128_ps(rows[2], rows[3], 0x31));
}

/// Rows past the last are zeros.
template <typename Element>
VORTA_AVX2 void pack_quad(const GroupedAttentionArgs& args, const HeadRef& head, int64_t quad, float* packed) {
  const PackedShapeAvx2 shape = packed_shape_avx2(args);
  const Element* k_rows[kQuadAvx2];
  const Element* v_rows[kQuadAvx2];
  for (int i = 0; i < kQuadAvx2; ++i) {
    const int64_t row = quad * kQuadAvx2 + i;
    k_rows[i] = row < args.key_rows ? row_pointer<Element>(args.k, args.key_map, head, row) : nullptr;
    v_rows[i] = row < args.key_rows ? row_pointer<Element>(args.v, args.key_map, head, row) : nullptr;
  }
  float* keys = packed + quad * shape.quad;
  float* values = keys + shape.quads * shape.quad;
  for (int64_t d = 0; d < args.head_dim; d += kLanesAvx2) {
    __m256 k[kQuadAvx2], v[kQuadAvx2];
    VORTA_UNROLL
    for (int i = 0; i < kQuadAvx2; ++i) {
      k[i] = load_or_zero(k_rows[i], d);
      v[i] = load_or_zero(v_rows[i], d);
    }
    store_columns(k, keys + d * kQuadAvx2);
    store_halves(v, values + d * kQuadAvx2);
  }
}

}  // namespace vorta::kernels
