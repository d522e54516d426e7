// SPDX-License-Identifier: Apache-2.0
// How one trial is made: loading, warm-up, the generation with only the clock on, what is verified and kept of it.
#pragma once

#include <ATen/core/TensorBody.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/plan/plan.h"
#include "harness/probe/gpu_sampler.h"
#include "harness/probe/stage_clock.h"
#include "harness/run/dimension_scores.h"
#include "harness/run/isolate.h"
#include "harness/run/profile.h"
#include "harness/run/video_engine.h"
#include "harness/run/video_files.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// Makes trials of one suite in one process. Writes files into the run's folder and no rows. Exceptions of a case go
/// through.
class TrialMaker {
 public:
  TrialMaker(const SuiteSpec& spec, const std::filesystem::path& out_dir, VideoEngine& engine, const Heartbeat& heart)
      : spec_(spec), out_dir_(out_dir), engine_(engine), heart_(heart) {}

  /// Loads and plans, and from the first variant on a GPU watches it: whether a trial ran in the settled state shows
  /// only in what came before it. None of it is timed.
  const engine::PlanSummary& prepare(const Case& one);
  /// Whole generations before a variant's first timed one of this process; later calls do nothing.
  void warm_up(const Case& one);

  /// One timed generation: times, memory, scores without a reference, files. `clock` tells how far it came when it
  /// throws. Needs prepare().
  reports::TrialResult timed(const Case& one, int64_t repeat, StageClock& clock);
  /// One observed generation. `timed`: samples of the timed trials of the same case, for what watching cost. Needs
  /// prepare().
  ProfiledTrial profiled(const Case& one, const std::vector<std::vector<reports::SampleRow>>& timed);

  /// Of the dimensions that the suite scores each video by.
  std::vector<reports::MetricDefRow> dimension_metrics() const { return dimensions_.metric_rows(); }
  std::vector<engine::CacheCall> calls() const { return engine_.calls(); }
  bool makes_latents() const { return spec_.output == "latents"; }
  bool is_reference(const Case& one) const { return variant(one).name == spec_.reference; }
  VideoName name(const Case& one, int64_t repeat = 0) const {
    return {variant(one).name, one.prompt, one.seed, repeat};
  }

 private:
  const Variant& variant(const Case& one) const { return spec_.variants[one.variant]; }
  VideoOrder order(const Case& one) const { return {&spec_, &variant(one), &spec_.prompts[one.prompt], one.seed}; }
  void watch_power(const Case& one);
  std::optional<reports::GpuPowerRow> power_between(const Case& one, int64_t begin_ns, int64_t end_ns);
  reports::TrialSetup setup_of(const Case& one) const;
  void name_for_vbench(const Case& one) const;
  std::string output_hash(const at::Tensor& made) const;
  std::string remember_output(const Case& one, const at::Tensor& made);
  void report_gpu(const Case& one, ProfiledTrial& profiled);

  const SuiteSpec& spec_;
  const std::filesystem::path out_dir_;
  VideoEngine& engine_;
  const Heartbeat& heart_;
  DimensionScores dimensions_{spec_};
  std::map<size_t, engine::PlanSummary> plans_;   // by variant
  std::set<size_t> warm_;                         // variants
  std::map<std::string, std::string> outputs_;    // hash of the frames, by case
  std::optional<GpuSampler> sampler_;             // absent on a CPU and without NVML
  bool asked_nvml_ = false, told_failure_ = false, told_others_ = false;
};

}  // namespace vorta::harness
