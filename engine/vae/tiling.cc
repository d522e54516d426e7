// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/tiling.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

// Weights of one tile along one axis, [length] fp32: 1 inside, falling linearly over what it shares with a neighbour.
at::Tensor ramp(const TileAxis& axis, std::size_t tile, TileScale scale) {
  const auto scaled = [&](int64_t value) { return value * scale.numerator / scale.denominator; };
  const int64_t length = scaled(axis.length);
  at::Tensor weights = at::ones({length}, at::kFloat);
  float* w = weights.data_ptr<float>();
  const int64_t start = axis.starts[tile];
  const int64_t before = tile == 0 ? 0 : scaled(axis.starts[tile - 1] + axis.length - start);
  const int64_t after = tile + 1 == axis.starts.size() ? 0 : scaled(start + axis.length - axis.starts[tile + 1]);
  for (int64_t i = 0; i < before; ++i)
    w[i] = std::min(w[i], static_cast<float>(i + 1) / static_cast<float>(before + 1));
  for (int64_t i = 0; i < after; ++i) {
    float& edge = w[length - 1 - i];
    edge = std::min(edge, static_cast<float>(i + 1) / static_cast<float>(after + 1));
  }
  return weights;
}

int64_t output_size(const TileAxis& axis, TileScale scale) {
  return (axis.starts.back() + axis.length) * scale.numerator / scale.denominator;
}

}  // namespace

TileAxis plan_tile_axis(int64_t size, int64_t length, int64_t overlap) {
  if (length < 1 || overlap < 0 || overlap >= length) {
    throw ConfigError("VAE tiling", fmt::format("needs 0 <= overlap < tile size, found overlap {} and tile size {}",
                                                overlap, length));
  }
  if (size <= length) return {size, {0}};
  TileAxis axis{length, {}};
  for (int64_t start = 0; start + length < size; start += length - overlap) axis.starts.push_back(start);
  axis.starts.push_back(size - length);
  return axis;
}

at::Tensor run_tiled(const at::Tensor& x, const TileAxis& rows, const TileAxis& columns, TileScale scale,
                     const std::function<at::Tensor(const at::Tensor&)>& network) {
  at::Tensor sum;
  at::Tensor total = at::zeros({output_size(rows, scale), output_size(columns, scale)}, at::kFloat);
  for (std::size_t r = 0; r < rows.starts.size(); ++r) {
    for (std::size_t c = 0; c < columns.starts.size(); ++c) {
      const at::Tensor tile = x.narrow(3, rows.starts[r], rows.length).narrow(4, columns.starts[c], columns.length);
      const at::Tensor out = network(tile).to(at::kFloat);
      const at::Tensor weight = at::outer(ramp(rows, r, scale), ramp(columns, c, scale));
      const int64_t top = rows.starts[r] * scale.numerator / scale.denominator;
      const int64_t left = columns.starts[c] * scale.numerator / scale.denominator;
      if (!sum.defined()) {
        const auto s = out.sizes();
        sum = at::zeros({s[0], s[1], s[2], total.size(0), total.size(1)}, out.options());
      }
      sum.narrow(3, top, out.size(3)).narrow(4, left, out.size(4)).add_(out * weight);
      total.narrow(0, top, out.size(3)).narrow(1, left, out.size(4)).add_(weight);
    }
  }
  return sum / total;
}

}  // namespace vorta::engine
