// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/media/video_file.h"
#include "engine/weights/safetensors.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flops_text.h"
#include "harness/cli/generate_jobs.h"
#include "harness/cli/progress.h"
#include "harness/cli/verbs.h"

namespace vorta::harness {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

void log_plan(const engine::PlanSummary& plan, const engine::PipelineConfig& config) {
  const auto& size = plan.size;
  log_info(fmt::format("{} frames of {}x{}: latents {}, {} tokens; {} steps, {} passes each{}", size.frames,
                       size.height, size.width, to_string(size.latents), size.tokens.tokens(), plan.step_flops.size(),
                       plan.passes, config.recipe ? ", by the recipe " + config.recipe->name : ""));
  const auto counts = plan.routes->counts();
  const double total = static_cast<double>(counts[0] + counts[1] + counts[2]);
  const auto percent = [&](engine::Branch branch) {
    return 100.0 * static_cast<double>(counts[static_cast<size_t>(branch)]) / total;
  };
  log_info(
      fmt::format("attention {}: heads {:.1f} % dense, {:.1f} % coreset, {:.1f} % sliding; predicted {} for "
                  "denoising, {:.2f}x fewer than dense",
                  config.attention, percent(engine::Branch::kDense), percent(engine::Branch::kCoreset),
                  percent(engine::Branch::kSlidingTile), flops_text(plan.denoise_flops()), plan.speedup()));
  if (config.cache == "none") return;
  const int64_t forwards = plan.passes * static_cast<int64_t>(plan.step_flops.size());
  const std::string known =
      plan.cache_is_static ? fmt::format("; {:.1f} of {} forwards", plan.forwards, forwards)
                           : fmt::format("; {:.1f} to {} of {} forwards, up to {:.2f}x faster", plan.least_forwards,
                                         forwards, forwards, plan.denoise_flops() / plan.least_denoise_flops);
  log_info(fmt::format("cache {}: {}{}; {:.1f} MiB kept", config.cache, plan.cache_note, known,
                       static_cast<double>(plan.cache_bytes) / (1 << 20)));
}

// Forwards that ran, against those that the plan said; a forward in part has no number of its own.
void log_evaluations(const std::vector<engine::CacheCall>& calls, const engine::PlanSummary& plan) {
  double ran = 0;
  for (const engine::CacheCall& call : calls) {
    const auto count = [&](engine::BlockAction action) {
      return static_cast<double>(std::count(call.blocks.begin(), call.blocks.end(), action));
    };
    if (count(engine::BlockAction::kBroadcast) > 0) return;
    const double share =
        call.blocks.empty() ? 1 : count(engine::BlockAction::kComputed) / static_cast<double>(call.blocks.size());
    ran += (call.pass == engine::GuidancePass::kBoth ? 2 : 1) * share;
  }
  log_info(plan.cache_is_static
               ? fmt::format("evaluations of the network: {:g} predicted, {:g} measured", plan.forwards, ran)
               : fmt::format("evaluations of the network: {:g} of {:g}", ran, plan.forwards));
}

// What the cache did: one letter a forward, the passes of guidance apart.
void log_cache_calls(const std::vector<engine::CacheCall>& calls) {
  std::array<std::string, 3> by_pass;  // positive, negative, both
  for (const engine::CacheCall& call : calls) {
    std::string blocks;
    for (const engine::BlockAction action : call.blocks) blocks += engine::kBlockLetters[static_cast<size_t>(action)];
    by_pass[static_cast<size_t>(call.pass)] += engine::forward_letter(blocks);
  }
  std::string text;
  for (const std::string& letters : by_pass) {
    if (!letters.empty()) text += (text.empty() ? "" : " / ") + letters;
  }
  log_info(fmt::format(
      "forwards computed (X), parts of blocks given back (p), blocks given back (c), skipped as a whole (.): {}",
      text));
}

void write_result(const engine::GenerationResult& result, const fs::path& path, double fps) {
  if (path.extension() == ".safetensors") {
    const bool video = result.video.defined();
    engine::write_safetensors(path,
                              {{video ? "video" : "latents", (video ? result.video : result.latents).contiguous()}});
    return;
  }
  const at::Tensor rgb = engine::to_rgb_bytes(result.video);
  engine::Frames frames;
  frames.count = rgb.size(0);
  frames.height = rgb.size(1);
  frames.width = rgb.size(2);
  frames.fps = fps;
  frames.rgb.assign(rgb.data_ptr<uint8_t>(), rgb.data_ptr<uint8_t>() + rgb.numel());
  engine::write_mp4(path, frames);
}

void log_attention(const engine::AttentionCalls& calls) {
  std::string names;
  for (const auto& [name, count] : calls)
    names += fmt::format("{}{} ({} calls)", names.empty() ? "" : ", ", name, count);
  if (!names.empty()) log_info("self attention computed by " + names);
}

// Seconds of the whole schedule by the planned work of its steps.
void log_extrapolation(const engine::PlanSummary& plan, const ProgressBar& progress) {
  double timed = 0;
  for (const double seconds : progress.step_seconds()) timed += seconds;
  log_info(fmt::format("{} of {} steps timed: {:.2f} s; extrapolated to all steps: {:.2f} s of denoising",
                       plan.step_flops.size(), plan.schedule_steps, timed,
                       timed * plan.schedule_flops / plan.denoise_flops()));
}

void write_timings(const ProgressBar& progress, const fs::path& path) {
  const nlohmann::json timings{{"step_seconds", progress.step_seconds()}, {"stage_seconds", progress.stage_seconds()}};
  write_file_atomically(path, timings.dump(1) + "\n");
}

int generate(GenerateFlags f) {
  if (!f.published_model.empty()) apply_published_defaults(f);
  const std::vector<Job> jobs = collect_jobs(f);
  if (f.model.empty()) f.model = engine::find_embedded_model().string();
  const engine::GenerationDefaults defaults = generation_defaults(f);
  const engine::PipelineConfig config = pipeline_config(f, defaults);
  engine::GenerationRequest request = request_of(f, defaults);
  require_writable_output(f);

  engine::Pipeline pipeline = engine::Pipeline::load(config);
  request.prompt = jobs.front().prompt;  // its length counts where the text is part of the sequence
  const engine::PlanSummary plan = pipeline.plan(request);
  log_plan(plan, config);
  if (!f.save_routes.empty()) write_file_atomically(f.save_routes, engine::route_file_text(*plan.routes));
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!f.output_dir.empty() && is_there(jobs[i].output)) {
      log_info(fmt::format("{} exists, skipped", jobs[i].output.string()));
      continue;
    }
    request.prompt = jobs[i].prompt;
    ProgressBar progress(jobs.size() > 1 ? fmt::format("[{}/{}] ", i + 1, jobs.size()) : "");
    const engine::GenerationResult result = pipeline.generate(request, &progress);
    if (config.cache != "none") {
      log_cache_calls(result.cache_calls);
      log_evaluations(result.cache_calls, plan);
    }
    log_attention(result.attention_calls);
    if (request.first_steps) log_extrapolation(plan, progress);
    write_result(result, jobs[i].output, f.fps.value_or(defaults.fps));
    if (!f.timings.empty()) write_timings(progress, f.timings);
    std::cout << jobs[i].output.string() << std::endl;
  }
  return kDone;
}

}  // namespace

std::function<int()> add_generate(CLI::App& sub) {
  auto flags = std::make_shared<GenerateFlags>();
  add_generate_flags(sub, *flags);
  return [flags, &sub] {
    flags->has_prompt = sub.count("--prompt") > 0;
    flags->has_negative_prompt = sub.count("--negative-prompt") > 0;
    return generate(*flags);
  };
}

}  // namespace vorta::harness
