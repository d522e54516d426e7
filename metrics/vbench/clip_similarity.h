// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// VBench's temporal_style and overall_consistency, which differ in their prompts only: the cosine of ViCLIP's features of
/// eight frames and of the prompt.
std::unique_ptr<Scorer> make_clip_similarity(const ScorerSetup& setup);

}  // namespace vorta::metrics
