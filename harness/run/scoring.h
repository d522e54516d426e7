// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "harness/suite/suite_spec.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// Definitions of the suite's metrics for the result store, without the dimensions of dimension_scores.h, as everything
/// here. ConfigError on an unknown metric.
std::vector<reports::MetricDefRow> metric_rows(const SuiteSpec& spec);

/// Scores of the suite's metrics that need nothing but `frames` [F, 3, Y, X] uint8. A metric that refuses the frames
/// leaves a row without a value and with the reason.
std::vector<reports::ScoreRow> score_alone(const SuiteSpec& spec, const at::Tensor& frames);

/// Names of the suite's metrics against the reference that have no row in `present`.
std::vector<std::string> missing_comparisons(const SuiteSpec& spec, const std::vector<reports::ScoreRow>& present);
std::vector<reports::ScoreRow> score_against(const std::vector<std::string>& metrics, const at::Tensor& frames,
                                             const at::Tensor& reference);
/// Rows without values: the metrics were wanted and could not be computed because of `why`.
std::vector<reports::ScoreRow> failed_scores(const std::vector<std::string>& metrics, std::string_view why);

}  // namespace vorta::harness
