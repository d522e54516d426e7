// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <memory>
#include <vector>

#include "metrics/backbones/amt.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// What VBench's motion_smoothness averages: for each odd frame between two even ones, the mean absolute difference of
/// 8-bit values to AMT's prediction from these two. frames: [F, 3, Y, X] uint8, F >= 3. The first frame and, for even F,
/// the last are never compared. @throws ConfigError for fewer frames, or a side below 113 pixels.
std::vector<double> interpolation_errors(const Amt& amt, const at::Tensor& frames);

std::unique_ptr<Scorer> make_motion_smoothness(const ScorerSetup& setup);

}  // namespace vorta::metrics
