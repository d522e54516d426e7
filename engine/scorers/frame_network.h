// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

#include "engine/scorers/parameters.h"

namespace vorta::engine {

/// What the scorers of the embedded model's domain see: frames of this size; others are scaled to it.
inline constexpr int64_t kScorerHeight = 128;
inline constexpr int64_t kScorerWidth = 256;
inline constexpr int64_t kScorerCell = 8;  // pixels a side of a cell of the feature map
inline constexpr int64_t kScorerShapes = 6;
inline constexpr int64_t kScorerColors = 8;
inline constexpr int64_t kScorerBackgrounds = 6;

/// Frames of any size, [F, 3, Y, X] uint8 or float 0..1 -> [F, 3, 128, 256] in -1.5..1.5, channels-last.
at::Tensor scorer_images(const at::Tensor& frames);

/// Everything that is known of single frames, from one trunk of convolutions.
struct FrameOutputs {
  at::Tensor map;          // [F, 80, 16, 32] for the video network
  at::Tensor
      detections;  // [F, 6 + 8 + 3, 16, 32]: shape logits, colour logits, offset x, y in cells, log(radius / 16 pixels)
  at::Tensor subject;  // [F, 64] what the objects are, wherever they are
  at::Tensor background;  // [F, 64] what is behind them
  at::Tensor style;  // [F, 64] compared with texts of styles
  at::Tensor background_logits;  // [F, 6]
};

class FrameNetwork {
 public:
  explicit FrameNetwork(const ParameterSource& source);
  FrameOutputs forward(const at::Tensor& images) const;  // of scorer_images, in the dtype of the weights
  /// Logits of what training asks of the subject: shapes there (6), colours there (8), textures (3), objects (0 to 3).
  at::Tensor subject_attributes(const at::Tensor& subject) const { return attributes_(subject); }
  static constexpr int64_t kAttributes = kScorerShapes + kScorerColors + 3 + 4;
  static constexpr int64_t kMapChannels = 80;
  static constexpr int64_t kEmbedding = 64;

 private:
  ScorerConv stem_;
  ScorerResidual early_;
  ScorerConv down_;
  std::vector<ScorerResidual> late_;
  ScorerConv detect_, detect_out_;
  ScorerConv attend_;
  ScorerLinear subject_, background_, style_, background_logits_, attributes_;
};

/// An object of one frame; coordinates are shares of the frame's sides.
struct FoundObject {
  int64_t shape = 0;
  int64_t color = 0;
  double score = 0;
  double x = 0, y = 0;  // centre
  double half_width = 0, half_height = 0;
};

/// Peaks of the shape logits above `threshold`, best first, for each frame of `detections`.
std::vector<std::vector<FoundObject>> found_objects(const at::Tensor& detections, double threshold = 0.3);

/// Two qualities of a frame by what was done to it in training, each 0..1: `imaging` (blur, noise, blocks, faded) and
/// `form` (bent shapes, ghosts, washed-out colours).
class QualityNetwork {
 public:
  explicit QualityNetwork(const ParameterSource& source);
  at::Tensor forward(const at::Tensor& images) const;  // [F, 2] logits

 private:
  std::vector<ScorerConv> convs_;
  ScorerLinear hidden_, out_;
};

}  // namespace vorta::engine
