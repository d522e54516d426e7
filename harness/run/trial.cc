// SPDX-License-Identifier: Apache-2.0
#include "harness/run/trial.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "harness/probe/device_memory.h"
#include "harness/probe/process_memory.h"
#include "harness/probe/trace_json.h"
#include "harness/run/scoring.h"
#include "harness/suite/vbench_prompts.h"
#include "metrics/core/frames_input.h"

namespace vorta::harness {
namespace {

// Finite latents of a suite that stops there.
void verify_latents(const at::Tensor& latents) {
  if (latents.defined() && latents.dim() == 5 && at::isfinite(latents).all().item<bool>()) return;
  throw engine::NotFiniteError("verify", "expected finite latents [B, C, T, H, W]");
}

// Throws DataError unless `frames` are finite and of the planned size.
void verify_frames(const at::Tensor& frames, const engine::VideoSize& size) {
  metrics::check_frames(frames, "verify");
  if (frames.size(0) != size.frames || frames.size(2) != size.height || frames.size(3) != size.width) {
    throw DataError("verify", fmt::format("expected {} frames of {}x{}, found {} of {}x{}", size.frames, size.height,
                                          size.width, frames.size(0), frames.size(2), frames.size(3)));
  }
}

// Times of a generation that stopped early, as such; and what the whole schedule would take by the planned work of its
// steps. No "denoise" and no "e2e": those are times of whole generations.
void extrapolate(const engine::PlanSummary& plan, std::vector<reports::SampleRow>& samples) {
  std::erase_if(samples, [](const reports::SampleRow& sample) { return sample.stage == "e2e"; });
  const double factor = plan.schedule_flops / plan.denoise_flops();
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].stage != "denoise") continue;
    samples[i].stage = "denoise_timed";
    const double all = static_cast<double>(samples[i].host_ns) * factor;
    samples.push_back({.stage = "denoise_extrapolated", .step = -1, .host_ns = static_cast<int64_t>(all), .bytes = {}});
    return;
  }
}

// The clock, and a sign of life after each step and stage.
class BeatingClock final : public engine::PipelineObserver {
 public:
  BeatingClock(engine::PipelineObserver& clock, const Heartbeat& heart) : clock_(clock), heart_(heart) {}
  void stage_begin(engine::Stage stage) override { clock_.stage_begin(stage); }
  void stage_end(engine::Stage stage) override {
    clock_.stage_end(stage);
    heart_.progress();
  }
  void step_begin(int64_t index, int64_t count) override { clock_.step_begin(index, count); }
  void step_end(int64_t index, int64_t count) override {
    clock_.step_end(index, count);
    heart_.progress();
  }

 private:
  engine::PipelineObserver& clock_;
  const Heartbeat& heart_;
};

}  // namespace

const engine::PlanSummary& TrialMaker::prepare(const Case& one) {
  engine_.prepare(order(one));
  watch_power(one);
  return plans_[one.variant] = engine_.plan(order(one));
}

void TrialMaker::warm_up(const Case& one) {
  if (!warm_.insert(one.variant).second) return;
  for (int64_t i = 0; i < spec_.measurement.warmup; ++i) {
    StageClock untimed;
    BeatingClock beating(untimed, heart_);
    if (const int64_t steps = spec_.measurement.warmup_steps; steps > 0) engine_.warm_up(order(one), steps, &beating);
    else remember_output(one, engine_.generate(order(one), &beating));
  }
}

std::string TrialMaker::output_hash(const at::Tensor& made) const {
  const at::Tensor bytes = (makes_latents() ? made : metrics::eight_bit(made)).cpu().contiguous();
  return sha256_hex({static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.nbytes())});
}

// Every generation of a case in this process, warm-up, timed or observed, must give the same frames. Returns their
// hash.
std::string TrialMaker::remember_output(const Case& one, const at::Tensor& made) {
  const std::string hash = output_hash(made);
  const auto [first, is_new] = outputs_.try_emplace(one.hash, hash);
  if (!is_new && first->second != hash) {
    throw engine::NotFiniteError("verify", "two generations of the same prompt and seed differ");
  }
  return hash;
}

reports::TrialSetup TrialMaker::setup_of(const Case& one) const {
  const engine::PlanSummary& plan = plans_.at(one.variant);
  const GenerationConfig& config = variant(one).config;
  const auto steps = static_cast<int64_t>(plan.step_flops.size());
  return {.weights = spec_.weights,
          .timed_steps = steps,
          .schedule_steps = std::max(steps, plan.schedule_steps),
          .forwards = plan.passes,
          .attention_kernels = engine_.attention_kernels(),
          .offload = config.offload,
          .quantization = config.quantization};
}

reports::TrialResult TrialMaker::timed(const Case& one, int64_t repeat, StageClock& clock) {
  reports::TrialResult result;
  const bool fresh_peak = reset_peak_rss();
  const int64_t begin_ns = probe_clock_ns();
  StageMemory memory(engine_.device(order(one)), clock);
  const auto begin = std::chrono::steady_clock::now();
  BeatingClock beating(memory, heart_);
  const at::Tensor made = engine_.generate(order(one), &beating);
  const auto end_to_end = std::chrono::steady_clock::now() - begin;
  result.memory = memory.peaks();
  result.gpu.power = power_between(one, begin_ns, probe_clock_ns());
  const auto peak = peak_rss_bytes();
  if (fresh_peak && peak) result.memory.push_back({"host_rss", *peak});
  result.samples = clock.samples();
  result.samples.push_back({.stage = "e2e", .step = -1, .host_ns = end_to_end.count(), .bytes = {}});
  result.setup = setup_of(one);
  if (result.setup->is_partial()) extrapolate(plans_.at(one.variant), result.samples);
  if (makes_latents()) verify_latents(made);
  else verify_frames(made, plans_.at(one.variant).size);
  result.output_sha256 = remember_output(one, made);
  if (makes_latents()) return result;
  const at::Tensor frames = metrics::eight_bit(made);
  result.frames = frames.size(0);
  result.scores = score_alone(spec_, frames);
  const double fps = static_cast<double>(variant(one).config.fps);
  for (auto& row : dimensions_.score(frames, fps, spec_.prompts[one.prompt].text))
    result.scores.push_back(std::move(row));
  const VideoLook look{variant(one).config.fps, spec_.measurement.filmstrip_columns};
  result.artefacts = write_video_files(out_dir_, name(one, repeat), frames, look);
  if (repeat == 0) name_for_vbench(one);
  // Frames of other variants live only until they are compared with the reference's; the reference's stay.
  if (!is_reference(one)) result.artefacts.pop_back();
  return result;
}

// Prompts of VBench's list: PROMPT-INDEX.mp4, the index being the seed's place in the suite.
void TrialMaker::name_for_vbench(const Case& one) const {
  const Prompt& prompt = spec_.prompts[one.prompt];
  if (!nlohmann::json::parse(prompt.tags_json).contains(kVbenchTag)) return;
  const auto seed = std::find(spec_.seeds.begin(), spec_.seeds.end(), one.seed);
  link_vbench_video(out_dir_, name(one), vbench_video_stem(prompt.text, seed - spec_.seeds.begin()));
}

ProfiledTrial TrialMaker::profiled(const Case& one, const std::vector<std::vector<reports::SampleRow>>& timed) {
  const int64_t begin_ns = probe_clock_ns();
  ProfiledTrial profiled = profile_generation(engine_, order(one));
  profiled.result.output_sha256 = output_hash(profiled.made);
  profiled.result.setup = setup_of(one);
  profiled.result.gpu.power = power_between(one, begin_ns, probe_clock_ns());
  if (!profiled.result.gpu.profile) return profiled;
  auto& profile = *profiled.result.gpu.profile;
  profile.overhead = watching_overhead(profiled.result.samples, timed);
  if (variant(one).config.cuda_graphs) {
    profile.note += profile.note.empty() ? "" : "; ";
    profile.note += "launched one by one while it is watched: its overhead is over CUDA graphs";
  }
  report_gpu(one, profiled);
  return profiled;
}

void TrialMaker::report_gpu(const Case& one, ProfiledTrial& profiled) {
  const auto& gpu = *profiled.result.gpu.profile;
  const std::string& variant_name = variant(one).name;
  if (!gpu.note.empty()) log_warn(fmt::format("profile of {}: {}", variant_name, gpu.note));
  log_info(fmt::format("profile of {}: {} kernels, {:.3f} s of GPU time, overhead {}", variant_name, gpu.kernel_count,
                       static_cast<double>(gpu.kernel_ns) * 1e-9,
                       gpu.overhead ? fmt::format("{:.3f}x", *gpu.overhead) : "unknown"));
  int64_t in_layers = 0, traced = 0;
  for (const reports::GpuStepRow& step : gpu.steps) in_layers += step.layer_ns, traced += step.span_ns;
  if (traced > 0) {
    const double share = static_cast<double>(in_layers) / static_cast<double>(traced);
    log_info(fmt::format("profile of {}: kernel time by layer sums to {:.1f} % of the traced steps ({} 3 %)",
                         variant_name, 100 * share, std::abs(share - 1) <= 0.03 ? "within" : "not within"));
  }
  if (!profiled.trace) return;
  const std::vector<GpuSample> samples = sampler_ ? sampler_->samples() : std::vector<GpuSample>{};
  profiled.result.artefacts.push_back(write_trace_file(
      out_dir_, variant_name, trace_json(*profiled.trace, samples, spec_.title + ", " + variant_name)));
}

void TrialMaker::watch_power(const Case& one) {
  if (asked_nvml_ || engine_.device(order(one)) == "cpu") return;
  asked_nvml_ = true;
  NvmlStart nvml = open_nvml();
  if (nvml.reader) sampler_.emplace(std::move(nvml.reader));
  else log_warn(fmt::format("no clocks, power or energy in the results: {}", nvml.refusal));
}

std::optional<reports::GpuPowerRow> TrialMaker::power_between(const Case& one, int64_t begin_ns, int64_t end_ns) {
  if (!sampler_ || engine_.device(order(one)) == "cpu") return std::nullopt;
  const std::vector<GpuSample> samples = sampler_->samples();
  if (const std::string failure = sampler_->failure(); !failure.empty() && !told_failure_) {
    log_warn(failure);
    told_failure_ = true;
  }
  reports::GpuPowerRow row = summarise_power(samples, begin_ns, end_ns, sampler_->device());
  if (!row.others.empty() && !told_others_) {
    log_warn(fmt::format("another process uses the GPU: {}; times of such trials are marked",
                         reports::to_string(row.others.front())));
    told_others_ = true;
  }
  return row;
}

}  // namespace vorta::harness
