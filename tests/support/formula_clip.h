// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>

namespace vorta::tests {

/// The clip of the golden scripts of tests/golden: [frames, 3, height, width] uint8.
inline at::Tensor formula_clip(int64_t frames, int64_t height, int64_t width, int64_t salt = 0) {
  const auto axis = [](int64_t size, at::IntArrayRef shape) { return at::arange(size, at::kLong).view(shape); };
  const at::Tensor f = axis(frames, {-1, 1, 1, 1}), c = axis(3, {1, -1, 1, 1});
  const at::Tensor y = axis(height, {1, 1, -1, 1}), x = axis(width, {1, 1, 1, -1});
  const at::Tensor smooth = 96 + 4 * x + 3 * y + 5 * f + 20 * c;
  const at::Tensor detail = (x * y * 3 + f * 7 + c * 11 + x * salt).remainder(29);
  return (smooth + detail).remainder(256).to(at::kByte).contiguous();
}

}  // namespace vorta::tests
