// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace vorta::engine {

/// One axis of a tiled run: the starts of tiles of `length` that cover 0..size, neighbours sharing at least `overlap`.
/// All tiles have the same length (the last one is moved back), so a tiny rest never meets the network.
struct TileAxis {
  int64_t length = 0;
  std::vector<int64_t> starts;
};

/// @throws ConfigError unless 0 <= overlap < length and length > 0.
TileAxis plan_tile_axis(int64_t size, int64_t length, int64_t overlap);

/// How a run over tiles maps its input to its output: `numerator / denominator` output positions an input position
/// (decoding by 8: 8/1; encoding by 8: 1/8). Tile starts and lengths must divide.
struct TileScale {
  int64_t numerator = 1;
  int64_t denominator = 1;
};

/// Runs `network` on every tile of x ([B, C, T, H, W], cut in H and W) and blends the results: each output position is
/// the mean of the tiles that cover it, weighted by a ramp that falls linearly to the tile's inner borders. Output
/// fp32.
at::Tensor run_tiled(const at::Tensor& x, const TileAxis& rows, const TileAxis& columns, TileScale scale,
                     const std::function<at::Tensor(const at::Tensor&)>& network);

}  // namespace vorta::engine
