// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/pipeline_family.h"

#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

constexpr PipelinePart kWanParts[] = {
    {"scheduler", ""}, {"text_encoder", "UMT5EncoderModel"}, {"tokenizer", ""}, {"transformer", ""}, {"vae", ""},
};
constexpr PipelinePart kHunyuanParts[] = {
    {"scheduler", ""},
    {"text_encoder", "LlamaModel"},
    {"text_encoder_2", "CLIPTextModel"},
    {"tokenizer", ""},
    {"tokenizer_2", ""},
    {"transformer", ""},
    {"vae", ""},
};

GenerationDefaults wan_defaults() { return {}; }

GenerationDefaults hunyuan_defaults() {
  GenerationDefaults defaults;
  defaults.frames = 129;
  defaults.height = 720;
  defaults.width = 1280;
  defaults.guidance = 6.0;
  defaults.fps = 24;
  defaults.max_sequence_length = 256;
  return defaults;
}

std::unique_ptr<PromptEncoder> load_wan_text(const std::filesystem::path& dir, const Placement& placement,
                                             int64_t max_tokens) {
  return load_umt5_prompt_encoder(dir, placement, max_tokens);
}

std::unique_ptr<PromptEncoder> load_hunyuan_text(const std::filesystem::path& dir, const Placement& placement,
                                                 int64_t max_tokens) {
  return load_hunyuan_prompt_encoder(dir, placement, max_tokens);
}

constexpr PipelineFamily kFamilies[] = {
    {.name = "HunyuanVideoPipeline",
     .description = "HunyuanVideo text-to-video: LLaMA and CLIP texts, embedded guidance",
     .guidance = GuidanceKind::kEmbedded,
     .euler_grid = EulerGrid::kUnitInterval,
     .frames = FrameRounding::kLatents,
     .timesteps_follow_latents = true,
     .tiles_vae = true,
     .published = {{117, 720, 1280}, 50, 6.0, 5.0, 24.0, "euler"},
     .parts = kHunyuanParts,
     .defaults = hunyuan_defaults,
     .load_text = load_hunyuan_text},
    {.name = "WanPipeline",
     .description = "Wan 2.1 text-to-video: UMT5 text, classifier-free guidance",
     .guidance = GuidanceKind::kClassifierFree,
     .euler_grid = EulerGrid::kTrainedRange,
     .frames = FrameRounding::kWholeFactors,
     .timesteps_follow_latents = false,
     .tiles_vae = false,
     .published = {{77, 720, 1280}, 50, 5.0, 5.0, 15.0, "unipc"},
     .parts = kWanParts,
     .defaults = wan_defaults,
     .load_text = load_wan_text},
};

}  // namespace

std::span<const PipelineFamily> pipeline_families() { return kFamilies; }

const PipelineFamily& find_pipeline_family(const std::filesystem::path& model_dir) {
  const std::filesystem::path index = model_dir / "model_index.json";
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(index, ignored)) {
    throw DataError(index.string(), "expected the index of a diffusers pipeline, found no file");
  }
  const nlohmann::json json = read_json_file(index);
  const std::string where = index.string() + "#";
  ObjectReader reader(json, where);
  return find_entry(pipeline_families(), where + "/_class_name", reader.string("_class_name"));
}

}  // namespace vorta::engine
