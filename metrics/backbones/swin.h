// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <vector>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Sizes of a Swin Transformer; the defaults are Swin-B on 384 x 384.
struct SwinConfig {
  int64_t image = 384;
  int64_t width = 128;  // of the first stage; every stage doubles it
  int64_t window = 12;
  std::array<int64_t, 4> depths{2, 2, 18, 2};
  std::array<int64_t, 4> heads{4, 8, 16, 32};
  int64_t out_width() const { return width * 8; }
};

/// Swin Transformer (Liu et al. 2021) without its classifier.
class Swin {
 public:
  /// `weights` is scoped to the encoder; the tables relative_position_index and attn_mask are computed, not read.
  Swin(const engine::WeightReader& weights, const SwinConfig& config);

  /// images: [B, 3, S, S] normalised -> [B, 1 + (S / 32)^2, out_width]: the mean of the tokens, then the tokens.
  at::Tensor forward(const at::Tensor& images) const;

 private:
  struct Block {
    Affine norm1, qkv, proj, norm2, fc1, fc2;
    at::Tensor bias;  // [1, heads, window^2, window^2] by relative position
  };
  struct Stage {
    std::vector<Block> blocks;
    int64_t heads = 0, grid = 0, window = 0;
    Affine merge_norm;
    at::Tensor merge;  // [2 M, 4 M]; undefined in the last stage
  };
  Stage take_stage(const engine::WeightReader& weights, std::size_t index) const;
  at::Tensor attention(const Stage& stage, const Block& block, const at::Tensor& x, int64_t shift) const;

  SwinConfig config_;
  Affine patches_, patch_norm_, norm_;
  std::vector<Stage> stages_;
};

}  // namespace vorta::metrics
