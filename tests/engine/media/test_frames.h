// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

#include "engine/media/frames.h"
#include "tests/support/temporary_folder.h"

namespace vorta::engine {

/// Smooth colour gradients that move, so that a lossy codec keeps them.
inline Frames moving_gradient(int64_t count, int64_t height, int64_t width) {
  Frames frames{count, height, width, {}, 8};
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        frames.rgb.push_back(static_cast<uint8_t>(40 + 150 * x / width + 3 * t));
        frames.rgb.push_back(static_cast<uint8_t>(60 + 120 * y / height));
        frames.rgb.push_back(static_cast<uint8_t>(200 - 100 * y / height - 2 * t));
      }
    }
  }
  return frames;
}

/// Mean absolute difference of the samples, 0..255.
inline double mean_difference(const Frames& a, const Frames& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(int{a.rgb[i]} - int{b.rgb[i]});
  return sum / static_cast<double>(a.rgb.size());
}

}  // namespace vorta::engine
