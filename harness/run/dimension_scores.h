// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/suite/suite_spec.h"
#include "metrics/core/scorer.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// Names of a suite's "metrics" that are dimensions of the embedded profile: "embedded", all sixteen and their totals,
/// or "embedded/color", one. The user's networks score videos from files (`vorta-bench score`), not frames.
bool is_dimension_metric(std::string_view name);
std::vector<std::string> dimension_metric_names();

/// The embedded profile's dimensions of a suite, scored on the frames of one video after another. A dimension whose
/// weights are missing or not the scorers' has rows without a value and with the reason, never a zero; one that the
/// prompt does not ask for has none. Totals of a video: those of the dimensions that its prompt asks for, by VBench's
/// weights.
class DimensionScores {
 public:
  explicit DimensionScores(const SuiteSpec& spec);

  std::vector<reports::MetricDefRow> metric_rows() const;
  /// frames: [F, 3, Y, X] uint8. `detail` of a score: JSON with profile, version, hash of the weights, normalised value
  /// and frames.
  std::vector<reports::ScoreRow> score(const at::Tensor& frames, double fps, const std::string& prompt);

 private:
  struct Loaded {
    std::unique_ptr<metrics::Scorer> scorer;
    std::string failure;  // why there is none
  };

  reports::ScoreRow score_one(const metrics::Dimension& dimension, const metrics::VideoInput& video, bool& asked);
  Loaded& loaded(const metrics::Dimension& dimension);
  std::vector<reports::ScoreRow> totals_of_video(const std::map<std::string, double>& scores) const;
  std::string weights_hash() const;

  std::vector<const metrics::Dimension*> dimensions_;
  bool totals_ = false;
  metrics::ScorerWeights weights_;
  std::map<std::string_view, Loaded> scorers_;
};

}  // namespace vorta::harness
