// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>

#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Sizes of ViCLIP; the defaults are ViT-L/14 on 8 frames of 224 x 224. Heads are 64 wide.
struct ViclipConfig {
  int64_t width = 1024;
  int64_t layers = 24;
  int64_t patch = 14;
  int64_t grid = 16;
  int64_t frames = 8;
  int64_t embedding = 768;
  int64_t text_width = 768;
  int64_t text_layers = 12;
  int64_t context = 32;
  int64_t vocabulary = 49408;
};

/// ViCLIP (Wang et al. 2023, "InternVid"): one feature space for clips and texts.
class Viclip {
 public:
  /// The names and shapes of the dict `model` of ViClip-InternVid-10M-FLT.pth; all are needed and no others may be
  /// there. Float32. @throws DataError naming the source and the tensor.
  explicit Viclip(const engine::WeightReader& weights, const ViclipConfig& config = {});

  /// clip: [frames, 3, grid * patch, grid * patch] normalised -> [embedding], of length 1.
  at::Tensor clip_feature(const at::Tensor& clip) const;
  /// tokens: [context] int64, zeros after the end -> [embedding], of length 1: the feature at the largest id.
  at::Tensor text_feature(const at::Tensor& tokens) const;

 private:
  struct Vision {
    Vision(const engine::WeightReader& weights, const ViclipConfig& config);
    at::Tensor class_embedding, positions, times, proj, patches;
    Affine ln_pre, ln_post;
    ClipBlocks blocks;
  };
  struct Text {
    Text(const engine::WeightReader& weights, const ViclipConfig& config);
    at::Tensor tokens, positions, proj;
    Affine ln_final;
    ClipBlocks blocks;
  };

  ViclipConfig config_;
  Vision vision_;
  Text text_;
};

}  // namespace vorta::metrics
