// SPDX-License-Identifier: Apache-2.0
#include "harness/stats/summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/base/error.h"

namespace vorta::harness {
namespace {

// SplitMix64: the same stream on every standard library, which std::uniform_int_distribution does not promise.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  size_t below(size_t bound) {
    state_ += 0x9E3779B97F4A7C15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<size_t>((static_cast<unsigned __int128>(z ^ (z >> 31)) * bound) >> 64);
  }

 private:
  uint64_t state_;
};

double standard_error(std::span<const double> values) {
  return standard_deviation(values) / std::sqrt(static_cast<double>(values.size()));
}

// Value at `fraction` of sorted values, linear between neighbours.
double quantile_of_sorted(const std::vector<double>& sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

std::optional<Interval> exponentiated(const std::optional<Interval>& logs) {
  if (!logs) return std::nullopt;
  return Interval{std::exp(logs->low), std::exp(logs->high)};
}

}  // namespace

double median(std::span<const double> values) {
  VORTA_CHECK(!values.empty(), "median of nothing");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
}

double median_absolute_deviation(std::span<const double> values) {
  const double center = median(values);
  std::vector<double> deviations;
  for (double value : values) deviations.push_back(std::abs(value - center));
  return median(deviations);
}

double mean(std::span<const double> values) {
  VORTA_CHECK(!values.empty(), "mean of nothing");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return 0.0;
  const double center = mean(values);
  double sum = 0.0;
  for (double value : values) sum += (value - center) * (value - center);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double geometric_mean(std::span<const double> values) {
  std::vector<double> logs;
  for (double value : values) {
    VORTA_CHECK(value > 0.0, "geometric mean of a value that is not positive");
    logs.push_back(std::log(value));
  }
  return std::exp(mean(logs));
}

std::optional<Interval> sign_test_interval(std::span<const double> values, double confidence) {
  VORTA_CHECK(confidence > 0.0 && confidence < 1.0, "confidence outside (0, 1)");
  const size_t n = values.size();
  if (n == 0) return std::nullopt;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  // [x_(k), x_(n+1-k)] misses the median with probability 2 P(Binomial(n, 1/2) < k): take the largest k that may.
  double term = std::pow(0.5, static_cast<double>(n));  // P(Binomial = 0)
  double below = 0.0;
  size_t k = 0;
  while (k < n / 2 && 2.0 * (below + term) <= 1.0 - confidence) {
    below += term;
    term *= static_cast<double>(n - k) / static_cast<double>(k + 1);
    ++k;
  }
  if (k == 0) return std::nullopt;
  return Interval{sorted[k - 1], sorted[n - k]};
}

std::optional<Interval> studentised_interval(std::span<const double> values, const BootstrapOptions& options) {
  VORTA_CHECK(options.replicates > 0, "a bootstrap needs replicates");
  if (static_cast<int64_t>(values.size()) < kMinPairs) return std::nullopt;
  const double center = mean(values);
  const double error = standard_error(values);
  if (error == 0.0) return Interval{center, center};
  Random random(options.seed);
  std::vector<double> draw(values.size());
  std::vector<double> pivots;
  for (int64_t replicate = 0; replicate < options.replicates; ++replicate) {
    for (double& value : draw) value = values[random.below(values.size())];
    const double draw_error = standard_error(draw);
    if (draw_error > 0.0) pivots.push_back((mean(draw) - center) / draw_error);  // all-equal draws carry no pivot
  }
  if (pivots.empty()) return std::nullopt;
  std::sort(pivots.begin(), pivots.end());
  const double tail = (1.0 - options.confidence) / 2.0;
  return Interval{center - quantile_of_sorted(pivots, 1.0 - tail) * error,
                  center - quantile_of_sorted(pivots, tail) * error};
}

SpeedRatio speed_ratio(std::span<const double> reference_s, std::span<const double> candidate_s, uint64_t seed) {
  VORTA_CHECK(reference_s.size() == candidate_s.size() && !reference_s.empty(), "a ratio needs pairs");
  std::vector<double> logs;
  double reference_total = 0.0, candidate_total = 0.0;
  for (size_t i = 0; i < reference_s.size(); ++i) {
    VORTA_CHECK(reference_s[i] > 0.0 && candidate_s[i] > 0.0, "times must be positive");
    logs.push_back(std::log(reference_s[i]) - std::log(candidate_s[i]));
    reference_total += reference_s[i];
    candidate_total += candidate_s[i];
  }
  SpeedRatio ratio;
  ratio.pairs = static_cast<int64_t>(logs.size());
  ratio.geomean = std::exp(mean(logs));
  ratio.of_totals = reference_total / candidate_total;
  ratio.interval = exponentiated(studentised_interval(logs, {.seed = seed}));
  ratio.sign_test = exponentiated(sign_test_interval(logs, 0.95));
  return ratio;
}

}  // namespace vorta::harness
