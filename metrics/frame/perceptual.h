// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>

#include "engine/weights/weight_reader.h"

namespace vorta::metrics {

// Fidelity as networks see it, with the user's weights. The first four load them from ScorerWeights::from_environment()
// once a process, in float32 on the CPU. @throws MachineError when a file is missing, ConfigError for frames that do
// not fit.

/// Mean over frames of 1 - cosine of the CLIP ViT-B/32 features (VBench's transform of float frames).
double clip_distance(const at::Tensor& frames, const at::Tensor& reference);
/// Mean over frames of 1 - cosine of the DINO ViT-B/16 features (VBench's transform).
double dino_distance(const at::Tensor& frames, const at::Tensor& reference);
/// Mean over frames of LPIPS 0.1 (Zhang et al. 2018) with AlexNet on -1..1, as PyPI's lpips computes it.
double lpips(const at::Tensor& frames, const at::Tensor& reference);
/// Mean over neighbouring frames of masked_difference with the flows of `reference` (RAFT, 20 iterations). Not 0 for
/// equal frames: the reference's own value is what a run is compared with. Sides of at least 121 pixels.
double warp_error(const at::Tensor& frames, const at::Tensor& reference);

/// features [F, M] of frames and of their reference -> mean over frames of 1 - cosine.
double feature_distance(const at::Tensor& features, const at::Tensor& reference);

/// AlexNet's five convolutions and LPIPS's weights of their channels.
class Lpips {
 public:
  /// The state dicts of torchvision's AlexNet (the classifier is not used) and of lpips' v0.1/alex.pth. Float32.
  Lpips(const engine::WeightReader& alexnet, const engine::WeightReader& heads);
  /// frames, reference: [F, 3, Y, X] float32 -1..1, sides of at least 31 pixels -> [F] double.
  at::Tensor distance(const at::Tensor& frames, const at::Tensor& reference) const;

 private:
  static constexpr std::size_t kLayers = 5;
  std::array<at::Tensor, kLayers> features(const at::Tensor& images) const;  // channels of length 1 at every pixel

  std::array<at::Tensor, kLayers> weights_, biases_, heads_;
};

/// How much `next` (both [1, 3, Y, X] float32 0..1), drawn back along the flow `forward` from `now` to it, differs from
/// `now`: the mean over channels of squared differences, over the pixels that the flow leads inside the frame and back
/// to within |forward + backward|^2 < 0.01 (|forward|^2 + |backward|^2) + 0.5 (`backward` taken where the flow leads).
/// Flows are [1, 2, Y, X] pixels. Sum and count of those pixels.
struct MaskedDifference {
  double sum = 0.0;
  double pixels = 0.0;
};
MaskedDifference masked_difference(const at::Tensor& now, const at::Tensor& next, const at::Tensor& forward,
                                   const at::Tensor& backward);

}  // namespace vorta::metrics
