// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "engine/pipeline/model_folder.h"
#include "engine/schedule/sampler.h"
#include "engine/text/prompt_encoder.h"

namespace vorta::engine {

/// How a pipeline follows its prompt.
enum class GuidanceKind {
  kClassifierFree,  // two passes a step when guidance > 1
  kEmbedded,        // the model is told the guidance; a second pass only for true guidance with a negative prompt
};

/// What becomes of a number of frames that is not 1 more than a multiple of the VAE's temporal factor f.
enum class FrameRounding {
  kWholeFactors,  // n / f * f + 1: Wan
  kLatents,       // (n - 1) / f * f + 1: HunyuanVideo
};

/// A component that model_index.json must name, and its class; an empty class: any.
struct PipelinePart {
  std::string_view key;
  std::string_view class_name;
};

/// What VORTA's published inference script for this model takes where its command line says nothing.
struct PublishedScript {
  std::array<int64_t, 3> video_size{};  // frames, height, width
  int64_t steps = 50;
  double guidance = 0;
  double flow_shift = 5.0;
  double fps = 0;
  std::string_view scheduler;  // a row of samplers()
};

/// What tells one kind of diffusers pipeline from another, apart from its networks.
struct PipelineFamily {
  std::string_view name;  // "_class_name" of model_index.json
  std::string_view description;
  GuidanceKind guidance;
  EulerGrid euler_grid;
  FrameRounding frames;
  /// Whether the model is told timesteps in the dtype of the latents, which Euler's steps return in the model's.
  bool timesteps_follow_latents;
  bool tiles_vae;  // spatially, where nobody decides
  PublishedScript published;
  std::span<const PipelinePart> parts;
  GenerationDefaults (*defaults)();
  std::unique_ptr<PromptEncoder> (*load_text)(const std::filesystem::path& model_dir, const Placement& placement,
                                              int64_t max_tokens);
};

/// The family's table: WanPipeline, HunyuanVideoPipeline.
std::span<const PipelineFamily> pipeline_families();
/// That of `model_dir`/model_index.json. DataError when the file is not there, ConfigError for an unknown class.
const PipelineFamily& find_pipeline_family(const std::filesystem::path& model_dir);

}  // namespace vorta::engine
