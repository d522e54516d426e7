// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <vector>

#include "engine/scorers/parameters.h"

namespace vorta::engine {

/// Optical flow: features at a quarter and an eighth of the frame, the inner products of all pairs of eighths within
/// three cells, a coarse flow of those, and one refinement at a quarter by what the second frame shows there.
class FlowNetwork {
 public:
  /// A frame's features, computed once for both of its pairs.
  struct Features {
    at::Tensor quarter;  // [B, 32, Y / 4, X / 4]
    at::Tensor eighth;   // [B, 64, Y / 8, X / 8]
  };
  struct Flow {
    at::Tensor coarse;  // [B, 2, Y / 8, X / 8] in pixels of the frame, x then y
    at::Tensor fine;    // [B, 2, Y / 4, X / 4]
  };
  static constexpr int64_t kStride = 4;

  explicit FlowNetwork(const ParameterSource& source);
  Features encode(const at::Tensor& images) const;  // of scorer_images
  Flow flow(const Features& from, const Features& to) const;

 private:
  ScorerConv stem_, quarter_;
  ScorerResidual quarter_block_;
  ScorerConv eighth_;
  ScorerResidual eighth_block_;
  std::vector<ScorerConv> coarse_, fine_;
};

}  // namespace vorta::engine
