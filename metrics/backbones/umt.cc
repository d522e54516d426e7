// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/umt.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace {

constexpr double kUmtEps = 1e-6;
constexpr int64_t kUmtMlpRatio = 4;
constexpr int64_t kPretrainedFrames = 8;

}  // namespace

at::Tensor umt_positions(int64_t frames, int64_t grid, int64_t width) {
  const int64_t tokens = kPretrainedFrames * grid * grid;
  const at::Tensor pairs = at::arange(width / 2, at::kDouble) * 2.0 / static_cast<double>(width);
  const at::Tensor angles = at::arange(tokens, at::kDouble).unsqueeze(1) / at::pow(at::Scalar(10000.0), pairs);
  const at::Tensor table = at::stack({angles.sin(), angles.cos()}, -1).to(at::kFloat).view({kPretrainedFrames, -1});
  const at::Tensor over_time = at::upsample_linear1d(table.t().unsqueeze(0), {frames}, /*align_corners=*/false);
  return over_time[0].t().reshape({1, frames * grid * grid, width});
}

Umt::Umt(const engine::WeightReader& weights, const UmtConfig& config) : config_(config) {
  const int64_t width = config.width;
  patches_ = {weights.take("patch_embed.proj.weight", {width, 3, 1, config.patch, config.patch}).squeeze(2),
              weights.take("patch_embed.proj.bias", {width})};
  positions_ = weights.has("pos_embed")
                   ? weights.take("pos_embed", {1, config.frames * config.grid * config.grid, width})
                   : umt_positions(config.frames, config.grid, width).to(patches_.weight.device());
  for (int64_t i = 0; i < config.layers; ++i) {
    const engine::WeightReader block = weights.scope("blocks", i);
    const at::Tensor q_bias = block.take("attn.q_bias", {width}), v_bias = block.take("attn.v_bias", {width});
    blocks_.push_back(
        {.norm1 = take_norm(block, "norm1", width),
         .qkv = {block.take("attn.qkv.weight", {3 * width, width}), at::cat({q_bias, at::zeros_like(v_bias), v_bias})},
         .proj = take_linear(block, "attn.proj", width, width),
         .norm2 = take_norm(block, "norm2", width),
         .fc1 = take_linear(block, "mlp.fc1", kUmtMlpRatio * width, width),
         .fc2 = take_linear(block, "mlp.fc2", width, kUmtMlpRatio * width)});
  }
  norm_ = take_norm(weights, "fc_norm", width);
  head_ = take_linear(weights, "head", config.classes, width);
  weights.finish();
}

at::Tensor Umt::logits(const at::Tensor& clip) const {
  const int64_t side = config_.grid * config_.patch;
  VORTA_CHECK((clip.sizes() == at::IntArrayRef{config_.frames, 3, side, side}), "umt: a clip of another size");
  const at::Tensor images = clip.to(positions_.device(), at::kFloat);
  const at::Tensor patches = at::conv2d(images, patches_.weight, patches_.bias, config_.patch);  // [T, M, grid, grid]
  at::Tensor x = patches.flatten(2).transpose(1, 2).reshape({1, -1, config_.width}) + positions_;
  for (const Block& block : blocks_) {
    const auto qkv = apply_linear(apply_norm(x, block.norm1, kUmtEps), block.qkv).chunk(3, -1);
    x = x + apply_linear(attend(qkv[0], qkv[1], qkv[2], config_.heads), block.proj);
    x = x + apply_linear(at::gelu(apply_linear(apply_norm(x, block.norm2, kUmtEps), block.fc1)), block.fc2);
  }
  return apply_linear(apply_norm(x.mean(1), norm_, kUmtEps), head_)[0];
}

}  // namespace vorta::metrics
