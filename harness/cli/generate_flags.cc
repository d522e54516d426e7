// SPDX-License-Identifier: Apache-2.0
#include "harness/cli/generate_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/registry.h"
#include "engine/pipeline/pipeline_family.h"
#include "engine/pipeline/sampling.h"
#include "engine/weights/safetensors.h"
#include "harness/cli/flag_checks.h"

namespace vorta::harness {
namespace {

constexpr RegistryEntry<c10::ScalarType> kDtypes[] = {
    {"bfloat16", "text encoder and transformer in bfloat16, VAE in float32", c10::ScalarType::BFloat16},
    {"float32", "everything in float32", c10::ScalarType::Float},
};

constexpr RegistryEntry<engine::TileVae> kTilings[] = {
    {"off", "never", engine::TileVae::kNever},
    {"on", "always", engine::TileVae::kAlways},
    {"reference", "as the model's reference does", engine::TileVae::kAsReference},
};

constexpr RegistryEntry<engine::Offload> kOffloads[] = {
    {"none", "every network stays where it computes", engine::Offload::kKeepLoaded},
    {"components", "each network is loaded for its stage and released after it", engine::Offload::kStageByStage},
    {"layers", "the transformer's blocks stay in the host's memory and visit the device in turn",
     engine::Offload::kLayerByLayer},
};

constexpr RegistryEntry<engine::Quantization> kQuantizations[] = {
    {"none", "as --dtype says", engine::Quantization::kNone},
    {"fp8", "linear layers of the transformer's blocks in e4m3, a scale a row", engine::Quantization::kFp8},
};

void add_model_flags(CLI::App& sub, GenerateFlags& f) {
  sub.add_option("--model", f.model, "pipeline folder in the diffusers layout (default: embedded)");
  sub.add_option("--pretrained_model_path", f.published_model,
                 "the same; chooses the defaults of the published inference script (which is given it twice)");
  sub.add_option("--transformer", f.transformer,
                 "transformer folder, or one file of all its weights, in place of the model's; looked for inside it "
                 "first, e.g. student");
  sub.add_option("--lora", f.loras,
                 "FILE.safetensors[:SCALE] of low-rank changes to the transformer; may be given several times")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  sub.add_option("--lora-mode", f.lora_mode, "merged into the weights, or runtime: beside them")
      ->capture_default_str()
      ->check(CLI::IsMember({"merged", "runtime"}));
  sub.add_flag("--strict", f.strict, "refuse a LoRA file with keys that the model has no place for");
  sub.add_option("--routers,--resume_dir", f.routers,
                 "folder of a router checkpoint (config.json, ckpt/step-*/router.pt)");
  sub.add_option("--resume", f.resume, "checkpoint in that folder, e.g. ckpt/step-000100 (default: the latest)");
  sub.add_option("--attention", f.attention,
                 "dense, sliding, coreset or vorta (default: vorta with --routers, --route-table or --route-fractions, "
                 "else dense)");
  sub.add_flag("--native_attention,--native-attention", f.native_attention, "dense attention, routers not read");
  sub.add_option("--tau,--tau_sparse", f.tau,
                 "a head whose best branch scores less is dense (default: none is; above 1: all are)")
      ->capture_default_str();
  sub.add_option("--window", f.window,
                 "sliding windows of so many tiles, frames,height,width, instead of the routers' configuration's")
      ->expected(3)
      ->delimiter(',');
  sub.add_option("--reduction-rate", f.reduction_rate,
                 "share of a coreset window's tokens that is merged, instead of the routers' configuration's");
  sub.add_option("--route-fractions", f.route_fractions,
                 "shares of dense, coreset and sliding heads instead of routers, e.g. 0,0.5,0.5")
      ->expected(3)
      ->delimiter(',');
  sub.add_option("--route-table,--route_table", f.route_table,
                 "a file of routes instead of routers, as --save-routes writes it");
  sub.add_option("--save-routes", f.save_routes, "writes the branch of every head at every step to this JSON file");
  sub.add_flag("--random-weights,--random_weights", f.random_weights,
               "weights of the model's configurations, not of its files: for latency alone");
  sub.add_option("--cache", f.cache, "a row of `vorta-bench list caches`")->capture_default_str();
  sub.add_option("--cache-options", f.cache_options, "its options, a JSON object (engine/cache/README.md)")
      ->capture_default_str();
  sub.add_option("--dtype", f.dtype, "float32 or bfloat16 (default: float32; bfloat16 with the published flags)");
  sub.add_option("--device", f.device, "auto (a GPU where one can be used), cpu or cuda")->capture_default_str();
  sub.add_flag("--enable_cpu_offload,--enable-cpu-offload", f.cpu_offload,
               "the same as --offload components: each network is loaded for its stage and released after it");
  sub.add_flag(
      "--cuda-graphs", f.cuda_graphs,
      "the transformer's steps as CUDA graphs: the same bits, faster where a small model on a GPU waits for launches");
  sub.add_option("--offload", f.offload,
                 "none; components; or layers: the transformer's blocks stream from the host's (pinned) memory, so "
                 "that 14B runs in 24 GB")
      ->capture_default_str();
  sub.add_option("--quantization", f.quantization,
                 "none or fp8: the blocks' linear layers in 8-bit floating point with a scale a row; emulated, and no "
                 "faster, before Hopper")
      ->capture_default_str();
}

constexpr uint64_t kMostSteps = 100'000;
constexpr uint64_t kMostTextTokens = 16'384;  // attention among them takes memory by the square

void add_sampling_flags(CLI::App& sub, GenerateFlags& f) {
  sub.add_option("--frames", f.frames, "frames, 1 more than a multiple of 4 (default: the model folder's)");
  sub.add_option("--height", f.height, "pixels");
  sub.add_option("--width", f.width, "pixels");
  sub.add_option("--video_size,--video-size", f.video_size, "frames, height and width at once")->expected(3);
  sub.add_option("--recipe", f.recipe,
                 "how a few-step student is sampled: a row of `vorta-bench list recipes`, or a JSON file (default: the "
                 "one beside the weights)");
  sub.add_option("--steps,--num_inference_steps", f.steps, "denoising steps");
  sub.add_option("--timed-steps,--timed_steps", f.timed_steps,
                 "stop after so many steps and extrapolate their time to the schedule (with --output-type latent)")
      ->check(whole_number(1, kMostSteps));
  sub.add_option("--guidance,--cfg_scale", f.guidance,
                 "classifier-free guidance, one pass a step when <= 1; HunyuanVideo: the guidance it is told");
  sub.add_option("--true-guidance,--true_cfg_scale", f.true_guidance,
                 "HunyuanVideo: classifier-free guidance beside it, with --negative-prompt; two passes a step when > 1 "
                 "(default: 1)");
  sub.add_option("--flow-shift,--noise_scheduler_shift", f.flow_shift, "shift of the noise schedule");
  sub.add_option("--scheduler", f.scheduler, "unipc or euler (default: as scheduler_config.json says)");
  sub.add_option("--seed", f.seed, "of the initial noise, drawn on the CPU")
      ->check(whole_number(0))
      ->capture_default_str();
  sub.add_option("--latents", f.latents, "initial noise: safetensors with the key `latents` [B, C, T, H, W]");
}

void add_text_and_output_flags(CLI::App& sub, GenerateFlags& f) {
  sub.add_option("--prompt", f.prompt, "what the video shows");
  sub.add_option("--max-sequence-length,--max_sequence_length", f.max_sequence_length,
                 "text tokens a prompt is cut or padded to")
      ->check(whole_number(1, kMostTextTokens));
  sub.add_option("--negative-prompt,--negative_prompt", f.negative_prompt,
                 "what it should not show: with guidance > 1, for HunyuanVideo with --true-guidance > 1; without "
                 "effect, and with a warning, otherwise");
  sub.add_option(
      "--prompt-embeds", f.prompt_embeds,
      "text features instead of a prompt: safetensors with the keys `prompt_embeds` [1, S, M], `prompt_attention_mask` "
      "[1, S] and `pooled_prompt_embeds` [1, P] where the model takes them, and the same with `negative_` in front");
  sub.add_option("--val_data_json_file,--prompt-file", f.prompt_file,
                 "JSON list of {\"caption\": ...}: one video each");
  sub.add_option("--output", f.output, "FILE.mp4, or FILE.safetensors (keys `video` [F,3,Y,X] in 0..1, or `latents`)");
  sub.add_option("--output_dir,--output-dir", f.output_dir,
                 "folder for 000-slug-of-the-prompt.mp4; files there are skipped");
  sub.add_option("--output-type", f.output_type, "video or latent")->capture_default_str();
  sub.add_option("--vae-tiling", f.vae_tiling,
                 "spatial tiles of the VAE: on, off or reference (HunyuanVideo on, Wan off)")
      ->capture_default_str();
  sub.add_option("--timings", f.timings, "JSON file: seconds of each step and stage of the last video made");
  sub.add_option("--fps,--output_fps", f.fps, "frames a second of the MP4")->check(CLI::Range(0.01, 1000.0));
  sub.add_option_function<std::string>(
         "--log_level,--log-level", [](const std::string& level) { set_log_level(parse_log_level(level)); },
         "error, warn, info or debug")
      ->trigger_on_parse();
}

}  // namespace

void add_generate_flags(CLI::App& sub, GenerateFlags& flags) {
  // The published command gives a flag twice; the last one counts.
  sub.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_model_flags(sub, flags);
  add_sampling_flags(sub, flags);
  add_text_and_output_flags(sub, flags);
}

void apply_published_defaults(GenerateFlags& f) {
  if (!f.model.empty()) throw ConfigError("--model", "expected either --model or --pretrained_model_path");
  f.model = f.published_model;
  // Defaults of the model's published inference script; the model card's command gives the rest.
  const engine::PublishedScript& script = engine::find_pipeline_family(f.model).published;
  if (f.video_size.empty() && !f.frames && !f.height && !f.width) {
    f.video_size.assign(script.video_size.begin(), script.video_size.end());
  }
  if (!f.fps) f.fps = script.fps;
  if (f.dtype.empty()) f.dtype = "bfloat16";
  if (f.attention.empty()) f.attention = f.native_attention ? "dense" : "vorta";
}

engine::GenerationDefaults generation_defaults(const GenerateFlags& f) {
  engine::GenerationDefaults defaults = engine::read_generation_defaults(f.model);
  if (f.published_model.empty()) return defaults;
  const engine::PublishedScript& script = engine::find_pipeline_family(f.model).published;
  defaults.steps = script.steps;
  defaults.guidance = script.guidance;
  defaults.flow_shift = script.flow_shift;
  defaults.scheduler = script.scheduler;
  return defaults;
}

engine::PipelineConfig pipeline_config(const GenerateFlags& f, const engine::GenerationDefaults& defaults) {
  engine::PipelineConfig config;
  config.model_dir = f.model;
  config.transformer_dir = f.transformer;
  for (const std::string& text : f.loras) config.loras.push_back(engine::parse_lora_file(text, "--lora"));
  config.lora_mode = f.lora_mode == "runtime" ? engine::LoraMode::kAtRunTime : engine::LoraMode::kMerged;
  config.strict_loras = f.strict;
  config.routers_dir = f.routers;
  if (!f.resume.empty()) config.resume = f.resume;
  if (f.native_attention && !f.attention.empty() && f.attention != "dense") {
    throw ConfigError("--native_attention", fmt::format("means dense attention, --attention says {}", f.attention));
  }
  config.attention = f.native_attention ? "dense" : f.attention;
  if (config.attention.empty())
    config.attention = f.routers.empty() && f.route_fractions.empty() && f.route_table.empty() ? "dense" : "vorta";
  if (config.routers_dir.empty() && config.attention != "dense") {
    config.routers_dir = engine::bundled_routers(config);
  }
  config.dtype = find_entry(std::span<const RegistryEntry<c10::ScalarType>>(kDtypes), "--dtype",
                            f.dtype.empty() ? "float32" : f.dtype)
                     .make;
  config.device = f.device;
  config.tau = f.tau;
  config.reduction_rate = f.reduction_rate;
  if (!f.window.empty()) {
    if (f.window.size() != 3)
      throw ConfigError("--window", fmt::format("expected three numbers of tiles, found {}", f.window.size()));
    config.sliding_window = {f.window[0], f.window[1], f.window[2]};
  }
  if (f.random_weights) config.weights = engine::WeightOrigin::kRandom;
  if (!f.route_fractions.empty()) {
    if (f.route_fractions.size() != 3) {
      throw ConfigError("--route-fractions",
                        fmt::format("expected three shares, of dense, coreset and sliding heads, found {}",
                                    f.route_fractions.size()));
    }
    if (config.attention != "vorta") throw ConfigError("--route-fractions", "is for --attention vorta");
    config.route_fractions = {f.route_fractions[0], f.route_fractions[1], f.route_fractions[2]};
  }
  config.cache = f.cache;
  config.cache_options = f.cache_options;
  engine::choose_sampling(
      config, {f.steps, f.guidance, f.flow_shift, f.scheduler, f.recipe, "--recipe", f.true_guidance}, defaults);
  if (config.true_guidance > 1 && !f.has_negative_prompt && f.prompt_embeds.empty()) {
    log_warn("--true-guidance has no effect without --negative-prompt");
    config.true_guidance = 1;
  }
  config.tile_vae =
      find_entry(std::span<const RegistryEntry<engine::TileVae>>(kTilings), "--vae-tiling", f.vae_tiling).make;
  if (!f.prompt_embeds.empty()) config.text = engine::TextSource::kGiven;
  config.max_sequence_length = f.max_sequence_length.value_or(defaults.max_sequence_length);
  config.offload = find_entry(std::span<const RegistryEntry<engine::Offload>>(kOffloads), "--offload", f.offload).make;
  if (f.cpu_offload) {
    if (config.offload != engine::Offload::kKeepLoaded && config.offload != engine::Offload::kStageByStage) {
      throw ConfigError("--enable-cpu-offload",
                        fmt::format("means --offload components, found --offload {} beside it", f.offload));
    }
    config.offload = engine::Offload::kStageByStage;
  }
  config.cuda_graphs = f.cuda_graphs;
  config.quantization =
      find_entry(std::span<const RegistryEntry<engine::Quantization>>(kQuantizations), "--quantization", f.quantization)
          .make;
  if (!f.route_table.empty()) {
    if (config.attention != "vorta") throw ConfigError("--route-table", "is for --attention vorta");
    if (config.route_fractions)
      throw ConfigError("--route-table", "expected either --route-table or --route-fractions");
    config.route_file = f.route_table;
  }
  return config;
}

engine::GenerationRequest request_of(const GenerateFlags& f, const engine::GenerationDefaults& defaults) {
  engine::GenerationRequest request;
  const bool sized = f.video_size.size() == 3;
  if (sized && (f.frames || f.height || f.width)) {
    throw ConfigError("--video_size", "expected either --video_size or --frames, --height and --width");
  }
  request.frames = sized ? f.video_size[0] : f.frames.value_or(defaults.frames);
  request.height = sized ? f.video_size[1] : f.height.value_or(defaults.height);
  request.width = sized ? f.video_size[2] : f.width.value_or(defaults.width);
  request.negative_prompt = f.negative_prompt;
  request.seed = f.seed;
  if (f.timed_steps) request.first_steps = {*f.timed_steps};
  request.output = f.output_type == "latent" ? engine::Output::kLatents : engine::Output::kVideo;
  if (!f.prompt_embeds.empty()) request.text = engine::read_given_text(f.prompt_embeds);
  if (f.latents.empty()) return request;
  const engine::SafetensorsFile file = engine::read_safetensors(f.latents);
  const auto found = file.tensors.find("latents");
  if (found == file.tensors.end()) throw DataError(f.latents, "expected a tensor `latents`, found none of that name");
  const at::Tensor& latents = found->second;
  if (latents.dim() == 0) throw DataError(f.latents, "expected `latents` [B,C,T,H,W], found a single number");
  const bool one_video = f.output_type == "video" && fs::path(f.output).extension() != ".safetensors";
  if (one_video && latents.dim() == 5 && latents.size(0) != 1)
    throw ConfigError("--latents",
                      fmt::format("an MP4 holds one video: expected a batch of 1, found {}", latents.size(0)));
  request.latents = latents;
  return request;
}

}  // namespace vorta::harness
