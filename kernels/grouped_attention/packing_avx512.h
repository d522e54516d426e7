// SPDX-License-Identifier: Apache-2.0
#pragma once

// Keys and values of one head, packed into panels of 16 keys in the layout that the products read.
#include <immintrin.h>

#include "kernels/launch/elements_avx512.h"
#include "kernels/launch/panels_avx512.h"
#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/head_rows.h"

namespace vorta::kernels {

inline constexpr int kPanelKeys = kPanelRows;

/// Sizes of one packed head, in words. Keys: [panel][dim / pair][16]; values: [panel][16 / pair][dim].
struct PackedShape {
  int64_t panels;
  int64_t panel;  // words in one panel of keys, or of values
  int64_t head() const { return 2 * panels * panel; }
};

template <typename Math>
PackedShape packed_shape(const GroupedAttentionArgs& args) {
  return {(args.key_rows + kPanelKeys - 1) / kPanelKeys, args.head_dim * kPanelKeys / Math::kPair};
}

/// 16 elements of two rows (null: zeros), interleaved.
VORTA_AVX512_INLINE __m512i value_pairs(const BFloat16Bits* even, const BFloat16Bits* odd, int64_t at) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i a = even == nullptr ? zero : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even + at));
  const __m256i b = odd == nullptr ? zero : _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd + at));
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

template <typename Math>
VORTA_AVX512 void pack_values(const typename Math::Element* const (&rows)[16], int64_t dim, int32_t* to) {
  if constexpr (Math::kPair == 2) {
    for (int pair = 0; pair < 8; ++pair) {
      for (int64_t d = 0; d < dim; d += 16) {
        _mm512_storeu_si512(to + pair * dim + d, value_pairs(rows[2 * pair], rows[2 * pair + 1], d));
      }
    }
  } else {
    for (int i = 0; i < 16; ++i) {
      for (int64_t d = 0; d < dim; d += 16) {
        const __m512i words = rows[i] == nullptr ? _mm512_setzero_si512() : Math::load_words(rows[i] + d, 0xffff);
        _mm512_storeu_si512(to + i * dim + d, words);
      }
    }
  }
}

template <typename Math>
VORTA_AVX512 void pack_panel(const GroupedAttentionArgs& args, const HeadRef& head, int64_t panel, int32_t* packed) {
  using Element = typename Math::Element;
  const PackedShape shape = packed_shape<Math>(args);
  const Element* k_rows[16];
  const Element* v_rows[16];
  for (int i = 0; i < kPanelKeys; ++i) {
    const int64_t row = panel * kPanelKeys + i;
    k_rows[i] = row < args.key_rows ? row_pointer<Element>(args.k, args.key_map, head, row) : nullptr;
    v_rows[i] = row < args.key_rows ? row_pointer<Element>(args.v, args.key_map, head, row) : nullptr;
  }
  pack_panel_rows<Math>(k_rows, args.head_dim, packed + panel * shape.panel);
  pack_values<Math>(v_rows, args.head_dim, packed + (shape.panels + panel) * shape.panel);
}

}  // namespace vorta::kernels
