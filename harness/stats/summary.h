// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace vorta::harness {

/// Middle value, or the mean of the two middle values. InternalError when empty. Values must be finite.
double median(std::span<const double> values);
/// Median of |value - median|, unscaled (times 1.4826 it estimates the standard deviation of normal noise).
double median_absolute_deviation(std::span<const double> values);
double mean(std::span<const double> values);
/// Square root of the unbiased variance; 0 for fewer than two values.
double standard_deviation(std::span<const double> values);
/// exp(mean(log(values))). InternalError unless all values are positive.
double geometric_mean(std::span<const double> values);

struct Interval {
  double low = 0;
  double high = 0;
};

/// Fewer pairs than this get no interval: none is honest at that size.
inline constexpr int64_t kMinPairs = 5;

/// Interval of the median from order statistics (the sign test inverted): exact, coverage at least `confidence`
/// whatever the distribution. Empty when even the widest one covers less (fewer than 6 values at 95 %).
std::optional<Interval> sign_test_interval(std::span<const double> values, double confidence);

struct BootstrapOptions {
  double confidence = 0.95;
  int64_t replicates = 9999;
  uint64_t seed = 0;
};

/// Studentised (bootstrap-t) interval of the mean. Percentile intervals cover only 80-90 % of the time at 5 to 10
/// values; this one about 95 %. Empty for fewer than kMinPairs values. Deterministic by seed.
std::optional<Interval> studentised_interval(std::span<const double> values, const BootstrapOptions& options);

/// How many times faster `candidate` is than `reference`, over paired items (same prompt and seed), in seconds.
struct SpeedRatio {
  int64_t pairs = 0;
  double geomean = 0;                  // exp(mean(ln reference_i - ln candidate_i))
  double of_totals = 0;                // sum(reference) / sum(candidate): what a user waits for
  std::optional<Interval> interval;    // 95 % of geomean, studentised over the logs
  std::optional<Interval> sign_test;   // 95 % of the median ratio
};

/// InternalError unless both have the same size, at least 1, and hold positive values.
SpeedRatio speed_ratio(std::span<const double> reference_s, std::span<const double> candidate_s, uint64_t seed);

}  // namespace vorta::harness
