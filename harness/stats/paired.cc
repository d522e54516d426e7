// SPDX-License-Identifier: Apache-2.0
#include "harness/stats/paired.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>

#include "engine/base/error.h"

namespace vorta::harness {
namespace {

constexpr double kRounding = 1e-12;

// P(k of n <= Binomial(n, 1/2) <= n - k): what [x_(k), x_(n+1-k)] covers.
double sign_coverage(size_t n, size_t k) {
  double term = std::pow(0.5, static_cast<double>(n)), below = 0.0;
  for (size_t i = 0; i < k; ++i) {
    below += term;
    term *= static_cast<double>(n - i) / static_cast<double>(i + 1);
  }
  return 1.0 - 2.0 * below;
}

// Continued fraction of the incomplete beta function (Lentz).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
  d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
  double value = d;
  for (int m = 1; m <= 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
    for (const double numerator : {even, odd}) {
      d = 1.0 + numerator * d;
      c = 1.0 + numerator / c;
      d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
      if (std::abs(c) < kTiny) c = kTiny;
      value *= d * c;
    }
    if (std::abs(d * c - 1.0) < 1e-15) break;
  }
  return value;
}

double incomplete_beta(double a, double b, double x) {
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1.0) / (a + b + 2.0)) return front * beta_fraction(a, b, x) / a;
  return 1.0 - front * beta_fraction(b, a, 1.0 - x) / b;
}

// Inverse of an increasing function by bisection.
template <typename Function>
double invert(Function function, double target, double low, double high) {
  for (int i = 0; i < 200 && high - low > 1e-13 * std::max(1.0, std::abs(low)); ++i) {
    const double middle = 0.5 * (low + high);
    (function(middle) < target ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double two_sided(double t, double degrees) { return 2.0 * (1.0 - student_t_cdf(std::abs(t), degrees)); }

std::optional<Interval> interval_of(std::span<const double> values, const PairedOptions& options) {
  if (options.kind == IntervalKind::kSign) return median_interval(values, options.confidence);
  if (options.kind == IntervalKind::kStudent) return student_interval(values, options.confidence);
  return studentised_interval(values, {.confidence = options.confidence, .seed = options.seed});
}

Comparison compare(double estimate, const std::optional<Interval>& interval, double margin) {
  if (!interval) return Comparison::kInconclusive;
  if (interval->low > -margin && interval->high < margin) return Comparison::kEquivalent;
  if (interval->low > 0.0 && estimate >= margin) return Comparison::kWorse;
  if (interval->high < 0.0 && estimate <= -margin) return Comparison::kBetter;
  return Comparison::kInconclusive;
}

double welch_p(std::span<const double> a, std::span<const double> b) {
  const double va = std::pow(standard_deviation(a), 2) / static_cast<double>(a.size());
  const double vb = std::pow(standard_deviation(b), 2) / static_cast<double>(b.size());
  const double difference = mean(a) - mean(b);
  if (va + vb == 0.0) return difference == 0.0 ? 1.0 : 0.0;
  const double degrees = std::pow(va + vb, 2) /
                         (va * va / static_cast<double>(a.size() - 1) + vb * vb / static_cast<double>(b.size() - 1));
  return two_sided(difference / std::sqrt(va + vb), degrees);
}

double pair_distances(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0;
  for (double x : a) {
    for (double y : b) sum += std::abs(x - y);
  }
  return sum;
}

// Scaled energy distance between the parts before and from `split`.
double energy(std::span<const double> series, size_t split) {
  const auto a = series.subspan(0, split), b = series.subspan(split);
  const auto m = static_cast<double>(a.size()), n = static_cast<double>(b.size());
  const double between = 2.0 * pair_distances(a, b) / (m * n);
  return m * n / (m + n) * (between - pair_distances(a, a) / (m * (m - 1)) - pair_distances(b, b) / (n * (n - 1)));
}

void split_series(std::span<const double> series, size_t offset, double p, double magnitude,
                  std::vector<size_t>& found) {
  constexpr size_t kShortest = 4;
  if (series.size() < 2 * kShortest) return;
  size_t best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (size_t split = kShortest; split + kShortest <= series.size(); ++split) {
    const double value = energy(series, split);
    if (value > most) {
      most = value;
      best = split;
    }
  }
  const auto before = series.subspan(0, best), after = series.subspan(best);
  const bool large = std::abs(mean(after) - mean(before)) >= magnitude * std::abs(mean(before));
  if (!large || welch_p(before, after) > p) return;
  split_series(before, offset, p, magnitude, found);
  found.push_back(offset + best);
  split_series(after, offset + best, p, magnitude, found);
}

}  // namespace

std::string_view to_string(Comparison comparison) {
  constexpr std::string_view kNames[] = {"better", "worse", "equivalent", "inconclusive"};
  return kNames[static_cast<size_t>(comparison)];
}

std::string_view to_string(StopReason reason) {
  constexpr std::string_view kNames[] = {"precision reached", "noise plateau",       "rounds used up",
                                         "time used up",      "one run has decided", "too noisy for the rounds left"};
  return kNames[static_cast<size_t>(reason)];
}

std::vector<double> cluster_means(std::span<const ClusteredValue> values) {
  std::map<int64_t, std::vector<double>> clusters;
  for (const ClusteredValue& value : values) clusters[value.cluster].push_back(value.value);
  std::vector<double> means;
  for (const auto& [cluster, members] : clusters) means.push_back(mean(members));
  return means;
}

double normal_quantile(double probability) {
  VORTA_CHECK(probability > 0.0 && probability < 1.0, "probability outside (0, 1)");
  return invert([](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }, probability, -40.0, 40.0);
}

double student_t_cdf(double t, double degrees) {
  VORTA_CHECK(degrees > 0.0, "Student's t needs degrees of freedom");
  const double tail = 0.5 * incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + t * t));
  return t > 0.0 ? 1.0 - tail : tail;
}

double student_t_quantile(double probability, double degrees) {
  VORTA_CHECK(probability > 0.0 && probability < 1.0, "probability outside (0, 1)");
  return invert([degrees](double t) { return student_t_cdf(t, degrees); }, probability, -1e6, 1e6);
}

std::optional<Interval> median_interval(std::span<const double> values, double confidence) {
  VORTA_CHECK(confidence > 0.0 && confidence < 1.0, "confidence outside (0, 1)");
  const size_t n = values.size();
  size_t k = 0;
  while (k < n / 2 && sign_coverage(n, k + 1) >= confidence - kRounding) ++k;
  if (k == 0) return std::nullopt;
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  if (k == n / 2) return Interval{sorted[k - 1], sorted[n - k]};
  const double wide = sign_coverage(n, k), narrow = sign_coverage(n, k + 1);
  const double share = (wide - confidence) / (wide - narrow);
  const auto size = static_cast<double>(n), rank = static_cast<double>(k);
  const double weight = (size - rank) * share / (rank + (size - 2.0 * rank) * share);
  return Interval{(1.0 - weight) * sorted[k - 1] + weight * sorted[k],
                  (1.0 - weight) * sorted[n - k] + weight * sorted[n - k - 1]};
}

std::optional<Interval> student_interval(std::span<const double> values, double confidence) {
  VORTA_CHECK(confidence > 0.0 && confidence < 1.0, "confidence outside (0, 1)");
  if (values.size() < 3) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double half = student_t_quantile(0.5 + 0.5 * confidence, n - 1.0) * standard_deviation(values) / std::sqrt(n);
  return Interval{mean(values) - half, mean(values) + half};
}

double sign_test_p(std::span<const double> values) {
  const auto above = static_cast<size_t>(std::count_if(values.begin(), values.end(), [](double v) { return v > 0.0; }));
  const auto below = static_cast<size_t>(std::count_if(values.begin(), values.end(), [](double v) { return v < 0.0; }));
  const size_t fewer = std::min(above, below);
  return std::min(1.0, 1.0 - sign_coverage(above + below, fewer + 1));
}

double student_p(std::span<const double> values) {
  if (values.size() < 2) return 1.0;
  const double deviation = standard_deviation(values), center = mean(values);
  if (deviation == 0.0) return center == 0.0 ? 1.0 : 0.0;
  const auto n = static_cast<double>(values.size());
  return two_sided(center / (deviation / std::sqrt(n)), n - 1.0);
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0.0;
  for (size_t i = 0; i < order.size(); ++i) {
    largest = std::max(largest, std::min(1.0, p_values[order[i]] * static_cast<double>(order.size() - i)));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

double minimum_detectable_effect(double sigma, int64_t units, IntervalKind kind, double alpha, double power) {
  VORTA_CHECK(units > 0, "an effect needs units");
  const double quantiles = normal_quantile(1.0 - 0.5 * alpha) + normal_quantile(power);
  const double effect = quantiles * sigma / std::sqrt(static_cast<double>(units));
  return kind == IntervalKind::kSign ? effect * std::sqrt(0.5 * std::numbers::pi) : effect;
}

PairedResult assess(std::span<const ClusteredValue> harm, const PairedOptions& options) {
  VORTA_CHECK(!harm.empty(), "a comparison needs pairs");
  VORTA_CHECK(options.margin > 0.0, "a margin must be positive");
  const std::vector<double> values = cluster_means(harm);
  PairedResult result;
  result.units = static_cast<int64_t>(values.size());
  result.pairs = static_cast<int64_t>(harm.size());
  const bool sign = options.kind == IntervalKind::kSign;
  result.estimate = sign ? median(values) : mean(values);
  result.interval = interval_of(values, options);
  result.p = sign ? sign_test_p(values) : student_p(values);
  result.sigma = standard_deviation(values);
  const double sigma = std::max(result.sigma, options.noise_floor.value_or(0.0));
  result.detectable = minimum_detectable_effect(sigma, result.units, options.kind, 1.0 - options.confidence);
  result.comparison = compare(result.estimate, result.interval, options.margin);
  result.harmless = result.interval && result.interval->high < options.margin;
  return result;
}

std::optional<double> noise_floor(std::span<const ClusteredValue> same_against_same) {
  const std::vector<double> values = cluster_means(same_against_same);
  if (values.size() < 3) return std::nullopt;
  return standard_deviation(values);
}

std::optional<StopReason> stop_reason(const StoppingRule& rule, std::span<const double> half_widths, double seconds) {
  const auto rounds = static_cast<int64_t>(half_widths.size());
  if (rule.max_seconds > 0.0 && seconds >= rule.max_seconds) return StopReason::kTime;
  if (rounds >= rule.max_rounds) return StopReason::kRounds;
  if (rounds < rule.min_rounds) return std::nullopt;
  if (half_widths.back() <= rule.target_half_width) return StopReason::kPrecision;
  if (rounds < 2 * rule.min_rounds) return std::nullopt;
  // Independent noise: half the rounds ago the width was sqrt(2) times as large.
  const double before = half_widths[half_widths.size() / 2 - 1];
  const double expected_fall = 1.0 - std::numbers::sqrt2 / 2.0;
  if (std::isfinite(before) && 1.0 - half_widths.back() / before < expected_fall / 3.0) return StopReason::kPlateau;
  return std::nullopt;
}

std::vector<size_t> change_points(std::span<const double> series, double p, double magnitude) {
  std::vector<size_t> found;
  split_series(series, 0, p, magnitude, found);
  return found;
}

}  // namespace vorta::harness
