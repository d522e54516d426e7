// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/store/rows.h"

namespace vorta::reports {

using RunId = int64_t;
using CaseId = int64_t;
using ItemId = int64_t;
using TrialId = int64_t;

struct BegunRun {
  RunId id = 0;
  bool resumed = false;           ///< The database already held this run.
  int64_t interrupted_trials = 0; ///< Trials that a process which is gone left running; they must be done again.
  std::string key = {};           ///< The run's key.
};

/// What names a trial inside a run. `repeat` counts repeats of the same item from 0.
struct TrialKey {
  RunId run = 0;
  CaseId case_id = 0;
  ItemId item = 0;
  TrialRole role = TrialRole::kTiming;
  int64_t repeat = 0;
};

/// A trial already in the database, newest attempt.
struct TrialState {
  TrialId id = 0;
  TrialStatus status = TrialStatus::kRunning;
  int64_t attempt = 0;
};

/// The writer of run.sqlite: one writer per process. Every call is one short BEGIN IMMEDIATE transaction, so that after
/// a crash the file holds each call entirely or not at all. Every SQLite error (full disk, locked, corrupt, read-only)
/// becomes a DataError with the file and SQLite's words. Not thread-safe.
class RunStore {
 public:
  /// Makes the file, or opens it and applies missing migrations. DataError when it is another program's database or
  /// has a newer schema than this program (says both versions).
  static RunStore open_or_create(const std::filesystem::path& path);
  RunStore(RunStore&&) noexcept;
  RunStore& operator=(RunStore&&) noexcept;
  ~RunStore();

  /// Starts the run, or resumes the one with the same suite and environment identity. ConfigError when the database
  /// holds a run of another suite or another environment: results of two machines never share a table.
  BegunRun begin_run(const RunRow& run, const EnvironmentRow& environment);
  /// `reason`: why sampling ended, in words.
  void end_run(RunId run, std::string_view reason = "");
  /// Trials that the process `pid` of this boot left running.
  std::vector<TrialId> running_trials(int64_t pid) const;
  /// Trials of a case that took their process with them: failed of kind crash, signal, memory of a killed worker,
  /// timeout or stalled, all attempts counted.
  int64_t crashes_of(RunId run, CaseId case_id) const;
  /// Whether the newest attempt at `key` is such a trial.
  bool crashed(const TrialKey& key) const;

  /// Finds or adds; stable ids over resumed runs.
  CaseId ensure_case(RunId run, const CaseRow& row);
  ItemId ensure_item(const ItemRow& row);
  void define_metrics(const std::vector<MetricDefRow>& metrics);

  /// Writes the row (status running, owned by this process) before the work starts. A later attempt at the same key
  /// gets the next number. `position`: place in the order of the trial's round, -1 for none.
  TrialId begin_trial(const TrialKey& key, int64_t position = -1);
  /// All rows and status ok, in one transaction.
  void finish_trial(TrialId trial, const TrialResult& result);
  /// Status failed with its reason. Never loses what was measured before: `partial` is kept too.
  void fail_trial(TrialId trial, const ErrorRow& error, const TrialResult& partial = {});
  void skip_trial(TrialId trial, std::string_view reason);
  /// Later additions to a finished trial (scores that needed the reference's frames).
  void add_scores(TrialId trial, const std::vector<ScoreRow>& scores);
  void add_artefacts(TrialId trial, const std::vector<ArtefactRow>& artefacts);

  /// Replaces the case's routes and predictions of the run. `route_table` is steps x layers x heads branch numbers
  /// (0 dense, 1 coreset, 2 sliding tile) or empty.
  void set_routes(RunId run, CaseId case_id, const std::vector<RouteRow>& rows,
                  const std::vector<uint8_t>& route_table = {});
  /// Replaces the forwards of the case's first timed generation.
  void set_calls(RunId run, CaseId case_id, const std::vector<CallRow>& rows);
  void set_predictions(RunId run, CaseId case_id, const std::vector<PredictionRow>& rows);

  /// Resume queries.
  std::optional<TrialState> find_trial(const TrialKey& key) const;
  /// True when the newest attempt is ok, failed or skipped: nothing is left to do. Failed trials are repeated only when
  /// the caller asks for them (find_trial tells).
  bool is_settled(const TrialKey& key) const;
  std::vector<ArtefactRow> artefacts_of(TrialId trial) const;
  std::vector<ScoreRow> scores_of(TrialId trial) const;
  std::vector<SampleRow> samples_of(TrialId trial) const;

  const std::filesystem::path& path() const;

 private:
  struct State;
  explicit RunStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// SHA-256 of the canonical JSON text, hex: how cases, suites and environments are told apart.
std::string json_hash(std::string_view json_text);

}  // namespace vorta::reports
