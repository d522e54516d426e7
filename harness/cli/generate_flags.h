// SPDX-License-Identifier: Apache-2.0
#pragma once

// What `generate` is asked on its command line, and what that asks of the engine.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/pipeline/pipeline.h"

namespace CLI {
class App;
}

namespace vorta::harness {

/// The flags as given; what is absent takes the model folder's default.
struct GenerateFlags {
  std::string model, published_model, transformer, routers, resume, attention, cache = "none", cache_options = "{}",
                                                                               scheduler, dtype;
  std::string device = "auto";
  std::string prompt, negative_prompt, prompt_file, prompt_embeds, latents;
  std::string output, output_dir, output_type = "video", timings;
  std::optional<int64_t> frames, height, width, steps, max_sequence_length;
  std::optional<double> guidance, true_guidance, flow_shift, fps;
  std::string vae_tiling = "reference";
  std::vector<int64_t> video_size;
  std::optional<double> tau;
  std::vector<double> route_fractions;
  std::vector<int64_t> window;
  std::optional<double> reduction_rate;
  std::vector<std::string> loras;
  std::string lora_mode = "merged", recipe;
  bool strict = false;
  std::string route_table, save_routes, offload = "none", quantization = "none";
  bool cuda_graphs = false;
  std::optional<int64_t> timed_steps;
  bool random_weights = false;
  uint64_t seed = 1234;
  bool has_prompt = false;
  bool has_negative_prompt = false;
  bool cpu_offload = false;
  bool native_attention = false;
};

/// Binds every flag of the verb but --help to `flags`, which must outlive `sub`.
void add_generate_flags(CLI::App& sub, GenerateFlags& flags);

/// The published inference script's size, dtype, rate and attention where the flags say nothing. ConfigError with
/// --model beside it.
void apply_published_defaults(GenerateFlags& flags);

/// The model folder's; with the published flags its sampling is that of the script, where neither flags nor a recipe
/// say otherwise.
engine::GenerationDefaults generation_defaults(const GenerateFlags& flags);

/// ConfigError for values that are not known, or that contradict each other.
engine::PipelineConfig pipeline_config(const GenerateFlags& flags, const engine::GenerationDefaults& defaults);

/// All but the prompt. Reads the files of --latents and --prompt-embeds: DataError where they lack what is expected.
engine::GenerationRequest request_of(const GenerateFlags& flags, const engine::GenerationDefaults& defaults);

}  // namespace vorta::harness
