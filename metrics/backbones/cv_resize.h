// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>

namespace vorta::metrics {

/// What OpenCV's resize(INTER_LINEAR) makes of 8-bit frames, to the bit: 11-bit coefficients, no antialiasing; exactly
/// half the size on both axes is the mean of 2 x 2 pixels. frames: [F, C, Y, X] uint8 -> [F, C, height, width] uint8,
/// channels-last.
at::Tensor cv_resize(const at::Tensor& frames, int64_t height, int64_t width);

}  // namespace vorta::metrics
