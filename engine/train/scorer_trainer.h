// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "engine/train/train_loop.h"

namespace vorta::engine {

/// Training of the networks that score the embedded model's videos, all at once, on rendered clips with their truth.
struct ScorerTraining {
  TrainOptions options;
  int64_t batch = 32;           // clips rendered for a step,
  int64_t replay = 2;           // and so many batches of earlier steps learnt from again
  int64_t memory = 64;          // batches that are kept for that
  int64_t render_ahead = 3;     // batches rendered in the background, one a CPU core
  int64_t evaluation_clips = 64;
  std::filesystem::path init;   // folder of scorers to start from; none: random weights. What they lack is drawn
  std::string only;             // train this network alone: frame, quality, video, text or flow; empty: all
};

/// Trains and writes <output>/scorers: config.json with the label set, scorers.safetensors in bf16, tokenizer/.
/// @throws DataError when `init` is not the scorers', ConfigError for an unknown `only`.
TrainSummary train_scorer(const ScorerTraining& training);

}  // namespace vorta::engine
