// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// The sizes of an OpenAI CLIP model; the defaults are ViT-B/32.
struct ClipConfig {
  int64_t embedding = 512;
  int64_t image_width = 768;
  int64_t image_layers = 12;
  int64_t patch = 32;
  int64_t grid = 7;
  int64_t text_width = 512;
  int64_t text_layers = 12;
  int64_t context = 77;
  int64_t vocabulary = 49408;
};
inline constexpr ClipConfig kClipB32{};
inline constexpr ClipConfig kClipL14{
    .embedding = 768, .image_width = 1024, .image_layers = 24, .patch = 14, .grid = 16, .text_width = 768};

/// CLIP's image tower. Heads are 64 wide.
class ClipImageTower {
 public:
  /// `visual` is scoped to the tower: "visual".
  ClipImageTower(const engine::WeightReader& visual, const ClipConfig& config);
  /// images [B, 3, grid * patch, grid * patch] normalised -> [B, E], not normalised.
  at::Tensor features(const at::Tensor& images) const;

 private:
  ClipConfig config_;
  at::Tensor conv1_, class_embedding_, positional_embedding_, proj_;
  Affine ln_pre_, ln_post_;
  ClipBlocks blocks_;
};

/// CLIP's text tower. Heads are 64 wide.
class ClipTextTower {
 public:
  /// `reader` is scoped to token_embedding, positional_embedding, transformer, ln_final and text_projection.
  ClipTextTower(const engine::WeightReader& reader, const ClipConfig& config);
  /// tokens [B, context] int64, zeros after the end -> [B, E]: the feature at the largest id, not normalised.
  at::Tensor features(const at::Tensor& tokens) const;

 private:
  at::Tensor token_embedding_, positional_embedding_, text_projection_;
  ClipBlocks blocks_;
  Affine ln_final_;
};

/// A whole CLIP checkpoint: every tensor is accounted for, the text tower kept when asked for.
struct Clip {
  enum class Towers { kImage, kBoth };
  /// @throws DataError on a wrong shape, a missing or an unknown tensor.
  Clip(const engine::WeightReader& reader, const ClipConfig& config, Towers towers);

  ClipImageTower image;
  std::optional<ClipTextTower> text;
  double logit_scale;  // exp of the stored logarithm, in float32
};

}  // namespace vorta::metrics
