// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/attention/geometry.h"

namespace vorta::engine {

// Index tables of the sparse branches: pure functions of grid and window, plain vectors, testable without tensors.

/// Raster indices of the tokens in tile order [n_t][n_h][n_w][dt][dy][dx] (tiles raster, tokens raster inside a tile).
/// `tile` divides `grid`.
std::vector<int64_t> tile_order(const VideoGrid& grid, const Size3& tile);

/// Raster token of each row.
std::vector<int64_t> row_tokens(const VideoGrid& grid, const TokenOrder& order);

/// Tiles [first, last] that a query tile sees along one axis of `tiles` tiles: the window's half is rounded down on
/// each side (so an even window is one wider than it says) and its center is clamped so that it stays inside; an axis
/// with fewer tiles than the window is seen whole.
struct TileRange {
  int64_t first = 0;
  int64_t last = 0;
  bool operator==(const TileRange&) const = default;
};
TileRange visible_tiles(int64_t tile, int64_t tiles, int64_t window);

/// Query tiles that see the same key tiles, as raster token indices in tile order.
struct TileGroup {
  std::vector<int64_t> queries;
  std::vector<int64_t> keys;
};
/// Every query tile is in exactly one group; groups raster over (frames, height, width). `tile` divides `grid`.
std::vector<TileGroup> sliding_tile_groups(const VideoGrid& grid, const Size3& tile, const Size3& window);

/// Static tables of the coreset branch.
struct CoresetLayout {
  int64_t groups = 0;             // G, raster over windows
  int64_t members = 0;            // tokens of a window, raster inside
  int64_t center = 0;             // position of the center among the members: the upper middle on each axis
  int64_t kept = 0;               // u: margin tokens of a group that survive beside the center
  std::vector<int64_t> member_tokens;  // [G * members] raster token indices

  int64_t margin() const { return members - 1; }
  int64_t pooled_tokens() const { return groups * (1 + kept); }  // K
};
/// ConfigError when the window does not divide the grid or the reduction rate leaves less than the center.
CoresetLayout coreset_layout(const VideoGrid& grid, const Size3& window, double reduction_rate);

/// inverse[order[i]] = i.
std::vector<int64_t> inverse_order(const std::vector<int64_t>& order);
/// Each of `indices` becomes rows[index]; what stands behind the tokens of `rows`, text, stays where it is.
void to_rows(const std::vector<int64_t>& rows, std::vector<int64_t>& indices);

}  // namespace vorta::engine
