// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <vector>

#include "metrics/backbones/amt.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// What VBench's motion_smoothness averages: for each odd frame between two even ones, the mean absolute difference of
/// 8-bit values to AMT's prediction from these two. frames: [F, 3, Y, X] uint8, F >= 3. The first frame and, for even
/// F, the last are never compared. @throws ConfigError for fewer frames, or a side below 113 pixels.
std::vector<double> interpolation_errors(const Amt& amt, const at::Tensor& frames);

/// The frame half-way between two, all [1, 3, Y, X] float 0..1, sides multiples of `multiple`.
using Interpolator = std::function<at::Tensor(const at::Tensor& before, const at::Tensor& after)>;
/// The same with another network's frames. @throws ConfigError for fewer than 3 frames.
std::vector<double> interpolation_errors(const Interpolator& between, const at::Tensor& frames, int64_t multiple);
std::unique_ptr<Scorer> smoothness_scorer(std::function<std::vector<double>(const at::Tensor& frames)> errors);

std::unique_ptr<Scorer> make_motion_smoothness(const ScorerSetup& setup);

}  // namespace vorta::metrics
