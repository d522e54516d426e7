// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>

#include <cmath>
#include <filesystem>
#include <string>

#include "engine/media/frames.h"

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

/// A folder that goes away with its content.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vorta-media-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  std::size_t entries() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(path_)) ++count;
    return count;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace vorta::engine
