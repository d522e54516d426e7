// SPDX-License-Identifier: Apache-2.0
#include "harness/run/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/log.h"
#include "harness/run/isolate.h"
#include "harness/run/plan_rows.h"
#include "harness/run/run_rows.h"
#include "harness/run/scoring.h"
#include "harness/run/trial.h"
#include "harness/run/video_files.h"
#include "harness/stats/paired.h"

namespace vorta::harness {
namespace fs = std::filesystem;
using reports::TrialKey;
using reports::TrialRole;
using reports::TrialStatus;
namespace {

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

Plan plan_of(const SuiteSpec& spec, const RunOptions& options) {
  Plan plan = make_plan(spec, options.only);
  if (!options.shard) return plan;
  const size_t whole = plan.items.size();
  keep_shard(plan, spec, *options.shard);
  if (plan.items.empty()) log_warn(empty_shard_text(*options.shard, whole));
  return plan;
}

std::vector<Case> first_cases(const Plan& plan) {
  std::vector<Case> cases;
  for (const size_t variant : variants_of(plan)) {
    for (const PlanItem& item : plan.items) {
      const auto found = std::find_if(item.cases.begin(), item.cases.end(),
                                      [variant](const Case& one) { return one.variant == variant; });
      if (found == item.cases.end()) continue;
      cases.push_back(*found);
      break;
    }
  }
  return cases;
}

class Runner {
 public:
  Runner(const SuiteSpec& spec, const RunOptions& options, VideoEngine& engine)
      : spec_(spec),
        options_(options),
        engine_(engine),
        plan_(plan_of(spec, options)),
        observed_{.cases = first_cases(plan_)},
        rounds_(options.rounds > 0 ? options.rounds : spec.measurement.trials),
        rows_(spec, options) {}

  RunSummary run() {
    rows_.begin(plan_, model_json());
    store_.define_metrics(maker_.dimension_metrics());
    StopReason ended = StopReason::kRounds;
    for (int64_t round = 0; round < rounds_; ++round) {
      for (size_t i = 0; i < plan_.items.size(); ++i) {
        run_item(plan_.items[i], round);
        score_item(plan_.items[i], round);
      }
      if (spec_.measurement.profile && options_.rounds > 0) profile_variants(round);
      done_rounds_ = round + 1;
      if (const auto reason = enough(); reason) {
        ended = *reason;
        break;
      }
    }
    if (spec_.measurement.profile && options_.rounds == 0) profile_variants(0);
    rows_.store().end_run(rows_.id(), to_string(ended));
    return summary();
  }

 private:
  // A model that cannot be read fails case by case, with its rows; the run itself still begins.
  std::string model_json() {
    try {
      return engine_.model_json(spec_);
    } catch (const std::exception&) {
      return canonical_json(
          nlohmann::json{{"name", spec_.model}, {"error", describe_error(std::current_exception()).message}});
    }
  }

  void run_item(const PlanItem& item, int64_t round) {
    int64_t position = 0;
    for (const Case* one : run_order(item, round, order_seed(spec_))) {
      const TrialKey trial = rows_.key(*one, TrialRole::kTiming, round);
      if (rows_.is_to_do(trial)) run_trial(*one, trial, position);
      else ++reused_;
      ++position;
    }
  }

  // By the suite's rule; rounds that a caller asked for by number are all made.
  std::optional<StopReason> enough() {
    const Measurement& measurement = spec_.measurement;
    if (options_.rounds > 0 || (measurement.half_width <= 0 && measurement.most_minutes <= 0)) return std::nullopt;
    half_widths_.push_back(measurement.half_width > 0 ? step_half_width(rows_, spec_, plan_, done_rounds_)
                                                      : std::numeric_limits<double>::infinity());
    const StoppingRule rule{.min_rounds = std::min(measurement.least_trials, rounds_),
                            .max_rounds = rounds_,
                            .target_half_width = measurement.half_width,
                            .max_seconds = 60 * measurement.most_minutes};
    const double passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    return stop_reason(rule, half_widths_, passed);
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
      const reports::TrialResult result = maker_.timed(one, trial.repeat, clock);
      if (traced_.insert(one.variant).second)
        store_.set_calls(rows_.id(), rows_.case_id(one), call_rows(maker_.calls()));
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
      log_error(fmt::format("{} p{:02} seed {} failed: {}", spec_.variants[one.variant].name, one.prompt, one.seed,
                            error.message));
      heart_.trial_ends();
      if (error.kind == "poisoned" && options_.progress_fd >= 0) throw PoisonedContext(error.message);
    }
    heart_.trial_ends();
  }

  bool quarantined(const Case& one, reports::TrialId id) {
    const int64_t crashes = store_.crashes_of(rows_.id(), rows_.case_id(one));
    if (crashes < kCrashesToQuarantine) return false;
    store_.skip_trial(id, fmt::format("quarantined: {} trials of this case took their process with them", crashes));
    if (told_quarantine_.insert(one.variant).second)
      log_warn(fmt::format("{} is quarantined after {} crashes", spec_.variants[one.variant].name, crashes));
    return true;
  }

  // Loads, plans and describes; before a variant's first timed trial of this process, warms up. None of it is timed.
  void prepare(const Case& one) {
    const engine::PlanSummary& plan = maker_.prepare(one);
    if (described_.insert(one.variant).second) {
      store_.set_routes(rows_.id(), rows_.case_id(one), route_rows(plan), route_bytes(plan));
      store_.set_predictions(rows_.id(), rows_.case_id(one), prediction_rows(plan, std::nullopt));
    }
    maker_.warm_up(one);
  }

  // Scores that compare with the reference wait until the whole item is generated. What is missing is worked out from
  // the database, so a run that was killed between generating and scoring catches up here.
  void score_item(const PlanItem& item, int64_t repeat) {
    if (maker_.makes_latents()) return;
    const auto reference =
        std::find_if(item.cases.begin(), item.cases.end(), [&](const Case& one) { return maker_.is_reference(one); });
    for (const Case& one : item.cases) {
      const auto state = store_.find_trial(rows_.key(one, TrialRole::kTiming, repeat));
      if (maker_.is_reference(one) || !state || state->status != TrialStatus::kOk) continue;
      const std::vector<std::string> missing = missing_comparisons(spec_, store_.scores_of(state->id));
      if (!missing.empty()) {
        store_.add_scores(state->id, compare(missing, maker_.name(one, repeat), maker_.name(*reference)));
      }
      drop_frames(options_.out_dir, maker_.name(one, repeat));
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

  // One observed generation of each variant, on its first item; never mixed with timed ones.
  void profile_variants(int64_t round) {
    for (const Case* each : run_order(observed_, round, order_seed(spec_))) {
      const Case& one = *each;
      if (!spec_.variants[one.variant].profile) continue;
      const TrialKey trial = rows_.key(one, TrialRole::kProfile, round);
      if (!rows_.is_to_do(trial)) {
        ++reused_;
        continue;
      }
      const reports::TrialId id = store_.begin_trial(trial);
      if (quarantined(one, id)) continue;
      heart_.trial_begins();
      try {
        const engine::PlanSummary& plan = maker_.prepare(one);
        const ProfiledTrial profiled = maker_.profiled(one, timed_samples(one));
        store_.finish_trial(id, profiled.result);
        store_.set_predictions(rows_.id(), rows_.case_id(one), prediction_rows(plan, profiled.work));
      } catch (...) {
        const reports::ErrorRow error = describe_error(std::current_exception());
        store_.fail_trial(id, error);
        log_error(fmt::format("profile of {} failed: {}", spec_.variants[one.variant].name, error.message));
        if (error.kind == "poisoned" && options_.progress_fd >= 0) throw PoisonedContext(error.message);
      }
      heart_.trial_ends();
    }
  }

  // Of the timed trials of this case, whichever call did them.
  std::vector<std::vector<reports::SampleRow>> timed_samples(const Case& one) const {
    std::vector<std::vector<reports::SampleRow>> samples;
    for (int64_t repeat = 0; repeat < rounds_; ++repeat) {
      const auto state = store_.find_trial(rows_.key(one, TrialRole::kTiming, repeat));
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
        for (int64_t repeat = 0; repeat < done_rounds_; ++repeat) {
          const auto state = count(rows_.key(one, TrialRole::kTiming, repeat));
          if (!state) continue;
          for (const auto& score : store_.scores_of(state->id))
            out.missing_scores += score.value || score.detail.starts_with(reports::kNotCompared) ? 0 : 1;
        }
      }
    }
    if (!spec_.measurement.profile) return out;
    for (int64_t round = 0; round < (options_.rounds > 0 ? rounds_ : 1); ++round) {
      for (const Case& one : observed_.cases) {
        if (spec_.variants[one.variant].profile) count(rows_.key(one, TrialRole::kProfile, round));
      }
    }
    return out;
  }

  const SuiteSpec& spec_;
  const RunOptions& options_;
  VideoEngine& engine_;
  const Heartbeat heart_{options_.progress_fd};
  TrialMaker maker_{spec_, options_.out_dir, engine_, heart_};
  const Plan plan_;
  const PlanItem observed_;  // each variant's first case
  const int64_t rounds_;
  RunRows rows_;
  reports::RunStore& store_ = rows_.store();
  std::set<size_t> described_, traced_;  // variants
  std::set<size_t> told_quarantine_;  // variants
  int64_t reused_ = 0;
  int64_t done_rounds_ = 0;
  std::vector<double> half_widths_;  // after each round, where the suite asks for one
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace

RunSummary run_suite(const SuiteSpec& spec, const RunOptions& options, VideoEngine& engine) {
  return Runner(spec, options, engine).run();
}

}  // namespace vorta::harness
