// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>

#include "engine/base/shapes.h"

namespace vorta::engine {

/// Rotation angles of every token of a grid: the D/2 complex numbers of a head split over (frames, height, width) as
/// real widths D - 4*(D/6), 2*(D/6), 2*(D/6); frequency j of an axis of real width n is 10000^(-2j/n), positions count
/// tokens from 0.
struct RopeTable {
  at::Tensor cos64, sin64;  // [L, D/2] fp64: the exact path
  at::Tensor cos32, sin32;  // the same in fp32, for bf16 tensors
};

/// `head_dim` is even. Each axis of the grid is at most `max_positions` long (ConfigError).
RopeTable make_rope(const VideoGrid& grid, int64_t head_dim, int64_t max_positions);
/// The table of tokens in another order: row i is that of token `tokens[i]`; tokens [L] int64.
RopeTable rope_rows(const RopeTable& table, const at::Tensor& tokens);
/// Another split of the head: real widths (frames, height, width) that add up to D, frequency j of width n being
/// theta^(-2j/n); angles computed in fp32, as HunyuanVideo's are.
RopeTable make_rope(const VideoGrid& grid, const std::array<int64_t, 3>& widths, double theta);
/// The same table on another device.
RopeTable rope_on(const RopeTable& table, at::Device device);

/// Rotates adjacent pairs (2j, 2j+1) of x [B, L, N, D], in the dtype of x. fp32 tensors go through fp64 complex numbers
/// as diffusers computes them; bf16 tensors through fp32, whose rounding is far below bf16's.
at::Tensor apply_rope(const at::Tensor& x, const RopeTable& table);

}  // namespace vorta::engine
