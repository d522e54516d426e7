// SPDX-License-Identifier: Apache-2.0
#include "metrics/core/frames_input.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/base/error.h"

namespace vorta::metrics {

void check_frames(const at::Tensor& frames, std::string_view metric) {
  if (!frames.defined()) throw ConfigError(metric, "expected frames [F, 3, Y, X], found none");
  const bool shaped = frames.dim() == 4 && frames.size(1) == 3 && frames.numel() > 0;
  if (!shaped) {
    throw ConfigError(metric, fmt::format("expected frames [F, 3, Y, X], found [{}]", fmt::join(frames.sizes(), ", ")));
  }
  if (frames.scalar_type() != at::kByte && !frames.is_floating_point()) {
    throw ConfigError(metric,
                      fmt::format("expected uint8 or float frames, found {}", c10::toString(frames.scalar_type())));
  }
  if (frames.is_floating_point() && !frames.isfinite().all().item<bool>()) {
    throw DataError(metric, "expected finite frames, found NaN or infinity");
  }
}

void check_pair(const at::Tensor& frames, const at::Tensor& reference, std::string_view metric) {
  check_frames(frames, metric);
  check_frames(reference, metric);
  if (frames.sizes() != reference.sizes()) {
    throw ConfigError(metric, fmt::format("expected frames and reference of one shape, found [{}] and [{}]",
                                          fmt::join(frames.sizes(), ", "), fmt::join(reference.sizes(), ", ")));
  }
}

at::Tensor unit_range(const at::Tensor& frames) {
  if (frames.scalar_type() == at::kByte) return frames.to(at::kDouble) / 255.0;
  return frames.to(at::kDouble).clamp(0.0, 1.0);
}

at::Tensor eight_bit(const at::Tensor& frames) {
  if (frames.scalar_type() == at::kByte) return frames;
  return (frames.to(at::kFloat).clamp(0.0, 1.0) * 255.0).round().to(at::kByte);
}

}  // namespace vorta::metrics
