// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "engine/attention/tile_layout.h"
#include "engine/base/error.h"
#include "tests/support/catch.h"

namespace vorta::engine {
namespace {

using Catch::Matchers::Contains;

using Indices = std::vector<int64_t>;

Indices group(const CoresetLayout& layout, int64_t g) {
  const auto first = layout.member_tokens.begin() + g * layout.members;
  return {first, first + layout.members};
}

TEST_CASE("coreset groups of the published window", "[layout]") {
  const CoresetLayout layout = coreset_layout({4, 6, 4}, {2, 3, 2}, 0.5);
  CHECK(layout.groups == 8);
  CHECK(layout.center == 9);
  CHECK(layout.kept == 5);
  CHECK(layout.pooled_tokens() == 48);
  CHECK(group(layout, 0) == Indices{0, 1, 4, 5, 8, 9, 24, 25, 28, 29, 32, 33});
  CHECK(group(layout, 1) == Indices{2, 3, 6, 7, 10, 11, 26, 27, 30, 31, 34, 35});
  CHECK(group(layout, 2) == Indices{12, 13, 16, 17, 20, 21, 36, 37, 40, 41, 44, 45});
  CHECK(group(layout, 4) == Indices{48, 49, 52, 53, 56, 57, 72, 73, 76, 77, 80, 81});
  Indices centers;
  for (int64_t g = 0; g < layout.groups; ++g) centers.push_back(group(layout, g)[9]);
  CHECK(centers == Indices{29, 31, 41, 43, 77, 79, 89, 91});
}

TEST_CASE("reduction rates: truncation, the last that works, and those that leave nothing", "[layout]") {
  CHECK(coreset_layout({2, 3, 2}, {2, 3, 2}, 0.9).kept == 0);
  CHECK(coreset_layout({2, 3, 2}, {2, 3, 2}, 0.0).kept == 11);
  CHECK_THROWS_WITH(coreset_layout({2, 3, 2}, {2, 3, 2}, 1.0),
                    Contains("reduction rate of 1 leaves 0 of the 12") && Contains("0.9167"));
}

TEST_CASE("tile order and its inverse", "[layout]") {
  const Indices order = tile_order({2, 4, 4}, {1, 2, 2});
  CHECK(order == Indices{0,  1,  4,  5,  2,  3,  6,  7,  8,  9,  12, 13, 10, 11, 14, 15,
                         16, 17, 20, 21, 18, 19, 22, 23, 24, 25, 28, 29, 26, 27, 30, 31});
  const Indices inverse = inverse_order(order);
  for (size_t i = 0; i < order.size(); ++i) CHECK(inverse[static_cast<size_t>(order[i])] == static_cast<int64_t>(i));
}

TEST_CASE("visible tiles along an axis", "[layout]") {
  // first and last visible tile of tile 0, of tile 1, ...
  const auto row = [](int64_t tiles, int64_t window) {
    Indices seen;
    for (int64_t i = 0; i < tiles; ++i) {
      const TileRange range = visible_tiles(i, tiles, window);
      seen.push_back(range.first);
      seen.push_back(range.last);
    }
    return seen;
  };
  CHECK(row(5, 3) == Indices{0, 2, 0, 2, 1, 3, 2, 4, 2, 4});
  CHECK(row(4, 2) == Indices{0, 2, 0, 2, 1, 3, 1, 3});  // even windows are one wider
  CHECK(row(4, 4) == Indices{0, 3, 0, 3, 0, 3, 0, 3});
  CHECK(row(5, 4) == Indices{0, 4, 0, 4, 0, 4, 0, 4, 0, 4});
  CHECK(row(1, 3) == Indices{0, 0});  // fewer tiles than the window: all of them
  CHECK(row(2, 3) == Indices{0, 1, 0, 1});
  CHECK(row(2, 5) == Indices{0, 1, 0, 1});
}

TEST_CASE("groups hold each query once and, with enough tiles, the whole window of keys", "[layout]") {
  const VideoGrid grid{4, 6, 10};
  const auto groups = sliding_tile_groups(grid, {1, 2, 2}, {3, 3, 3});
  CHECK(groups.size() == 2 * 1 * 3);
  Indices queries;
  for (const TileGroup& g : groups) {
    CHECK(g.keys.size() == 27 * 4);
    queries.insert(queries.end(), g.queries.begin(), g.queries.end());
  }
  std::sort(queries.begin(), queries.end());
  Indices all(static_cast<size_t>(grid.tokens()));
  std::iota(all.begin(), all.end(), 0);
  CHECK(queries == all);
}

TEST_CASE("ragged grids are refused with the nearest sizes that work", "[layout]") {
  CHECK_THROWS_WITH(
      sliding_tile_groups({5, 9, 10}, {5, 3, 4}, {3, 3, 3}),
      Contains("sliding tile 5x3x4") && Contains("5x9x10") && Contains("width is 10") && Contains("8 or 12"));
  CHECK_THROWS_WITH(coreset_layout({1, 7, 4}, {2, 3, 2}, 0.5), Contains("frames is 1, nearest that work: 2") &&
                                                                   Contains("height is 7, nearest that work: 6 or 9"));
  const AttentionGeometry geometry{.latent_shape = {4, 6, 4}};
  CHECK_THROWS_WITH(require_latent_shape(geometry, {4, 6, 8}), Contains("4x6x4") && Contains("4x6x8"));
}

}  // namespace
}  // namespace vorta::engine
