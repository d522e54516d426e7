// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/grouped_attention/grouped_attention_sm90.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace vorta::kernels {

/// A mask and the sizes of the tensors under it, bfloat16.
struct Sm90Case {
  std::string name;
  int64_t batch = 1;
  int64_t heads = 1;
  int64_t head_dim = 128;
  int32_t rows = 0;
  std::vector<QueryGroup> groups;
  std::vector<RowRange> ranges;
  std::vector<int32_t> query_map;  ///< empty: the identity
  std::vector<int32_t> key_map;
  bool head_major = false;  ///< [batch, heads, rows, head_dim] instead of [batch, rows, heads, head_dim]

  /// All but the tensors' addresses; points into this case.
  GroupedAttentionArgs args() const;
  int64_t elements() const { return batch * heads * rows * head_dim; }
};

/// Every row sees every row: the dense branch, and the coreset branch on its survivors.
Sm90Case sm90_dense_case(std::string name, int64_t batch, int64_t heads, int32_t rows);

/// VORTA's sliding tile branch with a window of 3x3x3 tiles, clamped at the borders, then text.
struct Sm90Tiles {
  std::array<int32_t, 3> tiles;  ///< frames, height, width
  std::array<int32_t, 3> tile;   ///< tokens of one
  int32_t text = 0;              ///< rows behind the video's; their queries see everything
  int32_t text_keys = 0;         ///< of which so many count as keys
  enum class Order { kTile, kRaster } order = Order::kTile;  ///< of the video's tokens in memory
};
Sm90Case sm90_sliding_case(std::string name, int64_t batch, int64_t heads, const Sm90Tiles& tiles);

/// Small and ragged, for parity.
std::vector<Sm90Case> sm90_parity_cases();
/// Every path once, small enough for tools that watch each access: dense and ragged keys, tiles in both orders, text as
/// keys and as queries, batch 2, heads of both widths.
std::vector<Sm90Case> sm90_small_cases();
/// The published shapes: Wan 2.1 14B at 77 frames and HunyuanVideo at 117, 720p; Wan 2.1 1.3B at 77
/// frames, 480p; and heads of 64.
std::vector<Sm90Case> sm90_bench_cases();

}  // namespace vorta::kernels
