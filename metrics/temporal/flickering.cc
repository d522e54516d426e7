// SPDX-License-Identifier: Apache-2.0
#include "metrics/temporal/flickering.h"

#include <ATen/ATen.h>

#include <span>

#include "engine/base/error.h"
#include "metrics/core/frames_input.h"
#include "metrics/temporal/pixel_difference.h"

namespace vorta::metrics {

std::vector<double> neighbour_differences(const at::Tensor& bytes) {
  // Byte sums do not depend on the order of pixels; this one is how decoded frames lie in memory.
  const at::Tensor frames = bytes.permute({0, 2, 3, 1}).contiguous();
  const int64_t count = frames[0].numel();
  const auto frame = [&](int64_t f) {
    return std::span(frames.const_data_ptr<uint8_t>() + f * count, static_cast<std::size_t>(count));
  };
  std::vector<double> differences;
  for (int64_t f = 1; f < frames.size(0); ++f) {
    differences.push_back(static_cast<double>(sum_of_differences(frame(f), frame(f - 1))) / static_cast<double>(count));
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
