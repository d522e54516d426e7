// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/pipeline/pipeline.h"
#include "engine/train/bundle.h"
#include "engine/train/clip_batch.h"

#include <cstdint>
#include <filesystem>

namespace vorta::engine {

/// A trained model's own examination: clips of held-out captions, made by the pipeline as `generate` makes them (seed =
/// the scene's number), and judged by the checker.
struct ModelJudging {
  PipelineConfig pipeline;
  ClipSize clip = kEmbeddedClip;
  int64_t prompts = 50;
  int64_t first = 0;  // number of the first held-out scene
  std::filesystem::path
      output;  // verdicts.jsonl and clips/NNN.png; clips that an earlier call judged are not made again
};

/// One line a clip in <output>/verdicts.jsonl: number, prompt, what was seen, and the verdict. Returns the shares over
/// all `prompts` clips. DataError when the file there is of other clips.
CheckerScore judge_model(const ModelJudging& judging);

}  // namespace vorta::engine
