// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// The flickering metric as a dimension: its detail is the mean absolute difference of every pair of neighbours,
/// 0..255.
std::unique_ptr<Scorer> make_temporal_flickering(const ScorerSetup& setup);

}  // namespace vorta::metrics
