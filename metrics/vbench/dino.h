// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// The sizes of a DINO vision transformer; the defaults are ViT-B/16.
struct DinoConfig {
  int64_t width = 768;
  int64_t layers = 12;
  int64_t heads = 12;
  int64_t patch = 16;
  int64_t grid = 14;  // of the stored positions
};

/// DINO's image encoder (Caron et al. 2021): pre-norm blocks, LayerNorm eps 1e-6, exact GELU, any image size.
class Dino {
 public:
  /// Takes every tensor of the checkpoint. @throws DataError on a wrong shape, a missing or an unknown tensor.
  Dino(const engine::WeightReader& reader, const DinoConfig& config = {});
  /// images [B, 3, Y, X] normalised -> [B, M]: the class token after the last norm.
  at::Tensor features(const at::Tensor& images) const;

 private:
  struct Block {
    Affine norm1, qkv, proj, norm2, fc1, fc2;
  };
  at::Tensor positions(int64_t height, int64_t width) const;

  DinoConfig config_;
  at::Tensor cls_token_, pos_embed_;
  Affine patch_embed_, norm_;
  std::vector<Block> blocks_;
};

}  // namespace vorta::metrics
