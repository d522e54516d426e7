// SPDX-License-Identifier: Apache-2.0
#include "metrics/temporal/flickering.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"
#include "metrics/core/frames_input.h"

namespace vorta::metrics {

std::vector<double> neighbour_differences(const at::Tensor& bytes) {
  std::vector<double> differences;
  for (int64_t f = 1; f < bytes.size(0); ++f) {
    // int64 sums are exact, so the score does not depend on the order of pixels or on the number of threads.
    const at::Tensor difference = (bytes[f].to(at::kShort) - bytes[f - 1].to(at::kShort)).abs();
    differences.push_back(static_cast<double>(difference.sum().item<int64_t>()) / static_cast<double>(difference.numel()));
  }
  return differences;
}

double flickering_of(const std::vector<double>& differences) {
  double sum = 0.0;
  for (const double difference : differences) sum += difference;
  return (255.0 - sum / static_cast<double>(differences.size())) / 255.0;
}

double temporal_flickering(const at::Tensor& frames, const at::Tensor& /*reference*/) {
  check_frames(frames, "temporal_flickering");
  if (frames.size(0) < 2) throw ConfigError("temporal_flickering", "expected at least 2 frames, found 1");
  return flickering_of(neighbour_differences(eight_bit(frames)));
}

}  // namespace vorta::metrics
