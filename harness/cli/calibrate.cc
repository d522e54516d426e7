// SPDX-License-Identifier: Apache-2.0
#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/cache/calibration_run.h"
#include "engine/pipeline/sampling.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flag_checks.h"
#include "harness/cli/verbs.h"
#include "harness/suite/suite_spec.h"

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vorta::harness {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct CalibrateFlags {
  engine::PipelineConfig pipeline;
  engine::AskedSampling asked;
  engine::CacheSignal signal = engine::CacheSignal::kTimeEmbedding;
  std::string dtype = "float32", prompts, prompt_embeds, output, offload = "none", quantization = "none";
  std::vector<std::string> loras;
  std::optional<int64_t> frames, height, width;
  int64_t limit = 4, degree = 4, first_steps = 1, last_steps = 1;
  uint64_t seed = 0;
};

const std::map<std::string, engine::CacheSignal> kSignals{{"time_embedding", engine::CacheSignal::kTimeEmbedding},
                                                          {"time_projection", engine::CacheSignal::kTimeProjection},
                                                          {"first_block", engine::CacheSignal::kFirstBlock}};

void add_flags(CLI::App& app, CalibrateFlags& f) {
  f.pipeline.device = "auto";
  app.add_option("--out", f.output, "JSON file for the calibration")->required();
  app.add_option("--model", f.pipeline.model_dir, "pipeline folder (default: the embedded one)");
  app.add_option("--transformer", f.pipeline.transformer_dir, "transformer folder in place of the model's");
  app.add_option("--lora", f.loras,
                 "FILE.safetensors[:SCALE] of low-rank changes to the transformer; may be given several times")
      ->take_all();
  app.add_option("--routers", f.pipeline.routers_dir, "router checkpoint (default: the model's)");
  app.add_option("--attention", f.pipeline.attention, "the attention that it is for")->capture_default_str();
  app.add_option("--recipe", f.asked.recipe, "sampling recipe");
  app.add_option("--steps", f.asked.steps, "default: the model's");
  app.add_option("--guidance", f.asked.guidance, "default: the model's");
  app.add_option("--true-guidance", f.asked.true_guidance, "HunyuanVideo: two passes a step when > 1 (default: 1)");
  app.add_option("--flow-shift", f.asked.flow_shift, "default: the model's");
  app.add_option("--scheduler", f.asked.scheduler, "default: the model's");
  app.add_option("--frames", f.frames, "default: the model's");
  app.add_option("--height", f.height, "pixels");
  app.add_option("--width", f.width, "pixels");
  app.add_option("--dtype", f.dtype)->capture_default_str()->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_option("--device", f.pipeline.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--offload", f.offload, "none, components or layers: what of the networks waits outside the device")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "components", "layers"}));
  app.add_option("--quantization", f.quantization, "none or fp8, as it will be used")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "fp8"}));
  app.add_option("--prompt-embeds", f.prompt_embeds,
                 "text features instead of prompts, one generation: a file as `generate` takes it");
  app.add_option("--prompts", f.prompts,
                 "JSON file with \"prompts\" as suites have (default: suites/prompts/embedded.json)");
  app.add_option("--limit", f.limit, "prompts to take, from the first")->capture_default_str()->check(whole_number(1));
  app.add_option("--seed", f.seed, "of the first prompt; each later one's is one more")
      ->check(whole_number(0))
      ->capture_default_str();
}

void add_teacache_flags(CLI::App& app, CalibrateFlags& f) {
  app.add_option_function<std::string>(
         "--signal", [&f](const std::string& name) { f.signal = kSignals.at(name); },
         "time_embedding, time_projection or first_block")
      ->default_str("time_embedding")
      ->check(CLI::IsMember({"time_embedding", "time_projection", "first_block"}));
  app.add_option("--degree", f.degree, "of the polynomial")->capture_default_str()->check(CLI::Range(1, 8));
  app.add_option("--first-steps", f.first_steps, "steps at the start that are always computed")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--last-steps", f.last_steps, "steps at the end that are always computed")
      ->capture_default_str()
      ->check(whole_number(0));
}

std::vector<std::string> read_prompts(const CalibrateFlags& f) {
  const fs::path file = f.prompts.empty() ? suites_dir() / "prompts" / "embedded.json" : fs::path(f.prompts);
  const json document = read_json_file(file);
  std::vector<std::string> texts;
  if (document.is_object() && document.contains("prompts") && document["prompts"].is_array()) {
    for (const json& prompt : document["prompts"]) {
      if (prompt.is_object() && prompt.contains("text") && prompt["text"].is_string())
        texts.push_back(prompt["text"].get<std::string>());
    }
  }
  if (texts.empty()) throw ConfigError(file.string() + "#/prompts", "expected a list of {\"text\": ...}");
  if (static_cast<int64_t>(texts.size()) > f.limit) texts.resize(static_cast<size_t>(f.limit));
  return texts;
}

// One generation a prompt, without a picture at the end.
void record(CalibrateFlags& f, engine::CalibrationRecorder& recorder, const std::vector<std::string>& prompts,
            const engine::GenerationDefaults& defaults) {
  // Not owned: the pipeline goes first.
  f.pipeline.own_cache = std::shared_ptr<engine::StepCache>(&recorder, [](engine::StepCache*) {});
  engine::Pipeline pipeline = engine::Pipeline::load(f.pipeline);
  engine::GenerationRequest request;
  request.frames = f.frames.value_or(defaults.frames);
  request.height = f.height.value_or(defaults.height);
  request.width = f.width.value_or(defaults.width);
  request.output = engine::Output::kLatents;
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (f.prompt_embeds.empty()) request.prompt = prompts[i];
    else request.text = engine::read_given_text(prompts[i]);
    request.seed = f.seed + i;
    pipeline.generate(request);
    log_info(fmt::format("{}/{} \"{}\"", i + 1, prompts.size(), prompts[i]));
  }
}

json fit_note(const CalibrateFlags& f, size_t prompts) {
  json note{{"attention", f.pipeline.attention},
            {"steps", f.pipeline.steps},
            {"guidance", f.pipeline.guidance},
            {"prompts", prompts},
            {"model", f.pipeline.model_dir.filename().string()}};
  if (f.quantization != "none") note["quantization"] = f.quantization;
  if (!f.loras.empty()) note["loras"] = f.loras;
  if (f.pipeline.flow_shift) note["flow_shift"] = *f.pipeline.flow_shift;
  if (f.pipeline.recipe) note["recipe"] = f.pipeline.recipe->name;
  return note;
}

int calibrate(CalibrateFlags& f, bool teacache) {
  engine::PipelineConfig& pipeline = f.pipeline;
  if (pipeline.model_dir.empty()) pipeline.model_dir = engine::find_embedded_model();
  const engine::GenerationDefaults defaults = engine::read_generation_defaults(pipeline.model_dir);
  for (const std::string& text : f.loras) pipeline.loras.push_back(engine::parse_lora_file(text, "--lora"));
  if (f.offload != "none")
    pipeline.offload = f.offload == "layers" ? engine::Offload::kLayerByLayer : engine::Offload::kStageByStage;
  if (f.quantization == "fp8") pipeline.quantization = engine::Quantization::kFp8;
  if (!f.prompt_embeds.empty()) pipeline.text = engine::TextSource::kGiven;
  engine::choose_sampling(pipeline, f.asked, defaults);
  pipeline.max_sequence_length = defaults.max_sequence_length;
  pipeline.dtype = f.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  if (pipeline.routers_dir.empty() && pipeline.attention != "dense")
    pipeline.routers_dir = engine::bundled_routers(pipeline);
  if (!f.prompt_embeds.empty() && !f.prompts.empty())
    throw ConfigError("--prompt-embeds", "expected either text features or prompts");
  const std::vector<std::string> prompts = f.prompt_embeds.empty() ? read_prompts(f) : std::vector{f.prompt_embeds};
  engine::CalibrationRecorder recorder(f.signal);
  record(f, recorder, prompts, defaults);
  json file, note = fit_note(f, prompts.size());
  if (teacache) {
    engine::TeaFit fit = engine::fit_teacache(recorder, f.signal, f.degree);
    fit.calibration.first_steps = f.first_steps;
    fit.calibration.last_steps = f.last_steps;
    file = engine::to_json(fit.calibration);
    note["r2"] = fit.r2;
    note["lowest"] = fit.lowest;
    fmt::print("{}: {} changes, domain {:.4f} to {:.4f}, R2 {:.3f}{}\n", f.output, recorder.changes().size(),
               fit.calibration.low, fit.calibration.high, fit.r2,
               fit.lowest < 0 ? "; negative on a part of it, where it counts as 0" : "");
  } else {
    file = engine::to_json(engine::fit_magcache(recorder));
    fmt::print("{}: ratios of {} steps from {} prompts\n", f.output, recorder.steps(), prompts.size());
  }
  file["fit"] = note;
  write_file_atomically(f.output, file.dump(1) + "\n");
  return kDone;
}

}  // namespace

std::function<int()> add_calibrate(CLI::App& sub) {
  auto flags = std::make_shared<CalibrateFlags>();
  CLI::App* teacache = sub.add_subcommand("teacache", "a polynomial from the change of a signal to that of the output");
  CLI::App* magcache = sub.add_subcommand("magcache", "ratios of the residual from step to step");
  sub.require_subcommand(1);
  add_flags(*teacache, *flags);
  add_teacache_flags(*teacache, *flags);
  add_flags(*magcache, *flags);
  return [flags, teacache] { return calibrate(*flags, teacache->parsed()); };
}

}  // namespace vorta::harness
