// SPDX-License-Identifier: Apache-2.0
// What an acceleration is worth beside the same model with fewer steps.
#pragma once

#include "reports/query/report.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace vorta::reports {

/// One metric of a variant beside its control's, over the items that both have.
struct ControlScore {
  std::string metric;  ///< Key.
  double variant = 0;
  double control = 0;
  Estimate gain;  ///< Paired; positive: the variant is better, whatever the metric's direction.
  /// 1 better, -1 worse, 0 not decided: the interval holds 0. Without an interval the sign decides.
  int verdict = 0;
};

/// A variant and the control of the same predicted cost.
struct ControlComparison {
  std::string variant;
  std::string control;
  std::optional<double> seconds_ratio;  ///< Denoising seconds of the variant over the control's.
  std::vector<ControlScore> scores;
  std::string words;  ///< "pab does not beat dense-15-steps: ..."
};

/// One dimension of many that totals sum up ("embedded/dimension" beside "embedded"): it has its rows in the table of
/// qualities, and is left out of sentences, fronts and captions, which tell the totals.
bool is_part_of_total(const MetricDefRow& metric);

/// Pairs every control of the run (a variant with the parameter "control_for") with its targets. The reference beside
/// itself measures noise.
std::vector<ControlComparison> compare_with_controls(const Report& report);

/// By metric key, the variants that no other one beats in both denoising seconds and that metric; fastest first.
std::map<std::string, std::vector<std::string>> pareto_fronts(const Report& report);

/// Predicted speed-ups against the run's reference, by the FLOPs that the plans of both predict: "speedup/denoise", and
/// in place of the plan's own, which supposes the reference's schedule, "speedup/step" and "speedup/e2e".
void predict_against_reference(Report& report);

}  // namespace vorta::reports
