// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Sizes of UMT's classifier; the defaults are ViT-L/16 on 16 frames of 224 x 224 for Kinetics-400.
struct UmtConfig {
  int64_t width = 1024;
  int64_t layers = 24;
  int64_t heads = 16;
  int64_t frames = 16;
  int64_t patch = 16;
  int64_t grid = 14;
  int64_t classes = 400;
};

/// UMT (Li et al. 2023, "Unmasked Teacher"): which action a clip shows.
class Umt {
 public:
  /// The names and shapes of l16_ptk710_ftk710_ftk400_f16_res224.pth; all but pos_embed are needed and no others may be
  /// there. Without pos_embed the table is umt_positions(). Float32. @throws DataError naming the source and the
  /// tensor.
  explicit Umt(const engine::WeightReader& weights, const UmtConfig& config = {});

  /// clip: [frames, 3, grid * patch, grid * patch] normalised -> [classes] logits.
  at::Tensor logits(const at::Tensor& clip) const;

 private:
  struct Block {
    Affine norm1, qkv, proj, norm2, fc1, fc2;
  };
  UmtConfig config_;
  at::Tensor positions_;  // [1, frames * grid^2, width]
  Affine patches_, norm_, head_;
  std::vector<Block> blocks_;
};

/// Sines and cosines of 8 frames of grid^2 patches, stretched linearly over `frames`: [1, frames * grid^2, width].
at::Tensor umt_positions(int64_t frames, int64_t grid, int64_t width);

}  // namespace vorta::metrics
