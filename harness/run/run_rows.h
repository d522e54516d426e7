// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "harness/plan/plan.h"
#include "harness/run/runner.h"
#include "reports/store/run_store.h"

namespace vorta::harness {

/// The run in its database: its row, those of its cases and items, and the keys of its trials.
class RunRows {
 public:
  /// Makes the folder and the database, or opens what is there. DataError when it cannot be written.
  RunRows(const SuiteSpec& spec, const RunOptions& options);

  /// Begins the run, or resumes it, with rows for every case and item of `plan`. ConfigError when the folder holds
  /// another's.
  void begin(const Plan& plan, const std::string& model_json);
  /// Settled trials are left alone, but those that took their process with them, and failed ones where the options say
  /// so.
  bool is_to_do(const reports::TrialKey& trial) const;

  reports::TrialKey key(const Case& one, reports::TrialRole role, int64_t repeat = 0) const;
  reports::CaseId case_id(const Case& one) const { return case_ids_.at(one.variant); }
  /// Mean seconds of a step of a finished timed trial.
  std::optional<double> step_seconds(const Case& one, int64_t repeat) const;

  reports::RunStore& store() { return store_; }
  const reports::RunStore& store() const { return store_; }
  reports::RunId id() const { return id_; }

 private:
  void ensure_rows(const Case& one);
  std::string shared_key() const;

  const SuiteSpec& spec_;
  const RunOptions& options_;
  reports::RunStore store_;
  reports::RunId id_ = 0;
  std::map<size_t, reports::CaseId> case_ids_;  // by variant
  std::map<std::pair<size_t, uint64_t>, reports::ItemId> item_ids_;  // by prompt and seed
};

/// Half of the widest 95 % interval of a variant's step against the reference's after `rounds` rounds, as a share;
/// rounds are what repeats. Infinite while there are too few.
double step_half_width(const RunRows& rows, const SuiteSpec& spec, const Plan& plan, int64_t rounds);

}  // namespace vorta::harness
