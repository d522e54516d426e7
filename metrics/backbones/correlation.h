// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <vector>

namespace vorta::metrics {

/// Correlation of every pixel of one feature map with every pixel of another, at several scales, and windows of it:
/// RAFT (Teed and Deng 2020), section 3.2. The memory is 4/3 (H W)^2 floats.
class CorrelationPyramid {
 public:
  /// first, second: [1, C, H, W] float32. Level l holds dot products / sqrt(C), averaged over 2^l x 2^l pixels of
  /// `second`. Every level must keep two pixels a side: H, W >= 2^levels.
  CorrelationPyramid(const at::Tensor& first, const at::Tensor& second, int64_t levels);

  /// Bilinear samples in a window of (2 radius + 1)^2 offsets around coords / 2^level, zero outside the map.
  /// coords: [1, 2, H, W], x then y, in pixels of `second` -> [1, levels * (2 radius + 1)^2, H, W] channels-last. In a
  /// level's channels the first window axis moves x and the second y.
  at::Tensor lookup(const at::Tensor& coords, int64_t radius) const;

  /// The same by grid_sample, for any device: the definition.
  at::Tensor sampled_lookup(const at::Tensor& coords, int64_t radius) const;

 private:
  int64_t height_;
  int64_t width_;
  std::vector<at::Tensor> levels_;  // [H W, H / 2^l, W / 2^l]
};

/// Pixel coordinates, x then y: [1, 2, H, W] float32 channels-last.
at::Tensor pixel_coords(int64_t height, int64_t width, at::Device device);

}  // namespace vorta::metrics
