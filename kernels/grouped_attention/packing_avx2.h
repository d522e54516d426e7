// SPDX-License-Identifier: Apache-2.0
#pragma once

// Keys and values of one head as float32, packed into panels of 16 keys in the layout that the products read.
#include "kernels/grouped_attention/grouped_attention.h"
#include "kernels/grouped_attention/head_rows.h"
#include "kernels/launch/elements_avx2.h"
#include "kernels/launch/panels_avx2.h"

namespace vorta::kernels {

/// Sizes of one packed head, in floats. Keys: [panel][dim][16]; values: [dim / 16][panel][16 keys][16 dims], so that 16
/// dims of many keys lie together.
struct PackedShapeAvx2 {
  int64_t panels;
  int64_t panel;  // floats in one panel of keys, or of values
  int64_t slice() const { return panels * kPanelRowsAvx2 * 16; }  // 16 dims of all values
  int64_t head() const { return 2 * panels * panel; }
};

inline PackedShapeAvx2 packed_shape_avx2(const GroupedAttentionArgs& args) {
  return {(args.key_rows + kPanelRowsAvx2 - 1) / kPanelRowsAvx2, args.head_dim * kPanelRowsAvx2};
}

template <typename Element>
VORTA_AVX2 void pack_values(const Element* const (&rows)[kPanelRowsAvx2], int64_t dim, int64_t slice, float* to) {
  for (const Element* row : rows) {
    for (int64_t d = 0; d < dim; d += 16) {
      float* at = to + d / 16 * slice;
      store8(at, row == nullptr ? _mm256_setzero_ps() : load8(row + d));
      store8(at + 8, row == nullptr ? _mm256_setzero_ps() : load8(row + d + 8));
    }
    to += 16;
  }
}

template <typename Element>
VORTA_AVX2 void pack_panel(const GroupedAttentionArgs& args, const HeadRef& head, int64_t panel, float* packed) {
  const PackedShapeAvx2 shape = packed_shape_avx2(args);
  const Element* k_rows[kPanelRowsAvx2];
  const Element* v_rows[kPanelRowsAvx2];
  for (int i = 0; i < kPanelRowsAvx2; ++i) {
    const int64_t row = panel * kPanelRowsAvx2 + i;
    k_rows[i] = row < args.key_rows ? row_pointer<Element>(args.k, args.key_map, head, row) : nullptr;
    v_rows[i] = row < args.key_rows ? row_pointer<Element>(args.v, args.key_map, head, row) : nullptr;
  }
  pack_panel_rows(k_rows, args.head_dim, packed + panel * shape.panel);
  pack_values(v_rows, args.head_dim, shape.slice(),
              packed + shape.panels * shape.panel + panel * kPanelRowsAvx2 * 16);
}

}  // namespace vorta::kernels
