// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "metrics/backbones/conv.h"
#include "metrics/backbones/grit_config.h"
#include "metrics/vbench/vision_blocks.h"

namespace vorta::metrics {

/// Boxes [N, 4] and scores [N], float32 on the CPU, best score first.
struct ScoredBoxes {
  at::Tensor boxes;
  at::Tensor scores;
};

/// GRiT's class-agnostic proposals (CenterNet2, Zhou et al. 2021): every cell of five levels proposes a box.
class BoxProposals {
 public:
  /// `weights` is scoped to "proposal_generator.centernet_head".
  BoxProposals(const engine::WeightReader& weights, const GritConfig& config);
  /// levels: as of VitPyramid. Not clipped to the image.
  ScoredBoxes forward(const std::vector<at::Tensor>& levels) const;

 private:
  ScoredBoxes propose(const at::Tensor& level, std::size_t index) const;

  std::vector<std::pair<Conv2d, Affine>> tower_;
  Conv2d heat_, sides_;
  std::vector<double> scales_;
};

/// GRiT's three stages of box refinement (Cascade R-CNN, Cai and Vasconcelos 2018).
class BoxCascade {
 public:
  /// `weights` is scoped to "roi_heads".
  BoxCascade(const engine::WeightReader& weights, const GritConfig& config);
  /// Objects with a score above 0.5 in an image of height x width; `levels` are the three finest, on the CPU.
  ScoredBoxes forward(const std::vector<at::Tensor>& levels, const ScoredBoxes& proposals, int64_t height,
                      int64_t width) const;

 private:
  struct Stage {
    Affine fc1, fc2, score, box1, box2;
  };
  std::vector<Stage> stages_;
};

}  // namespace vorta::metrics
