// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

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
};

/// Trains and writes <output>/scorers: config.json with the label set, scorers.safetensors in bf16, tokenizer/.
TrainSummary train_scorer(const ScorerTraining& training);

}  // namespace vorta::engine
