// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// Features of frames [F, 3, Y, X] uint8 -> [F, E], not normalised.
using FrameFeatures = std::function<at::Tensor(const at::Tensor& frames)>;

/// How alike the frames of a video are: the mean over t >= 1 of (max(0, cos(f[t-1], f[t])) + max(0, cos(f[0], f[t])))
/// / 2. VBench writes the sum and the count of a video's terms beside it for the background, not for the subject.
enum class ConsistencyItem { kSubject, kBackground };
std::unique_ptr<Scorer> consistency_scorer(FrameFeatures features, ConsistencyItem item);

std::unique_ptr<Scorer> make_subject_consistency(const ScorerSetup& setup);
std::unique_ptr<Scorer> make_background_consistency(const ScorerSetup& setup);

}  // namespace vorta::metrics
