// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <vector>

namespace vorta::metrics {

// Boxes are [N, 4] float32 on the CPU: x1, y1, x2, y2 in pixels.

/// Greedy non-maximum suppression: indices [K] int64 of the kept boxes, best score first. A box goes when its
/// intersection over union with a kept better one is above `threshold`; of equal scores the earlier box is better.
/// scores: [N] float32.
at::Tensor suppress_overlaps(const at::Tensor& boxes, const at::Tensor& scores, double threshold);

/// Boxes moved and resized by deltas [N, 4]: centre by d / weight of the size, size by exp(min(d / weight, log(1000 /
/// 16))).
at::Tensor apply_deltas(const at::Tensor& boxes, const at::Tensor& deltas, const std::array<double, 4>& weights);

/// Clamped to 0..width and 0..height.
at::Tensor clip_boxes(const at::Tensor& boxes, int64_t height, int64_t width);

/// RoIAlign (He et al. 2017, aligned pixel centres, one sample a feature pixel) of each box in the level that suits its
/// size: 224 pixels are the second level, every doubling one more. levels: [1, C, Y, X] float32 CPU, channels-last, of
/// strides 8, 16, 32, .. -> [N, side * side, C].
at::Tensor roi_align(const std::vector<at::Tensor>& levels, const at::Tensor& boxes, int64_t side);

}  // namespace vorta::metrics
