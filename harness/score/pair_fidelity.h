// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/score/score_files.h"
#include "metrics/core/metric.h"

namespace vorta::harness {

class ScoreJournal;
struct ScoreRunOptions;
struct ScoreSummary;

/// Two videos of one name under one metric: its value, or why there is none.
struct FidelityPair {
  std::string video;
  std::optional<double> value;
  std::string error;
};

/// A metric over all pairs.
struct FidelityResult {
  const metrics::Metric* metric = nullptr;
  std::vector<UsedWeights> weights;
  std::vector<FidelityPair> pairs;
  std::string not_measured;  // which weights are missing

  std::optional<double> mean() const;  // of the pairs that have a value
};

/// The metrics `options.fidelity` between the videos of the same names in `videos_path` and `reference_path`, on their
/// frames as decord decodes them; pairs are resumed and sharded as scores are, and counted in `summary`. Frames of
/// other sizes or numbers are the pair's failure, not the run's.
/// @throws ConfigError for a metric that compares nothing, MachineError when the journal cannot be written.
std::vector<FidelityResult> compare_pairs(const ScoreRunOptions& options, ScoreJournal& journal, ScoreSummary& summary);

nlohmann::ordered_json fidelity_json(const std::vector<FidelityResult>& results);

}  // namespace vorta::harness
