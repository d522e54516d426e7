// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <vector>

namespace vorta::metrics {

/// The mean absolute difference of every frame of [F, 3, Y, X] uint8 and the one before it, 0..255, F - 1 of them.
std::vector<double> neighbour_differences(const at::Tensor& bytes);
/// (255 - mean of the differences) / 255.
double flickering_of(const std::vector<double>& differences);

/// VBench's temporal_flickering of one video: (255 - mean over neighbouring frames of the mean absolute difference of
/// 8-bit values) / 255, in 0..1. VBench reports it for prompts of static scenes; a moving scene scores lower without
/// flickering. Floats are rounded to 8 bits first. Needs two frames. `reference` is not used.
double temporal_flickering(const at::Tensor& frames, const at::Tensor& reference);

}  // namespace vorta::metrics
