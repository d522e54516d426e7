// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/dino.h"

#include <ATen/ATen.h>

#include <string>

namespace vorta::metrics {
namespace {

constexpr double kDinoEps = 1e-6;
constexpr int64_t kDinoMlpRatio = 4;

}  // namespace

Dino::Dino(const engine::WeightReader& reader, const DinoConfig& config) : config_(config) {
  const int64_t width = config.width;
  cls_token_ = reader.take("cls_token", {1, 1, width});
  pos_embed_ = reader.take("pos_embed", {1, 1 + config.grid * config.grid, width});
  patch_embed_ = {reader.take("patch_embed.proj.weight", {width, 3, config.patch, config.patch}),
                  reader.take("patch_embed.proj.bias", {width})};
  for (int64_t i = 0; i < config.layers; ++i) {
    const engine::WeightReader block = reader.scope("blocks", i);
    blocks_.push_back({.norm1 = take_norm(block, "norm1", width),
                       .qkv = take_linear(block, "attn.qkv", 3 * width, width),
                       .proj = take_linear(block, "attn.proj", width, width),
                       .norm2 = take_norm(block, "norm2", width),
                       .fc1 = take_linear(block, "mlp.fc1", kDinoMlpRatio * width, width),
                       .fc2 = take_linear(block, "mlp.fc2", width, kDinoMlpRatio * width)});
  }
  norm_ = take_norm(reader, "norm", width);
  reader.finish();
}

// The stored positions for height x width patches -> [1, 1 + patches, M]. The factors carry DINO's + 0.1, and the
// resampling uses them instead of the ratio of the sizes.
at::Tensor Dino::positions(int64_t height, int64_t width) const {
  if (height == width && height * width == config_.grid * config_.grid) return pos_embed_;
  const at::Tensor grid =
      pos_embed_.slice(1, 1).view({1, config_.grid, config_.grid, config_.width}).permute({0, 3, 1, 2});
  const auto stored = static_cast<double>(config_.grid);
  const double factors[] = {(static_cast<double>(height) + 0.1) / stored, (static_cast<double>(width) + 0.1) / stored};
  const at::Tensor resized =
      at::upsample_bicubic2d(grid, std::nullopt, /*align_corners=*/false, at::ArrayRef<double>(factors));
  return at::cat({pos_embed_.slice(1, 0, 1), resized.flatten(2).transpose(1, 2)}, 1);
}

at::Tensor Dino::features(const at::Tensor& images) const {
  const at::Tensor patches = at::conv2d(images, patch_embed_.weight, patch_embed_.bias, config_.patch);
  at::Tensor x =
      at::cat({cls_token_.expand({images.size(0), 1, config_.width}), patches.flatten(2).transpose(1, 2)}, 1);
  x = x + positions(patches.size(2), patches.size(3));
  for (const Block& block : blocks_) {
    const Wanted wanted = &block == &blocks_.back() ? Wanted::kFirstToken : Wanted::kAllTokens;
    const at::Tensor attended = attend_self(apply_norm(x, block.norm1, kDinoEps), block.qkv, config_.heads, wanted);
    x = wanted_tokens(x, wanted) + apply_linear(attended, block.proj);
    at::Tensor hidden = apply_linear(apply_norm(x, block.norm2, kDinoEps), block.fc1);
    x += apply_linear(at::gelu_(hidden), block.fc2);
  }
  return apply_norm(x.select(1, 0), norm_, kDinoEps);
}

}  // namespace vorta::metrics
