// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/swin.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace {

constexpr double kSwinEps = 1e-5;
constexpr int64_t kSwinPatch = 4;

// [window^2, window^2] rows of the table of (2 window - 1)^2 relative positions, height major.
at::Tensor relative_index(int64_t window) {
  const at::Tensor at_index = at::arange(window, at::kLong);
  const at::Tensor y = at_index.repeat_interleave(window), x = at_index.repeat({window});
  const auto distance = [&](const at::Tensor& axis) { return axis.unsqueeze(1) - axis.unsqueeze(0) + window - 1; };
  return distance(y) * (2 * window - 1) + distance(x);
}

// [B, G, G, M] -> [B * windows, window^2, M]
at::Tensor to_windows(const at::Tensor& x, int64_t window) {
  const int64_t rows = x.size(1) / window, columns = x.size(2) / window;
  const at::Tensor split = x.reshape({x.size(0), rows, window, columns, window, x.size(3)});
  return split.transpose(2, 3).reshape({-1, window * window, x.size(3)});
}

at::Tensor from_windows(const at::Tensor& windows, int64_t window, int64_t grid) {
  const int64_t a_side = grid / window, width = windows.size(2);
  return windows.view({-1, a_side, a_side, window, window, width}).transpose(2, 3).reshape({-1, grid, grid, width});
}

// After a cyclic shift a window holds tokens that are not neighbours; -100 keeps them apart: [windows, 1, L, L].
at::Tensor shift_mask(int64_t grid, int64_t window, int64_t shift) {
  at::Tensor region = at::zeros({1, grid, grid, 1}, at::kFloat);
  const std::array<int64_t, 4> edges{0, grid - window, grid - shift, grid};
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 3; ++c) {
      region.slice(1, edges[r], edges[r + 1]).slice(2, edges[c], edges[c + 1]).fill_(static_cast<double>(3 * r + c));
    }
  }
  const at::Tensor labels = to_windows(region, window).squeeze(2);
  return (labels.unsqueeze(1) != labels.unsqueeze(2)).to(at::kFloat).mul_(-100.0).unsqueeze(1);
}

}  // namespace

Swin::Stage Swin::take_stage(const engine::WeightReader& weights, std::size_t index) const {
  const auto level = static_cast<int64_t>(index);
  const engine::WeightReader layer = weights.scope("layers", level);
  const int64_t width = config_.width << level, grid = (config_.image / kSwinPatch) >> level;
  const int64_t window = std::min(config_.window, grid), tokens = window * window;
  const int64_t rows = (2 * window - 1) * (2 * window - 1);
  Stage stage;
  stage.heads = config_.heads[index];
  stage.grid = grid;
  stage.window = window;
  for (int64_t b = 0; b < config_.depths[index]; ++b) {
    const engine::WeightReader block = layer.scope("blocks", b);
    const at::Tensor table = block.take("attn.relative_position_bias_table", {rows, stage.heads});
    const at::Tensor index_of = relative_index(window).flatten().to(table.device());
    stage.blocks.push_back({.norm1 = take_norm(block, "norm1", width),
                            .qkv = take_linear(block, "attn.qkv", 3 * width, width),
                            .proj = take_linear(block, "attn.proj", width, width),
                            .norm2 = take_norm(block, "norm2", width),
                            .fc1 = take_linear(block, "mlp.fc1", 4 * width, width),
                            .fc2 = take_linear(block, "mlp.fc2", width, 4 * width),
                            .bias = table.index_select(0, index_of).t().reshape({1, stage.heads, tokens, -1})});
    block.ignore("attn.relative_position_index");
    block.ignore("attn_mask");
  }
  if (index + 1 < config_.depths.size()) {
    stage.merge_norm = take_norm(layer, "downsample.norm", 4 * width);
    stage.merge = layer.take("downsample.reduction.weight", {2 * width, 4 * width});
  }
  return stage;
}

Swin::Swin(const engine::WeightReader& weights, const SwinConfig& config) : config_(config) {
  patches_ = {weights.take("patch_embed.proj.weight", {config.width, 3, kSwinPatch, kSwinPatch}),
              weights.take("patch_embed.proj.bias", {config.width})};
  patch_norm_ = take_norm(weights, "patch_embed.norm", config.width);
  for (std::size_t s = 0; s < config.depths.size(); ++s) stages_.push_back(take_stage(weights, s));
  norm_ = take_norm(weights, "norm", config.out_width());
}

at::Tensor Swin::attention(const Stage& stage, const Block& block, const at::Tensor& x, int64_t shift) const {
  const at::Tensor shifted = shift > 0 ? at::roll(x, {-shift, -shift}, {1, 2}) : x;
  const at::Tensor windows = to_windows(shifted, stage.window);
  const int64_t count = windows.size(0), tokens = windows.size(1);
  const at::Tensor qkv =
      apply_linear(windows, block.qkv).view({count, tokens, 3, stage.heads, -1}).permute({2, 0, 3, 1, 4});
  at::Tensor bias = block.bias;
  if (shift > 0) {
    const at::Tensor mask = shift_mask(stage.grid, stage.window, shift).to(x.device());
    bias = (bias + mask).repeat({x.size(0), 1, 1, 1});  // the windows of an image are next to each other
  }
  const at::Tensor seen = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], bias.expand({count, -1, -1, -1}));
  const at::Tensor out = apply_linear(seen.transpose(1, 2).flatten(2), block.proj);
  const at::Tensor grid = from_windows(out, stage.window, stage.grid);
  return shift > 0 ? at::roll(grid, {shift, shift}, {1, 2}) : grid;
}

at::Tensor Swin::forward(const at::Tensor& images) const {
  VORTA_CHECK(images.size(2) == config_.image && images.size(3) == config_.image, "swin: images of another size");
  at::Tensor x = at::conv2d(images, patches_.weight, patches_.bias, kSwinPatch).permute({0, 2, 3, 1}).contiguous();
  x = apply_norm(x, patch_norm_, kSwinEps);
  for (const Stage& stage : stages_) {
    for (std::size_t b = 0; b < stage.blocks.size(); ++b) {
      const Block& block = stage.blocks[b];
      const int64_t shift = b % 2 == 1 && stage.grid > stage.window ? stage.window / 2 : 0;
      x = x + attention(stage, block, apply_norm(x, block.norm1, kSwinEps), shift);
      x = x + apply_linear(at::gelu(apply_linear(apply_norm(x, block.norm2, kSwinEps), block.fc1)), block.fc2);
    }
    if (!stage.merge.defined()) continue;
    const auto corner = [&](int64_t row, int64_t column) {
      return x.slice(1, row, stage.grid, 2).slice(2, column, stage.grid, 2);
    };
    const at::Tensor merged = at::cat({corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)}, -1);
    x = at::linear(apply_norm(merged, stage.merge_norm, kSwinEps), stage.merge);
  }
  x = apply_norm(x.flatten(1, 2), norm_, kSwinEps);
  return at::cat({x.mean(1, /*keepdim=*/true), x}, 1);
}

}  // namespace vorta::metrics
