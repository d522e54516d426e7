// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// The text as a CLIP tower reads it: begin token, `ids`, end token, zeros up to `context`; a longer text is cut so that
/// the end token is the last.
std::vector<int64_t> clip_context(const std::vector<int64_t>& ids, int64_t context);

/// VBench's temporal_style and overall_consistency, which differ in their prompts only: the cosine of ViCLIP's features of
/// eight frames and of the prompt.
std::unique_ptr<Scorer> make_clip_similarity(const ScorerSetup& setup);

}  // namespace vorta::metrics
