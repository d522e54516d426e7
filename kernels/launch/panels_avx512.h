// SPDX-License-Identifier: Apache-2.0
#pragma once

// Panels: 16 rows of a matrix, interleaved so that one vector holds the same word of each.
#include <immintrin.h>

#include <cstring>

#include "kernels/launch/elements_avx512.h"

namespace vorta::kernels {

inline constexpr int kPanelRows = 16;  // lanes of one float32 vector

// 16 x 16 transpose of words: rows[i] holds 16 words of row i; column j of the result goes to `to + 16 j`.
VORTA_AVX512_INLINE void transpose_store(__m512i (&rows)[16], int32_t* to) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  __m512i u[16];
  for (int i = 0; i < 16; i += 4) {
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i ab_low = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88);
    const __m512i ab_high = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
    const __m512i cd_low = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
    const __m512i cd_high = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
    _mm512_storeu_si512(to + 16 * (0 + c), _mm512_shuffle_i32x4(ab_low, cd_low, 0x88));
    _mm512_storeu_si512(to + 16 * (4 + c), _mm512_shuffle_i32x4(ab_high, cd_high, 0x88));
    _mm512_storeu_si512(to + 16 * (8 + c), _mm512_shuffle_i32x4(ab_low, cd_low, 0xdd));
    _mm512_storeu_si512(to + 16 * (12 + c), _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd));
  }
}

/// 16 rows (null: zeros) of `dim` elements -> [dim / pair][16] words: what one vector of products reads.
template <typename Math>
VORTA_AVX512 void pack_panel_rows(const typename Math::Element* const (&rows)[16], int64_t dim, int32_t* to) {
  const int64_t words = dim / Math::kPair;
  for (int64_t at = 0; at < words; at += 16) {
    const __mmask16 mask = words - at >= 16 ? 0xffff : static_cast<__mmask16>((1u << (words - at)) - 1);
    __m512i lanes[16];
    for (int i = 0; i < 16; ++i) {
      lanes[i] = rows[i] == nullptr ? _mm512_setzero_si512() : Math::load_words(rows[i] + at * Math::kPair, mask);
    }
    if (mask == 0xffff) {
      transpose_store(lanes, to + at * 16);
    } else {  // 16 elements in pairs: eight words, the upper half of the tile is not ours to write
      alignas(64) int32_t tile[256];
      transpose_store(lanes, tile);
      std::memcpy(to + at * 16, tile, static_cast<std::size_t>(words - at) * 16 * sizeof(int32_t));
    }
  }
}

}  // namespace vorta::kernels
