// SPDX-License-Identifier: Apache-2.0
#include "harness/run/runner.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "engine/base/sha256.h"
#include "harness/probe/device_memory.h"
#include "harness/probe/gpu_sampler.h"
#include "harness/probe/process_memory.h"
#include "harness/probe/stage_clock.h"
#include "harness/probe/trace_json.h"
#include "harness/run/dimension_scores.h"
#include "harness/run/isolate.h"
#include "harness/run/plan_rows.h"
#include "harness/run/profile.h"
#include "harness/run/scoring.h"
#include "harness/run/video_files.h"
#include "harness/stats/paired.h"
#include "harness/suite/vbench_prompts.h"
#include "metrics/core/frames_input.h"

namespace vorta::harness {
namespace fs = std::filesystem;
using reports::TrialKey;
using reports::TrialRole;
using reports::TrialStatus;
namespace {

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

void make_writable_folder(const fs::path& folder) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) throw DataError(folder.string(), "the output folder cannot be made: " + code.message());
}

// Finite latents of a suite that stops there.
void verify_latents(const at::Tensor& latents) {
  if (latents.defined() && latents.dim() == 5 && at::isfinite(latents).all().item<bool>()) return;
  throw engine::NotFiniteError("verify", "expected finite latents [B, C, T, H, W]");
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

// Throws DataError unless `frames` are finite and of the planned size.
void verify_frames(const at::Tensor& frames, const engine::VideoSize& size) {
  metrics::check_frames(frames, "verify");
  if (frames.size(0) != size.frames || frames.size(2) != size.height || frames.size(3) != size.width) {
    throw DataError("verify", fmt::format("expected {} frames of {}x{}, found {} of {}x{}", size.frames, size.height,
                                          size.width, frames.size(0), frames.size(2), frames.size(3)));
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

Plan plan_of(const SuiteSpec& spec, const RunOptions& options) {
  Plan plan = make_plan(spec, options.only);
  if (options.shard) keep_shard(plan, spec, *options.shard);
  return plan;
}

class Runner {
 public:
  Runner(const SuiteSpec& spec, const RunOptions& options, VideoEngine& engine)
      : spec_(spec), options_(options), engine_(engine), plan_(plan_of(spec, options)), rounds_(options.rounds > 0 ? options.rounds : spec.measurement.trials),
        store_(open_store()) {}

  RunSummary run() {
    begin();
    for (int64_t round = 0; round < rounds_; ++round) {
      for (size_t i = 0; i < plan_.items.size(); ++i) {
        run_item(plan_.items[i], round, static_cast<uint64_t>(round) * plan_.items.size() + i);
        score_item(plan_.items[i], round);
      }
      if (spec_.measurement.profile && options_.rounds > 0) profile_variants(round);
    }
    if (spec_.measurement.profile && options_.rounds == 0) profile_variants(0);
    store_.end_run(run_, to_string(StopReason::kRounds));
    return summary();
  }

 private:
  reports::RunStore open_store() {
    make_writable_folder(options_.out_dir);
    return reports::RunStore::open_or_create(options_.out_dir / "run.sqlite");
  }

  void begin() {
    reports::RunRow row{.suite = spec_.name, .title = spec_.title, .suite_json = spec_.resolved_json};
    row.argv_json = canonical_json(nlohmann::json(options_.arguments));
    row.model_json = model_json();
    row.reference_variant = spec_.reference;
    row.tool_version = VORTA_VERSION;
    row.notes = spec_.description;
    row.build_json = options_.build_json;
    if (options_.shard) row.run_key = shared_key();
    row.claims = spec_.claims;
    row.published = spec_.published;
    const reports::BegunRun begun = store_.begin_run(row, options_.environment);
    run_ = begun.id;
    if (begun.resumed) log_info(fmt::format("resuming the run in {}", options_.out_dir.string()));
    store_.define_metrics(metric_rows(spec_));
    store_.define_metrics(dimensions_.metric_rows());
    for (const PlanItem& item : plan_.items) {
      for (const Case& one : item.cases) ensure_rows(one);
    }
  }

  // Parts of one suite on one kind of machine are one run.
  std::string shared_key() const {
    return "parts-" + sha256_hex(reports::json_hash(spec_.resolved_json) + reports::json_hash(options_.environment.identity_json) +
                                          options_.build_json).substr(0, 26);
  }

  // From the first variant on a GPU, clocks and power are sampled over the whole run, warm-up too: whether a trial ran in
  // the settled state shows only in what came before it.
  void watch_power(const Case& one) {
    if (asked_nvml_ || engine_.device(order(one)) == "cpu") return;
    asked_nvml_ = true;
    NvmlStart nvml = open_nvml();
    if (nvml.reader) sampler_.emplace(std::move(nvml.reader));
    else log_warn(fmt::format("no clocks, power or energy in the results: {}", nvml.refusal));
  }

  std::optional<reports::GpuPowerRow> power_between(const Case& one, int64_t begin_ns, int64_t end_ns) {
    if (!sampler_ || engine_.device(order(one)) == "cpu") return std::nullopt;
    const std::vector<GpuSample> samples = sampler_->samples();
    if (const std::string failure = sampler_->failure(); !failure.empty() && !told_failure_) {
      log_warn(failure);
      told_failure_ = true;
    }
    return summarise_power(samples, begin_ns, end_ns, sampler_->device());
  }

  // A model that cannot be read fails case by case, with its rows; the run itself still begins.
  std::string model_json() {
    try {
      return engine_.model_json(spec_);
    } catch (const std::exception&) {
      return canonical_json(nlohmann::json{{"name", spec_.model}, {"error", describe_error(std::current_exception()).message}});
    }
  }

  void ensure_rows(const Case& one) {
    const Variant& variant = spec_.variants[one.variant];
    if (!case_ids_.contains(one.variant)) {
      case_ids_[one.variant] = store_.ensure_case(run_, {.variant = variant.name,
                                                         .description = variant.description,
                                                         .params_json = variant_params(spec_, variant),
                                                         .ordinal = static_cast<int64_t>(one.variant)});
    }
    const auto item = std::make_pair(one.prompt, one.seed);
    if (item_ids_.contains(item)) return;
    const Prompt& prompt = spec_.prompts[one.prompt];
    item_ids_[item] = store_.ensure_item({.prompt = prompt.text,
                                          .negative_prompt = spec_.negative_prompt,
                                          .tags_json = prompt.tags_json,
                                          .seed = static_cast<int64_t>(one.seed)});
  }

  TrialKey key(const Case& one, TrialRole role, int64_t repeat = 0) const {
    return {run_, case_ids_.at(one.variant), item_ids_.at({one.prompt, one.seed}), role, repeat};
  }

  VideoOrder order(const Case& one) const {
    return {&spec_, &spec_.variants[one.variant], &spec_.prompts[one.prompt], one.seed};
  }

  VideoName name(const Case& one, int64_t repeat = 0) const {
    return {spec_.variants[one.variant].name, one.prompt, one.seed, repeat};
  }

  bool to_do(const TrialKey& trial) const {
    if (!store_.is_settled(trial) || store_.crashed(trial)) return true;
    return options_.retry_failed && store_.find_trial(trial)->status == TrialStatus::kFailed;
  }

  void run_item(const PlanItem& item, int64_t round, uint64_t sequence) {
    int64_t position = 0;
    for (const Case* one : in_order(item, sequence)) {
      const TrialKey trial = key(*one, TrialRole::kTiming, round);
      if (to_do(trial)) run_trial(*one, trial, position);
      else ++reused_;
      ++position;
    }
  }

  std::vector<const Case*> in_order(const PlanItem& item, uint64_t sequence) const {
    std::vector<const Case*> by_variant;
    for (const Case& one : item.cases) by_variant.push_back(&one);
    std::sort(by_variant.begin(), by_variant.end(), [](const Case* a, const Case* b) { return a->variant < b->variant; });
    std::vector<const Case*> order;
    for (const size_t i : latin_order(by_variant.size(), sequence, order_seed(spec_))) order.push_back(by_variant[i]);
    return order;
  }

  // The one place where a case's exceptions end: they become a failed row and the suite goes on.
  void run_trial(const Case& one, const TrialKey& trial, int64_t position) {
    const reports::TrialId id = store_.begin_trial(trial, position);
    if (quarantined(one, id)) return;
    heart_.trial_begins();
    StageClock clock;
    reports::TrialResult partial;
    try {
      prepare(one);
      const reports::TrialResult result = timed_trial(one, trial, clock);
      store_.finish_trial(id, result);
      const char* kind = result.setup && result.setup->is_partial() ? " for all steps, extrapolated" : "";
      log_info(fmt::format("{} p{:02} seed {}: {:.2f} s{}", spec_.variants[one.variant].name, one.prompt, one.seed,
                           seconds(result.samples.back().host_ns), kind));
    } catch (...) {
      reports::ErrorRow error = describe_error(std::current_exception());
      error.stage = clock.last_stage();
      error.step = clock.last_step();
      partial.samples = clock.samples();
      store_.fail_trial(id, error, partial);
      log_error(fmt::format("{} p{:02} seed {} failed: {}", spec_.variants[one.variant].name, one.prompt, one.seed, error.message));
      heart_.trial_ends();
      if (error.kind == "poisoned" && options_.progress_fd >= 0) throw PoisonedContext(error.message);
    }
    heart_.trial_ends();
  }

  bool quarantined(const Case& one, reports::TrialId id) {
    const int64_t crashes = store_.crashes_of(run_, case_ids_.at(one.variant));
    if (crashes < kCrashesToQuarantine) return false;
    store_.skip_trial(id, fmt::format("quarantined: {} trials of this case took their process with them", crashes));
    if (told_quarantine_.insert(one.variant).second) log_warn(fmt::format("{} is quarantined after {} crashes", spec_.variants[one.variant].name, crashes));
    return true;
  }

  // Loads and plans; before a variant's first timed trial of this process, warms up. None of it is timed.
  void prepare(const Case& one) {
    engine_.prepare(order(one));
    watch_power(one);
    plans_[one.variant] = engine_.plan(order(one));
    if (!described_.contains(one.variant)) {
      const engine::PlanSummary& plan = plans_.at(one.variant);
      store_.set_routes(run_, case_ids_.at(one.variant), route_rows(plan), route_bytes(plan));
      store_.set_predictions(run_, case_ids_.at(one.variant), prediction_rows(plan, std::nullopt));
      described_.insert(one.variant);
    }
    if (!warm_.insert(one.variant).second) return;
    for (int64_t i = 0; i < spec_.measurement.warmup; ++i) warm_up(one);
  }

  bool makes_latents() const { return spec_.output == "latents"; }
  // What must be equal from one generation of a case to the next.
  at::Tensor comparable(const at::Tensor& made) const { return makes_latents() ? made : metrics::eight_bit(made); }

  reports::TrialSetup setup_of(const Case& one, const engine::PlanSummary& plan) const {
    const GenerationConfig& config = spec_.variants[one.variant].config;
    const auto steps = static_cast<int64_t>(plan.step_flops.size());
    return {.weights = spec_.weights, .timed_steps = steps, .schedule_steps = std::max(steps, plan.schedule_steps), .forwards = plan.passes,
            .attention_kernels = engine_.attention_kernels(), .offload = config.offload, .quantization = config.quantization};
  }

  void warm_up(const Case& one) {
    StageClock untimed;
    BeatingClock beating(untimed, heart_);
    const int64_t steps = spec_.measurement.warmup_steps;
    if (steps > 0) return engine_.warm_up(order(one), steps, &beating);
    remember_output(one, comparable(engine_.generate(order(one), &beating)));
  }

  // Every generation of a case in this process, warm-up or timed, must give the same frames. Returns their hash.
  std::string remember_output(const Case& one, const at::Tensor& frames) {
    const at::Tensor bytes = frames.cpu().contiguous();
    const std::string hash = sha256_hex({static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.nbytes())});
    const auto [first, is_new] = outputs_.try_emplace(one.hash, hash);
    if (!is_new && first->second != hash) {
      throw engine::NotFiniteError("verify", "two generations of the same prompt and seed differ");
    }
    return hash;
  }

  reports::TrialResult timed_trial(const Case& one, const TrialKey& trial, StageClock& clock) {
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

    if (traced_.insert(one.variant).second) store_.set_calls(run_, case_ids_.at(one.variant), call_rows(engine_.calls()));
    const engine::PlanSummary& plan = plans_.at(one.variant);
    result.setup = setup_of(one, plan);
    if (result.setup->is_partial()) extrapolate(plan, result.samples);
    if (makes_latents()) verify_latents(made);
    else verify_frames(made, plan.size);
    const at::Tensor frames = comparable(made);
    result.output_sha256 = remember_output(one, frames);
    if (makes_latents()) return result;
    result.scores = score_alone(spec_, frames);
    const double fps = static_cast<double>(spec_.variants[one.variant].config.fps);
    for (auto& row : dimensions_.score(frames, fps, spec_.prompts[one.prompt].text)) result.scores.push_back(std::move(row));
    const VideoLook look{spec_.variants[one.variant].config.fps, spec_.measurement.filmstrip_columns};
    result.artefacts = write_video_files(options_.out_dir, name(one, trial.repeat), frames, look);
    if (trial.repeat == 0) name_for_vbench(one);
    // Frames of other variants live only until they are compared with the reference's; the reference's stay.
    if (!is_reference(one)) result.artefacts.pop_back();
    return result;
  }

  // Prompts of VBench's list: PROMPT-INDEX.mp4, the index being the seed's place in the suite.
  void name_for_vbench(const Case& one) const {
    const Prompt& prompt = spec_.prompts[one.prompt];
    if (!nlohmann::json::parse(prompt.tags_json).contains(kVbenchTag)) return;
    const auto seed = std::find(spec_.seeds.begin(), spec_.seeds.end(), one.seed);
    link_vbench_video(options_.out_dir, name(one), vbench_video_stem(prompt.text, seed - spec_.seeds.begin()));
  }

  bool is_reference(const Case& one) const { return spec_.variants[one.variant].name == spec_.reference; }

  // Scores that compare with the reference wait until the whole item is generated. What is missing is worked out from the
  // database, so a run that was killed between generating and scoring catches up here.
  void score_item(const PlanItem& item, int64_t repeat) {
    if (makes_latents()) return;
    const auto reference = std::find_if(item.cases.begin(), item.cases.end(), [&](const Case& one) { return is_reference(one); });
    for (const Case& one : item.cases) {
      const auto state = store_.find_trial(key(one, TrialRole::kTiming, repeat));
      if (is_reference(one) || !state || state->status != TrialStatus::kOk) continue;
      const std::vector<std::string> missing = missing_comparisons(spec_, store_.scores_of(state->id));
      if (!missing.empty()) {
        store_.add_scores(state->id, compare(missing, name(one, repeat), name(*reference)));
      }
      drop_frames(options_.out_dir, name(one, repeat));
    }
  }

  std::vector<reports::ScoreRow> compare(const std::vector<std::string>& metric_names, const VideoName& mine,
                                         const VideoName& reference) {
    try {
      return score_against(metric_names, read_frames(options_.out_dir, mine), read_frames(options_.out_dir, reference));
    } catch (const DataError& error) {
      return failed_scores(metric_names, error.what());
    }
  }

  // One observed generation of each variant, on the first item it can be done for; never mixed with timed ones.
  void profile_variants(int64_t round) {
    if (plan_.items.empty()) return;
    const PlanItem& item = plan_.items.front();
    for (const Case* each : in_order(item, static_cast<uint64_t>(round))) {
      const Case& one = *each;
      if (!spec_.variants[one.variant].profile) continue;
      const TrialKey trial = key(one, TrialRole::kProfile, round);
      if (!to_do(trial)) {
        ++reused_;
        continue;
      }
      const reports::TrialId id = store_.begin_trial(trial);
      if (quarantined(one, id)) continue;
      heart_.trial_begins();
      try {
        engine_.prepare(order(one));
        watch_power(one);
        const engine::PlanSummary plan = engine_.plan(order(one));
        const int64_t begin_ns = probe_clock_ns();
        ProfiledTrial profiled = profile_generation(engine_, order(one));
        profiled.result.setup = setup_of(one, plan);
        add_gpu_rows(one, begin_ns, profiled);
        store_.finish_trial(id, profiled.result);
        store_.set_predictions(run_, case_ids_.at(one.variant), prediction_rows(plan, profiled.work));
      } catch (...) {
        const reports::ErrorRow error = describe_error(std::current_exception());
        store_.fail_trial(id, error);
        log_error(fmt::format("profile of {} failed: {}", spec_.variants[one.variant].name, error.message));
        if (error.kind == "poisoned" && options_.progress_fd >= 0) throw PoisonedContext(error.message);
      }
      heart_.trial_ends();
    }
  }

  void add_gpu_rows(const Case& one, int64_t begin_ns, ProfiledTrial& profiled) {
    profiled.result.gpu.power = power_between(one, begin_ns, probe_clock_ns());
    auto& gpu = profiled.result.gpu.profile;
    if (!gpu) return;
    gpu->overhead = watching_overhead(profiled.result.samples, timed_samples(one));
    const std::string& variant = spec_.variants[one.variant].name;
    if (!gpu->note.empty()) log_warn(fmt::format("profile of {}: {}", variant, gpu->note));
    log_info(fmt::format("profile of {}: {} kernels, {:.3f} s of GPU time, overhead {}", variant, gpu->kernel_count,
                         seconds(gpu->kernel_ns), gpu->overhead ? fmt::format("{:.3f}x", *gpu->overhead) : "unknown"));
    int64_t in_layers = 0, traced = 0;
    for (const reports::GpuStepRow& step : gpu->steps) in_layers += step.layer_ns, traced += step.span_ns;
    if (traced > 0) {
      const double share = static_cast<double>(in_layers) / static_cast<double>(traced);
      log_info(fmt::format("profile of {}: kernel time by layer sums to {:.1f} % of the traced steps ({} 3 %)", variant, 100 * share,
                           std::abs(share - 1) <= 0.03 ? "within" : "not within"));
    }
    if (!profiled.trace) return;
    const std::vector<GpuSample> samples = sampler_ ? sampler_->samples() : std::vector<GpuSample>{};
    profiled.result.artefacts.push_back(
        write_trace_file(options_.out_dir, variant, trace_json(*profiled.trace, samples, spec_.title + ", " + variant)));
  }

  // Of the timed trials of this case, whichever call did them.
  std::vector<std::vector<reports::SampleRow>> timed_samples(const Case& one) const {
    std::vector<std::vector<reports::SampleRow>> samples;
    for (int64_t repeat = 0; repeat < rounds_; ++repeat) {
      const auto state = store_.find_trial(key(one, TrialRole::kTiming, repeat));
      if (state && state->status == TrialStatus::kOk) samples.push_back(store_.samples_of(state->id));
    }
    return samples;
  }

  RunSummary summary() const {
    RunSummary out{.reused = reused_, .database = store_.path()};
    const auto count = [&](const TrialKey& trial) {
      const auto state = store_.find_trial(trial);
      if (state && state->status == TrialStatus::kOk) ++out.ok;
      else ++out.failed;
      return state;
    };
    for (const PlanItem& item : plan_.items) {
      for (const Case& one : item.cases) {
        for (int64_t repeat = 0; repeat < rounds_; ++repeat) {
          const auto state = count(key(one, TrialRole::kTiming, repeat));
          if (!state) continue;
          for (const auto& score : store_.scores_of(state->id)) out.missing_scores += score.value ? 0 : 1;
        }
      }
    }
    if (!spec_.measurement.profile || plan_.items.empty()) return out;
    for (int64_t round = 0; round < (options_.rounds > 0 ? rounds_ : 1); ++round) {
      for (const Case& one : plan_.items.front().cases) {
        if (spec_.variants[one.variant].profile) count(key(one, TrialRole::kProfile, round));
      }
    }
    return out;
  }

  const SuiteSpec& spec_;
  const RunOptions& options_;
  VideoEngine& engine_;
  const Heartbeat heart_{options_.progress_fd};
  DimensionScores dimensions_{spec_};
  const Plan plan_;
  const int64_t rounds_;
  reports::RunStore store_;
  reports::RunId run_ = 0;
  std::map<size_t, reports::CaseId> case_ids_;                           // by variant
  std::map<std::pair<size_t, uint64_t>, reports::ItemId> item_ids_;      // by prompt and seed
  std::map<size_t, engine::PlanSummary> plans_;                          // by variant
  std::set<size_t> warm_, described_, traced_;                           // variants
  std::set<size_t> told_quarantine_;                                     // variants
  std::map<std::string, std::string> outputs_;                           // hash of the frames, by case
  int64_t reused_ = 0;
  std::optional<GpuSampler> sampler_;                                    // absent on a CPU and without NVML
  bool asked_nvml_ = false, told_failure_ = false;
};

}  // namespace

RunSummary run_suite(const SuiteSpec& spec, const RunOptions& options, VideoEngine& engine) {
  return Runner(spec, options, engine).run();
}

}  // namespace vorta::harness
