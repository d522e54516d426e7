// SPDX-License-Identifier: Apache-2.0
#include "reports/query/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "engine/base/error.h"

namespace vorta::reports {

double median(std::vector<double> values) {
  VORTA_CHECK(!values.empty(), "median of nothing");
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

Summary summarise(const std::vector<double>& values) {
  Summary summary;
  summary.median = median(values);
  std::vector<double> deviations;
  for (const double value : values) deviations.push_back(std::abs(value - summary.median));
  summary.mad = median(deviations);
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  summary.min = *low;
  summary.max = *high;
  summary.count = static_cast<int64_t>(values.size());
  return summary;
}

double student_t_975(int64_t degrees_of_freedom) {
  static constexpr std::array<double, 30> kTable{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
                                                 2.201,  2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
                                                 2.080,  2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  VORTA_CHECK(degrees_of_freedom >= 1, "Student's t needs a degree of freedom");
  if (degrees_of_freedom <= 30) return kTable[static_cast<std::size_t>(degrees_of_freedom - 1)];
  // First term of the Cornish-Fisher expansion; within 0.001 of the exact value from here on.
  constexpr double kNormal = 1.959964;
  return kNormal + (kNormal * kNormal * kNormal + kNormal) / (4.0 * static_cast<double>(degrees_of_freedom));
}

std::optional<Estimate> mean_estimate(const std::vector<Clustered>& values) {
  if (values.empty()) return std::nullopt;
  std::map<int64_t, std::pair<double, int64_t>> prompts;
  for (const Clustered& value : values) {
    prompts[value.prompt].first += value.value;
    prompts[value.prompt].second += 1;
  }
  const auto count = static_cast<double>(prompts.size());
  double sum = 0;
  for (const auto& [prompt, total] : prompts) sum += total.first / static_cast<double>(total.second);
  Estimate estimate{sum / count, std::nullopt, std::nullopt, static_cast<int64_t>(prompts.size())};
  if (estimate.prompts < kFewestForInterval) return estimate;
  double squares = 0;
  for (const auto& [prompt, total] : prompts) {
    const double deviation = total.first / static_cast<double>(total.second) - estimate.value;
    squares += deviation * deviation;
  }
  const double half = student_t_975(estimate.prompts - 1) * std::sqrt(squares / (count - 1) / count);
  estimate.low = estimate.value - half;
  estimate.high = estimate.value + half;
  return estimate;
}

std::optional<Estimate> ratio_estimate(const std::vector<Clustered>& ratios) {
  std::vector<Clustered> logs;
  for (const Clustered& ratio : ratios) {
    VORTA_CHECK(ratio.value > 0, "a ratio of durations must be positive");
    logs.push_back({ratio.prompt, std::log(ratio.value)});
  }
  auto estimate = mean_estimate(logs);
  if (!estimate) return estimate;
  estimate->value = std::exp(estimate->value);
  if (estimate->low) estimate->low = std::exp(*estimate->low);
  if (estimate->high) estimate->high = std::exp(*estimate->high);
  return estimate;
}

}  // namespace vorta::reports
