// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "engine/text/clip_tokenizer.h"
#include "metrics/backbones/viclip.h"
#include "metrics/core/scorer.h"

namespace vorta::metrics {

/// VBench's temporal_style and overall_consistency, which differ in their prompts only: the cosine of ViCLIP's features
/// of eight frames and of the prompt. How alike a video and its prompt are, by whatever network.
using VideoTextSimilarity = std::function<double(const VideoInput& video)>;
std::unique_ptr<Scorer> similarity_scorer(VideoTextSimilarity similarity);

/// By a ViCLIP of any size.
std::unique_ptr<Scorer> similarity_scorer(std::shared_ptr<const Viclip> viclip,
                                          std::shared_ptr<const engine::ClipTokenizer> tokenizer);

std::unique_ptr<Scorer> make_clip_similarity(const ScorerSetup& setup);

}  // namespace vorta::metrics
