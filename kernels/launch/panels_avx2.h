// SPDX-License-Identifier: Apache-2.0
#pragma once

// Panels: 16 rows of a matrix, widened to float32 and interleaved so that two vectors hold the same column of each.
#include <immintrin.h>

#include "kernels/launch/elements_avx2.h"

namespace vorta::kernels {

inline constexpr int kPanelRowsAvx2 = 2 * kLanesAvx2;

// 8 x 8 transpose: rows[i] holds 8 columns of row i; column j goes to `to + stride j`.
VORTA_AVX2_INLINE void transpose_store(const __m256 (&rows)[8], float* to, int64_t stride) {
  __m256 pairs[8];
  VORTA_UNROLL
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  __m256 fours[8];
  VORTA_UNROLL
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
  VORTA_UNROLL
  for (int c = 0; c < 4; ++c) {
    _mm256_storeu_ps(to + c * stride, _mm256_permute2f128_ps(fours[c], fours[c + 4], 0x20));
    _mm256_storeu_ps(to + (c + 4) * stride, _mm256_permute2f128_ps(fours[c], fours[c + 4], 0x31));
  }
}

/// 16 rows (null: zeros) of `dim` elements, a multiple of 8 -> [dim][16].
template <typename Element>
VORTA_AVX2 void pack_panel_rows(const Element* const (&rows)[kPanelRowsAvx2], int64_t dim, float* to) {
  for (int half = 0; half < kPanelRowsAvx2; half += kLanesAvx2) {
    for (int64_t at = 0; at < dim; at += kLanesAvx2) {
      __m256 lanes[8];
      VORTA_UNROLL
      for (int i = 0; i < 8; ++i) {
        const Element* row = rows[half + i];
        lanes[i] = row == nullptr ? _mm256_setzero_ps() : load8(row + at);
      }
      transpose_store(lanes, to + at * kPanelRowsAvx2 + half, kPanelRowsAvx2);
    }
  }
}

}  // namespace vorta::kernels
