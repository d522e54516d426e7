// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string_view>
#include <vector>

#include "metrics/backbones/conv.h"
#include "metrics/backbones/grit_config.h"
#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// GRiT's backbone: a plain ViT whose one feature map becomes a pyramid (ViTDet, Li et al. 2022).
class VitPyramid {
 public:
  /// `weights` is scoped to "backbone".
  VitPyramid(const engine::WeightReader& weights, const GritConfig& config);

  /// image: [1, 3, Y, X] normalised, sides multiples of 32 -> five levels [1, channels, Y / s, X / s] (rounded up),
  /// channels-last, of strides s = 8, 16, 32, 64, 128.
  std::vector<at::Tensor> forward(const at::Tensor& image) const;
  at::Device device() const { return patches_.weight.device(); }

 private:
  struct Block {
    Affine norm1, qkv, proj, norm2, fc1, fc2;
    at::Tensor rel_height, rel_width;  // [2 S - 1, D]
    bool windowed;
  };
  struct Level {  // 1x1 (or the upsampling), norm, 3x3, norm; no biases
    at::Tensor enter;
    Affine norm1;
    Conv2d conv;
    Affine norm2;
  };
  Level take_level(const engine::WeightReader& weights, std::string_view name) const;
  at::Tensor attention(const Block& block, const at::Tensor& x) const;       // [B, H, W, M] -> the same
  at::Tensor window_attention(const Block& block, const at::Tensor& x) const;
  static at::Tensor finished(const Level& level, const at::Tensor& entered);

  GritConfig config_;
  Affine patches_;
  at::Tensor positions_;  // [1, M, 14, 14]
  std::vector<Block> blocks_;
  Level fine_, middle_, coarse_;
  Conv2d p6_, p7_;
};

}  // namespace vorta::metrics
