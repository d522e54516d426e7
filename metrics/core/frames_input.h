// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string_view>

namespace vorta::metrics {

/// Throws ConfigError naming `metric` unless `frames` is [F, 3, Y, X] uint8 or float with F, Y, X > 0; DataError when
/// float frames hold NaN or infinity.
void check_frames(const at::Tensor& frames, std::string_view metric);
/// check_frames for both, and the shapes must be equal.
void check_pair(const at::Tensor& frames, const at::Tensor& reference, std::string_view metric);

/// [F, 3, Y, X] -> double 0..1: uint8 divided by 255, floats clamped to 0..1.
at::Tensor unit_range(const at::Tensor& frames);
/// [F, 3, Y, X] -> uint8: what an 8-bit file of these frames holds (floats clamped, times 255, rounded).
at::Tensor eight_bit(const at::Tensor& frames);

}  // namespace vorta::metrics
