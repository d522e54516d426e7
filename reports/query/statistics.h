// SPDX-License-Identifier: Apache-2.0
// Pure functions over numbers. The unit of inference is the prompt: seeds of one prompt are averaged first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace vorta::reports {

/// Intervals are refused below this number of prompts.
inline constexpr int64_t kFewestForInterval = 3;

/// An estimate with its 95 % interval (absent when there are too few prompts) and the number of prompts behind it.
struct Estimate {
  double value = 0;
  std::optional<double> low;
  std::optional<double> high;
  int64_t prompts = 0;
};

/// Middle and spread of measured values.
struct Summary {
  double median = 0;
  double mad = 0;  ///< Median absolute deviation, unscaled.
  double min = 0;
  double max = 0;
  int64_t count = 0;
};

/// A value that belongs to a prompt; several may share one (seeds).
struct Clustered {
  int64_t prompt = 0;
  double value = 0;
};

double median(std::vector<double> values);  // not empty
Summary summarise(const std::vector<double>& values);
/// Mean over prompts with Student's t interval; nothing for no values.
std::optional<Estimate> mean_estimate(const std::vector<Clustered>& values);
/// exp of the mean of logarithms, with the t interval taken on the logarithms: for ratios. Values must be positive.
std::optional<Estimate> ratio_estimate(const std::vector<Clustered>& ratios);
/// 97.5 % point of Student's t.
double student_t_975(int64_t degrees_of_freedom);

}  // namespace vorta::reports
