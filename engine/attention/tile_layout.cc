// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/tile_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

struct Range3 {
  TileRange t, h, w;
};

/// Appends the raster indices of one block of `size` tokens whose first token is `origin`, raster inside.
void append_block(const VideoGrid& grid, const Size3& origin, const Size3& size, std::vector<int64_t>& out) {
  for (int64_t t = origin[0]; t < origin[0] + size[0]; ++t) {
    for (int64_t y = origin[1]; y < origin[1] + size[1]; ++y) {
      const int64_t row = (t * grid.height + y) * grid.width;
      for (int64_t x = origin[2]; x < origin[2] + size[2]; ++x) out.push_back(row + x);
    }
  }
}

void append_tiles(const VideoGrid& grid, const Size3& tile, const Range3& tiles, std::vector<int64_t>& out) {
  for (int64_t t = tiles.t.first; t <= tiles.t.last; ++t) {
    for (int64_t h = tiles.h.first; h <= tiles.h.last; ++h) {
      for (int64_t w = tiles.w.first; w <= tiles.w.last; ++w) {
        append_block(grid, {t * tile[0], h * tile[1], w * tile[2]}, tile, out);
      }
    }
  }
}

/// Runs of neighbouring query tiles with the same visible range along one axis.
struct AxisSlab {
  TileRange queries;
  TileRange keys;
};

std::vector<AxisSlab> axis_slabs(int64_t tiles, int64_t window) {
  std::vector<AxisSlab> slabs;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const TileRange seen = visible_tiles(tile, tiles, window);
    if (!slabs.empty() && slabs.back().keys == seen) {
      slabs.back().queries.last = tile;
    } else {
      slabs.push_back({{tile, tile}, seen});
    }
  }
  return slabs;
}

}  // namespace

std::vector<int64_t> tile_order(const VideoGrid& grid, const Size3& tile) {
  require_divides(grid, tile, "tile");
  const Range3 all{{0, grid.frames / tile[0] - 1}, {0, grid.height / tile[1] - 1}, {0, grid.width / tile[2] - 1}};
  std::vector<int64_t> order;
  order.reserve(static_cast<size_t>(grid.tokens()));
  append_tiles(grid, tile, all, order);
  return order;
}

std::vector<int64_t> row_tokens(const VideoGrid& grid, const TokenOrder& order) {
  if (order) return tile_order(grid, *order);
  std::vector<int64_t> tokens(static_cast<size_t>(grid.tokens()));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TileRange visible_tiles(int64_t tile, int64_t tiles, int64_t window) {
  const int64_t half = window / 2;
  // min(max(x, lo), hi), not std::clamp: lo may exceed hi, and then hi counts.
  const int64_t center = std::min(std::max(tile, half), tiles - 1 - half);
  return {std::max<int64_t>(center - half, 0), std::min(center + half, tiles - 1)};
}

std::vector<TileGroup> sliding_tile_groups(const VideoGrid& grid, const Size3& tile, const Size3& window) {
  require_divides(grid, tile, "sliding tile");
  const auto slabs_t = axis_slabs(grid.frames / tile[0], window[0]);
  const auto slabs_h = axis_slabs(grid.height / tile[1], window[1]);
  const auto slabs_w = axis_slabs(grid.width / tile[2], window[2]);
  std::vector<TileGroup> groups;
  groups.reserve(slabs_t.size() * slabs_h.size() * slabs_w.size());
  for (const AxisSlab& t : slabs_t) {
    for (const AxisSlab& h : slabs_h) {
      for (const AxisSlab& w : slabs_w) {
        TileGroup& group = groups.emplace_back();
        append_tiles(grid, tile, {t.queries, h.queries, w.queries}, group.queries);
        append_tiles(grid, tile, {t.keys, h.keys, w.keys}, group.keys);
      }
    }
  }
  return groups;
}

CoresetLayout coreset_layout(const VideoGrid& grid, const Size3& window, double reduction_rate) {
  require_divides(grid, window, "coreset window");
  CoresetLayout layout;
  layout.members = window[0] * window[1] * window[2];
  layout.groups = grid.tokens() / layout.members;
  layout.center = ((window[0] / 2) * window[1] + window[1] / 2) * window[2] + window[2] / 2;
  const double surviving = static_cast<double>(layout.members) * (1.0 - reduction_rate);
  layout.kept = static_cast<int64_t>(std::trunc(surviving)) - 1;
  if (layout.kept < 0 || layout.kept > layout.margin()) {
    throw ConfigError(
        "lowres_reduction_rate",
        fmt::format("a reduction rate of {} leaves {} of the {} tokens of a coreset window {}; at least 1 "
                    "must stay: use a rate between 0 and {:.4g}",
                    reduction_rate, layout.kept + 1, layout.members, to_string(window),
                    1.0 - 1.0 / static_cast<double>(layout.members)));
  }
  layout.member_tokens = tile_order(grid, window);
  return layout;
}

void to_rows(const std::vector<int64_t>& rows, std::vector<int64_t>& indices) {
  for (int64_t& index : indices) {
    if (index < static_cast<int64_t>(rows.size())) index = rows[static_cast<size_t>(index)];
  }
}

std::vector<int64_t> inverse_order(const std::vector<int64_t>& order) {
  std::vector<int64_t> inverse(order.size(), -1);
  for (size_t i = 0; i < order.size(); ++i) inverse.at(static_cast<size_t>(order[i])) = static_cast<int64_t>(i);
  return inverse;
}

}  // namespace vorta::engine
