// SPDX-License-Identifier: Apache-2.0
#include "metrics/temporal/flickering.h"

#include <ATen/ATen.h>

#include "engine/base/error.h"
#include "metrics/core/frames_input.h"

namespace vorta::metrics {

double temporal_flickering(const at::Tensor& frames, const at::Tensor& /*reference*/) {
  check_frames(frames, "temporal_flickering");
  if (frames.size(0) < 2) throw ConfigError("temporal_flickering", "expected at least 2 frames, found 1");
  const at::Tensor bytes = eight_bit(frames);
  double sum = 0.0;
  for (int64_t f = 1; f < bytes.size(0); ++f) {
    // int64 sums are exact, so the score does not depend on the order of pixels or on the number of threads.
    const at::Tensor difference = (bytes[f].to(at::kShort) - bytes[f - 1].to(at::kShort)).abs();
    sum += static_cast<double>(difference.sum().item<int64_t>()) / static_cast<double>(difference.numel());
  }
  return (255.0 - sum / static_cast<double>(bytes.size(0) - 1)) / 255.0;
}

}  // namespace vorta::metrics
