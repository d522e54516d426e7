// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// The sizes of a MUSIQ network; the defaults are those of the SPAQ checkpoint.
struct MusiqConfig {
  int64_t width = 384;
  int64_t mlp = 1152;
  int64_t layers = 14;
  int64_t heads = 6;
  int64_t stem = 64;  // channels of the first convolution
};

/// The multi-scale image quality transformer (Ke et al. 2021): patches of 32 pixels of the image at longer sides 224
/// and 384 and at its own size, a small ResNet per patch, a transformer over all patches.
class Musiq {
 public:
  /// Takes every tensor of the checkpoint. @throws DataError on a wrong shape, a missing or an unknown tensor.
  Musiq(const engine::WeightReader& reader, const MusiqConfig& config = {});
  /// images [B, 3, Y, X] 0..1 -> [B]: the mean opinion score, about 0..100.
  at::Tensor scores(const at::Tensor& images) const;

 private:
  struct Block {
    Affine norm1, query, key, value, out, norm2, fc1, fc2;
  };
  // One scale's tokens: patches [B, L, 3, 32, 32] and for each of L its position 0..99.
  struct Tokens {
    at::Tensor patches, positions;
  };
  static Tokens tokens_of(const at::Tensor& images);
  at::Tensor embed(const at::Tensor& patches) const;

  MusiqConfig config_;
  at::Tensor conv_root_, conv1_, conv2_, conv3_, conv_proj_;  // weight-standardised
  Affine gn_root_, gn1_, gn2_, gn3_, gn_proj_;
  Affine embedding_, encoder_norm_, head_;
  at::Tensor cls_, position_emb_, scale_emb_;
  std::vector<Block> blocks_;
};

}  // namespace vorta::metrics
