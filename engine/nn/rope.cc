// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/rope.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

/// [positions, width / 2] fp64.
at::Tensor axis_angles(int64_t positions, int64_t width) {
  const at::Tensor exponent = at::arange(0, width, 2, at::kDouble) / static_cast<double>(width);
  const at::Tensor frequency = 1.0 / at::pow(at::Scalar(10000.0), exponent);
  return at::outer(at::arange(positions, at::kDouble), frequency);
}

/// Angles [positions, width / 2] of each axis -> [L, D/2] of every token.
at::Tensor token_angles(const VideoGrid& grid, const std::array<at::Tensor, 3>& axes) {
  const int64_t f = grid.frames, h = grid.height, w = grid.width;
  const at::Tensor t_part = axes[0].view({f, 1, 1, -1}).expand({f, h, w, -1});
  const at::Tensor h_part = axes[1].view({1, h, 1, -1}).expand({f, h, w, -1});
  const at::Tensor w_part = axes[2].view({1, 1, w, -1}).expand({f, h, w, -1});
  return at::cat({t_part, h_part, w_part}, -1).flatten(0, 2);
}

RopeTable table_of(const at::Tensor& angles) {
  RopeTable table;
  table.cos64 = angles.cos().to(at::kDouble);
  table.sin64 = angles.sin().to(at::kDouble);
  table.cos32 = table.cos64.to(at::kFloat);
  table.sin32 = table.sin64.to(at::kFloat);
  return table;
}

}  // namespace

RopeTable make_rope(const VideoGrid& grid, int64_t head_dim, int64_t max_positions) {
  VORTA_CHECK(head_dim > 0 && head_dim % 2 == 0, "RoPE rotates pairs");
  if (std::max({grid.frames, grid.height, grid.width}) > max_positions) {
    throw ConfigError("token grid", fmt::format("{} exceeds the model's {} positions an axis (rope_max_seq_len)",
                                                to_string(grid), max_positions));
  }
  const int64_t side = 2 * (head_dim / 6);
  return table_of(token_angles(grid, {axis_angles(grid.frames, head_dim - 2 * side), axis_angles(grid.height, side),
                                      axis_angles(grid.width, side)}));
}

RopeTable make_rope(const VideoGrid& grid, const std::array<int64_t, 3>& widths, double theta) {
  const auto angles = [theta](int64_t positions, int64_t width) {
    VORTA_CHECK(width > 0 && width % 2 == 0, "RoPE rotates pairs");
    const at::Tensor exponent = at::arange(0, width, 2, at::kFloat) / static_cast<double>(width);
    return at::outer(at::arange(positions, at::kFloat), 1.0 / at::pow(at::Scalar(theta), exponent));
  };
  return table_of(token_angles(
      grid, {angles(grid.frames, widths[0]), angles(grid.height, widths[1]), angles(grid.width, widths[2])}));
}

RopeTable rope_rows(const RopeTable& table, const at::Tensor& tokens) {
  const auto rows = [&](const at::Tensor& t) { return t.index_select(0, tokens); };
  return {rows(table.cos64), rows(table.sin64), rows(table.cos32), rows(table.sin32)};
}

RopeTable rope_on(const RopeTable& table, at::Device device) {
  return {table.cos64.to(device), table.sin64.to(device), table.cos32.to(device), table.sin32.to(device)};
}

at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table) {
  ShapeBinder shape("rope");
  shape.bind(x.sizes(), "x", "B L N D");
  VORTA_CHECK(table.cos64.size(0) == shape['L'] && table.cos64.size(1) * 2 == shape['D'],
              "the table is for this grid and head dim");
  const bool narrow = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
  if (narrow) {
    const at::Tensor turns = at::complex(table.cos32, table.sin32).unsqueeze(1);  // [L, 1, D/2]
    const at::Tensor numbers = at::view_as_complex(x.to(at::kFloat).unflatten(-1, {-1, 2}));
    return at::view_as_real(numbers * turns).flatten(-2).to(x.scalar_type());
  }
  const at::Tensor cos = table.cos64.unsqueeze(1);  // [L, 1, D/2]
  const at::Tensor sin = table.sin64.unsqueeze(1);
  const at::Tensor pairs = x.to(cos.scalar_type()).unflatten(-1, {-1, 2});
  const at::Tensor even = pairs.select(-1, 0), odd = pairs.select(-1, 1);  // [B, L, N, D/2]
  return at::stack({even * cos - odd * sin, even * sin + odd * cos}, -1).flatten(-2).to(x.scalar_type());
}

}  // namespace vorta::engine
