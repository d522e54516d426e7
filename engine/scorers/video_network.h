// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "engine/scorers/frame_network.h"
#include "engine/scorers/parameters.h"

namespace vorta::engine {

inline constexpr int64_t kScorerFrames = 8;    // of a video, from the middle of equal intervals
inline constexpr int64_t kScorerMotions = 12;
inline constexpr int64_t kScorerTextTokens = 40;

/// A video as the joint space sees it.
struct VideoOutputs {
  at::Tensor whole;     // [B, 96] compared with whole descriptions
  at::Tensor temporal;  // [B, 96] compared with descriptions of motion and camera
  at::Tensor motion;    // [B, 12] logits, each motion by itself
};

/// Where the objects of every frame are on the whole, by the peaks of its detections [B, 8, 17, 16, 32]: x and y from
/// the middle, radius, count, [B, 8, 4] in float32 without gradients. The order of places in time is what tells left
/// from right.
at::Tensor object_paths(const at::Tensor& detections);

/// A transformer over the feature maps of eight frames, and beside it the paths of the objects.
class VideoNetwork {
 public:
  explicit VideoNetwork(const ParameterSource& source);
  VideoOutputs forward(const at::Tensor& maps, const at::Tensor& paths) const;  // [B, 8, 80, 16, 32], [B, 8, 4]
  static constexpr int64_t kEmbedding = 96;

 private:
  ScorerConv first_, second_;
  at::Tensor places_, times_, summary_;  // [32, D], [8, D], [1, D]
  std::vector<ScorerBlock> blocks_;
  at::Tensor norm_[2];
  ScorerLinear path_in_, path_out_, whole_, temporal_, motion_hidden_, motion_;
};

/// A text in the same three spaces.
struct TextOutputs {
  at::Tensor whole;     // [B, 96]
  at::Tensor temporal;  // [B, 96]
  at::Tensor style;     // [B, 64]
};

class TextNetwork {
 public:
  TextNetwork(const ParameterSource& source, int64_t words);
  TextOutputs forward(const at::Tensor& ids) const;  // [B, S] int64, S <= 40, 0 is padding
  /// Factors of cosines in training: whole, temporal, style. Scores are cosines without them.
  at::Tensor scales() const { return scales_.exp(); }

 private:
  at::Tensor words_, places_, scales_;
  std::vector<ScorerBlock> blocks_;
  at::Tensor norm_[2];
  ScorerLinear whole_, temporal_, style_;
};

}  // namespace vorta::engine
