// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/vit_pyramid.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>

#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

constexpr double kPyramidEps = 1e-6;
constexpr double kLevelEps = 1e-5;
constexpr int64_t kVitPatch = 16;
constexpr int64_t kPretrainedGrid = 14;
constexpr int64_t kGlobalEvery = 3;

// Row i, column j: the embedding of distance i - j, from a table that is stretched when it was made for another size.
at::Tensor relative(const at::Tensor& table, int64_t size) {
  const int64_t rows = 2 * size - 1;
  const at::Tensor fitted =
      table.size(0) == rows ? table : at::upsample_linear1d(table.t().unsqueeze(0), {rows}, false)[0].t();
  const at::Tensor at_index = at::arange(size, table.options().dtype(at::kLong));
  const at::Tensor distance = at_index.unsqueeze(1) - at_index.unsqueeze(0) + (size - 1);
  return fitted.contiguous().index_select(0, distance.flatten()).view({size, size, -1});
}

}  // namespace

VitPyramid::Level VitPyramid::take_level(const engine::WeightReader& weights, std::string_view name) const {
  const int64_t c = config_.channels;
  const auto key = [&](std::string_view part) { return fmt::format("{}_{}", name, part); };
  return {.enter = weights.take(key("conv1.weight"), {c, config_.width, 1, 1}),
          .norm1 = take_norm(weights, key("norm1"), c),
          .conv = {weights.take(key("conv2.weight"), {c, c, 3, 3}).contiguous(kChannelsLast), {}},
          .norm2 = take_norm(weights, key("norm2"), c)};
}

VitPyramid::VitPyramid(const engine::WeightReader& weights, const GritConfig& config) : config_(config) {
  const engine::WeightReader vit = weights.scope("bottom_up");
  const int64_t width = config.width, head = width / config.heads;
  patches_ = {vit.take("patch_embed.proj.weight", {width, 3, kVitPatch, kVitPatch}),
              vit.take("patch_embed.proj.bias", {width})};
  const at::Tensor table = vit.take("pos_embed", {1, 1 + kPretrainedGrid * kPretrainedGrid, width});
  positions_ = table.slice(1, 1).transpose(1, 2).reshape({1, width, kPretrainedGrid, kPretrainedGrid});
  for (int64_t i = 0; i < config.layers; ++i) {
    const engine::WeightReader block = vit.scope("blocks", i);
    const bool windowed = i % kGlobalEvery != kGlobalEvery - 1;
    const int64_t rows = 2 * (windowed ? config.window : config.trained_grid) - 1;
    blocks_.push_back({.norm1 = take_norm(block, "norm1", width),
                       .qkv = take_linear(block, "attn.qkv", 3 * width, width),
                       .proj = take_linear(block, "attn.proj", width, width),
                       .norm2 = take_norm(block, "norm2", width),
                       .fc1 = take_linear(block, "mlp.fc1", 4 * width, width),
                       .fc2 = take_linear(block, "mlp.fc2", width, 4 * width),
                       .rel_height = block.take("attn.rel_pos_h", {rows, head}),
                       .rel_width = block.take("attn.rel_pos_w", {rows, head}),
                       .windowed = windowed});
  }
  fine_ = take_level(weights, "fpn_stride8");
  middle_ = take_level(weights, "fpn_stride16");
  coarse_ = take_level(weights, "fpn_stride32");
  // The transposed convolution and the 1x1 behind it, with nothing between them, are one with a third of the work.
  const at::Tensor up = weights.take("fpn_stride_16_8.weight", {width, width, 2, 2});
  fine_.enter = at::einsum("omyx,imab->ioab", {fine_.enter, up}).contiguous();
  p6_ = take_conv(weights, "top_block.p6", {config.channels, config.channels, 3, 3}, 2);
  p7_ = take_conv(weights, "top_block.p7", {config.channels, config.channels, 3, 3}, 2);
}

at::Tensor VitPyramid::attention(const Block& block, const at::Tensor& x) const {
  constexpr int64_t kMostBiases = int64_t{1} << 24;  // bounds the memory for the biases of the heads at work
  const int64_t batch = x.size(0), h = x.size(1), w = x.size(2), tokens = h * w, heads = config_.heads;
  const at::Tensor qkv = apply_linear(x, block.qkv).reshape({batch, tokens, 3, heads, -1}).permute({2, 0, 3, 1, 4});
  const at::Tensor of_height = relative(block.rel_height, h), of_width = relative(block.rel_width, w);
  const int64_t group = std::clamp<int64_t>(kMostBiases / (batch * tokens * tokens), 1, heads);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < heads; first += group) {
    const at::Tensor some = qkv.slice(2, first, std::min(first + group, heads));
    const at::Tensor grid = some[0].reshape({batch, -1, h, w, some.size(-1)});
    const at::Tensor by_height = at::einsum("bnhwd,hkd->bnhwk", {grid, of_height}).unsqueeze(-1);
    const at::Tensor by_width = at::einsum("bnhwd,wkd->bnhwk", {grid, of_width}).unsqueeze(-2);
    const at::Tensor bias = (by_height + by_width).reshape({batch, -1, tokens, tokens});
    parts.push_back(at::scaled_dot_product_attention(some[0], some[1], some[2], bias));
  }
  return apply_linear(at::cat(parts, 1).transpose(1, 2).reshape({batch, h, w, config_.width}), block.proj);
}

at::Tensor VitPyramid::window_attention(const Block& block, const at::Tensor& x) const {
  const int64_t side = config_.window, h = x.size(1), w = x.size(2), m = x.size(3);
  const int64_t rows = (h + side - 1) / side, columns = (w + side - 1) / side;
  // The padding is attended to like any token.
  const at::Tensor padded = at::constant_pad_nd(x, {0, 0, 0, columns * side - w, 0, rows * side - h});
  const at::Tensor windows =
      padded.reshape({rows, side, columns, side, m}).transpose(1, 2).reshape({-1, side, side, m});
  const at::Tensor out = attention(block, windows).reshape({rows, columns, side, side, m}).transpose(1, 2);
  return out.reshape({1, rows * side, columns * side, m}).slice(1, 0, h).slice(2, 0, w);
}

at::Tensor VitPyramid::finished(const Level& level, const at::Tensor& entered) {
  const auto normed = [](const at::Tensor& x, const Affine& norm) {
    return apply_norm(x.permute({0, 2, 3, 1}), norm, kLevelEps).permute({0, 3, 1, 2});
  };
  return normed(level.conv(normed(entered, level.norm1)), level.norm2);
}

std::vector<at::Tensor> VitPyramid::forward(const at::Tensor& image) const {
  const at::Tensor patches = at::conv2d(image, patches_.weight, patches_.bias, kVitPatch);
  const int64_t h = patches.size(2), w = patches.size(3);
  const bool fits = h == kPretrainedGrid && w == kPretrainedGrid;
  const at::Tensor positions = fits ? positions_ : at::upsample_bicubic2d(positions_, {h, w}, false);
  at::Tensor x = (patches + positions).permute({0, 2, 3, 1}).contiguous();
  for (const Block& block : blocks_) {
    const at::Tensor normed = apply_norm(x, block.norm1, kPyramidEps);
    x = x + (block.windowed ? window_attention(block, normed) : attention(block, normed));
    x = x + apply_linear(at::gelu(apply_linear(apply_norm(x, block.norm2, kPyramidEps), block.fc1)), block.fc2);
  }
  const at::Tensor map = x.permute({0, 3, 1, 2});
  const at::Tensor p3 = finished(fine_, at::conv_transpose2d(map, fine_.enter, {}, 2));
  const at::Tensor p4 = finished(middle_, at::conv2d(map, middle_.enter));
  const at::Tensor p5 = finished(coarse_, at::conv2d(at::max_pool2d(map, 2, 2), coarse_.enter));
  const at::Tensor p6 = p6_(p5);
  std::vector<at::Tensor> levels{p3, p4, p5, p6, p7_(p6.relu())};
  for (at::Tensor& level : levels) level = level.contiguous(kChannelsLast);
  return levels;
}

}  // namespace vorta::metrics
