// SPDX-License-Identifier: Apache-2.0
// A whole report as one value: what every renderer draws. Durations are seconds.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "reports/query/audit.h"
#include "reports/claims/claims.h"
#include "reports/query/statistics.h"
#include "reports/store/rows.h"

namespace vorta::reports {

/// Name and value of a JSON object's scalar, in key order; nested objects become "outer.inner".
using Facts = std::vector<std::pair<std::string, std::string>>;

/// One prompt and seed in one variant: times are medians over repeats; "step" is the mean of a denoising run's steps.
struct ItemResult {
  int64_t item = 0;
  std::map<std::string, double> seconds;   ///< By stage: text, denoise, vae, e2e, step.
  std::map<std::string, double> scores;    ///< By metric key, mean over repeats.
  std::vector<ArtefactRow> artefacts;
};

struct ScoreSummary {
  Estimate mean;
  std::optional<Estimate> delta;  ///< Paired difference to the reference variant; absent for the reference itself.
  int64_t failed = 0;             ///< Scores that could not be computed.
};

/// Clocks and power of one trial.
struct TrialPower {
  TrialRole role = TrialRole::kTiming;
  int64_t item = 0;
  GpuPowerRow row;
};

struct Variant {
  CaseRow row;
  Facts params;
  bool is_reference = false;
  int64_t ok = 0;       ///< Timing trials by status, newest attempt.
  int64_t failed = 0;
  int64_t skipped = 0;
  int64_t unfinished = 0;
  std::vector<ItemResult> items;
  std::map<std::string, Summary> stages;         ///< Over items.
  std::map<std::string, Estimate> speedups;      ///< Reference seconds over ours, paired by item; geometric mean.
  std::vector<double> step_seconds;              ///< Median by step index.
  std::map<std::string, ScoreSummary> scores;    ///< By metric key.
  std::map<std::string, int64_t> peak_bytes;     ///< Largest over trials, by scope.
  std::vector<PredictionRow> predictions;        ///< `measured` filled for speed-ups.
  std::vector<RangeRow> operators;               ///< Longest self time first.
  std::vector<RangeRow> layers;                  ///< By layer, then name.
  std::vector<RouteRow> routes;
  std::vector<CallRow> calls;                    ///< Of one generation, in order.
  std::optional<GpuProfile> gpu;                 ///< Of the profiled trial; absent where none ran on a GPU.
  std::vector<TrialPower> power;                 ///< Of timed and profiled trials on a GPU.
  std::optional<TrialSetup> setup;               ///< Of the newest trial that left one.

  /// Random weights: no score of such a variant enters a report.
  bool is_random() const { return setup && setup->is_random(); }
  /// Only the first steps of the schedule ran.
  bool is_partial() const { return setup && setup->is_partial(); }
};

struct Item {
  int64_t id = 0;
  int64_t prompt_id = 0;
  ItemRow row;
};

struct FailedTrial {
  std::string variant;
  std::string prompt;
  int64_t seed = 0;
  TrialRole role = TrialRole::kTiming;
  ErrorRow error;
};

struct Report {
  std::filesystem::path folder;  ///< Where artefact paths start.
  std::string suite;
  std::string title;
  std::string tool_version;
  std::string notes;
  std::string started_utc;       ///< ISO 8601, or "" when unknown.
  double elapsed_seconds = 0;    ///< Between the first start and the last end.
  int64_t resumed_count = 0;
  bool finished = false;
  std::string stop_reason;       ///< Why sampling ended, in words; "" in old databases and unfinished runs.
  std::string reference_variant;
  Facts model;
  Facts environment;
  Facts environment_now;         ///< The volatile part.
  std::vector<MetricDefRow> metrics;
  std::vector<Variant> variants;
  std::vector<Item> items;
  std::vector<FailedTrial> failures;
  std::vector<ClaimVerdict> claims;
  std::vector<PublishedRow> published;
  std::vector<std::string>
      warnings;               ///< What every format says first: random weights, extrapolated times, broken audits.
  std::vector<Audit> audits;  ///< Ways in which the run could fool its reader; empty where nothing could be looked at.
};

/// Reads run.sqlite (or the folder that holds it), read-only. `run_key`: which of many runs; empty: the newest.
/// DataError when it is no result database, is newer than this program, or holds no such run.
Report read_report(const std::filesystem::path& database, std::string_view run_key = {});

/// Text of a claim's or table's stage: "denoise" -> "denoising".
std::string stage_title(const std::string& stage);

}  // namespace vorta::reports
