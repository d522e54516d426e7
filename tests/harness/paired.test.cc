// SPDX-License-Identifier: Apache-2.0
// Statistics of paired differences against exact enumeration, tables and simulated coverage.
#include "harness/stats/paired.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "engine/base/error.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;

namespace {

using Random = std::mt19937_64;

std::vector<ClusteredValue> one_each(const std::vector<double>& values) {
  std::vector<ClusteredValue> out;
  for (size_t i = 0; i < values.size(); ++i) out.push_back({static_cast<int64_t>(i), values[i]});
  return out;
}

// Two modes 2 apart; the lower with probability `low`.
double bimodal(Random& random, double low, double spread) {
  const double center = std::uniform_real_distribution<double>(0, 1)(random) < low ? -1.0 : 1.0;
  return center + spread * std::normal_distribution<double>()(random);
}

struct Noise {
  const char* name;
  std::function<double(Random&)> draw;
  double median;
  double mean;
};

const std::vector<Noise>& noises() {
  // Medians of mixtures: where the distribution function is one half, found by bisection in double precision.
  const auto mixture_median = [](double low, double spread) {
    double a = -3, b = 3;
    for (int i = 0; i < 100; ++i) {
      const double x = 0.5 * (a + b);
      const auto cdf = [&](double center) { return 0.5 * std::erfc((center - x) / spread / std::sqrt(2.0)); };
      (low * cdf(-1) + (1 - low) * cdf(1) < 0.5 ? a : b) = x;
    }
    return a;
  };
  static const std::vector<Noise> kNoises{
      {"normal", [](Random& r) { return std::normal_distribution<double>()(r); }, 0.0, 0.0},
      {"skewed, lognormal 0.6", [](Random& r) { return std::lognormal_distribution<double>(0, 0.6)(r); }, 1.0,
       std::exp(0.18)},
      {"skewed, exponential", [](Random& r) { return std::exponential_distribution<double>()(r); }, std::log(2.0), 1.0},
      {"bimodal, 30 : 70", [](Random& r) { return bimodal(r, 0.3, 0.3); }, mixture_median(0.3, 0.3), 0.4},
      {"bimodal, 20 : 80, narrow", [](Random& r) { return bimodal(r, 0.2, 0.2); }, mixture_median(0.2, 0.2), 0.6},
      {"bimodal, 50 : 50, wide", [](Random& r) { return bimodal(r, 0.5, 0.6); }, 0.0, 0.0},
  };
  return kNoises;
}

}  // namespace

TEST_CASE("95 % intervals of the median cover 93 to 97 % at 6, 10 and 20 values, whatever the noise",
          "[harness][paired]") {
  constexpr int kExperiments = 12000;  // standard deviation of a share of 95 %: 0.2 %
  for (const Noise& noise : noises()) {
    for (const size_t n : {6u, 10u, 20u}) {
      Random random(n);
      int covered = 0;
      std::vector<double> values(n);
      for (int i = 0; i < kExperiments; ++i) {
        for (double& value : values) value = noise.draw(random);
        const auto interval = median_interval(values, 0.95);
        REQUIRE(interval);
        covered += interval->low <= noise.median && noise.median <= interval->high ? 1 : 0;
      }
      INFO(noise.name << ", n = " << n);
      CHECK(covered >= 0.93 * kExperiments);
      CHECK(covered <= 0.97 * kExperiments);
    }
  }
}

TEST_CASE("Student's interval covers 95 % of normal noise", "[harness][paired]") {
  constexpr int kExperiments = 12000;
  for (const size_t n : {3u, 6u, 10u, 20u}) {
    Random random(n);
    std::normal_distribution<double> normal(0.7, 2.0);
    int covered = 0;
    std::vector<double> values(n);
    for (int i = 0; i < kExperiments; ++i) {
      for (double& value : values) value = normal(random);
      const auto interval = student_interval(values, 0.95);
      covered += interval->low <= 0.7 && 0.7 <= interval->high ? 1 : 0;
    }
    INFO("n = " << n);
    CHECK(covered >= 0.942 * kExperiments);
    CHECK(covered <= 0.958 * kExperiments);
  }
}

TEST_CASE("the median's interval lies between the sign test's order statistics and needs six values",
          "[harness][paired]") {
  std::vector<double> ranks;
  for (int i = 1; i <= 5; ++i) ranks.push_back(i);
  CHECK_FALSE(median_interval(ranks, 0.95));
  for (int n = 6; n <= 40; ++n) {
    ranks.push_back(n);
    const auto exact = sign_test_interval(ranks, 0.95), between = median_interval(ranks, 0.95);
    REQUIRE(exact);
    REQUIRE(between);
    INFO("n = " << n);
    CHECK(between->low >= exact->low);
    CHECK(between->low < exact->low + 1);
    CHECK(between->low + between->high == Approx(n + 1));  // symmetric
  }
}

TEST_CASE("the sign test's p value is that of all sign patterns counted", "[harness][paired]") {
  for (int n = 1; n <= 12; ++n) {
    for (int above = 0; above <= n; ++above) {
      std::vector<double> values(static_cast<size_t>(n), -1.0);
      std::fill_n(values.begin(), above, 1.0);
      int as_extreme = 0;
      for (int pattern = 0; pattern < 1 << n; ++pattern) {
        const int ones = __builtin_popcount(static_cast<unsigned>(pattern));
        as_extreme += std::abs(2 * ones - n) >= std::abs(2 * above - n) ? 1 : 0;
      }
      INFO(above << " of " << n);
      CHECK(sign_test_p(values) == Approx(static_cast<double>(as_extreme) / (1 << n)));
    }
  }
  CHECK(sign_test_p(std::vector<double>{0, 0}) == 1);
  CHECK(sign_test_p(std::vector<double>{0, 1, 1, 1}) == Approx(0.25));  // a tie says nothing
}

TEST_CASE("Student's t agrees with the tables", "[harness][paired]") {
  struct Row {
    double degrees, probability, quantile;
  };
  for (const Row& row : {Row{1, 0.975, 12.7062047}, Row{2, 0.975, 4.30265273}, Row{5, 0.975, 2.57058184},
                         Row{9, 0.975, 2.26215716}, Row{19, 0.975, 2.09302405}, Row{30, 0.995, 2.74999565},
                         Row{120, 0.95, 1.65765090}, Row{3, 0.9995, 12.9239786}}) {
    INFO(row.degrees << " degrees");
    CHECK(student_t_quantile(row.probability, row.degrees) == Approx(row.quantile).epsilon(1e-7));
    CHECK(student_t_quantile(1 - row.probability, row.degrees) == Approx(-row.quantile).epsilon(1e-7));
    CHECK(student_t_cdf(row.quantile, row.degrees) == Approx(row.probability).epsilon(1e-7));
  }
  CHECK(student_t_cdf(0, 7) == Approx(0.5));
  CHECK(normal_quantile(0.975) == Approx(1.959963985));
  CHECK(normal_quantile(0.8) == Approx(0.841621234));
  CHECK(student_p(std::vector<double>{1, 2, 3, 4, 5}) == Approx(0.01324).epsilon(1e-3));  // t = 4.2426, 4 degrees
}

TEST_CASE("Holm rejects exactly what the closed test of all intersections rejects", "[harness][paired]") {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    const size_t n = 1 + round % 6;
    std::vector<double> p(n);
    for (double& value : p) value = std::pow(std::uniform_real_distribution<double>(0, 1)(random), 3);
    const std::vector<double> adjusted = holm(p);
    for (size_t i = 0; i < n; ++i) {
      // Closed testing: the largest Bonferroni p over all sets that hold i.
      double closed = 0;
      for (size_t set = 1; set < size_t{1} << n; ++set) {
        if ((set >> i & 1) == 0) continue;
        double smallest = 1;
        for (size_t j = 0; j < n; ++j) {
          if (set >> j & 1) smallest = std::min(smallest, p[j]);
        }
        closed = std::max(closed, std::min(1.0, smallest * __builtin_popcountll(set)));
      }
      CHECK(adjusted[i] == Approx(closed));
    }
  }
}

TEST_CASE("a true effect of the detectable size is found in four of five experiments", "[harness][paired]") {
  constexpr int kExperiments = 3000;
  constexpr int64_t kUnits = 40;
  for (const IntervalKind kind : {IntervalKind::kStudent, IntervalKind::kSign}) {
    const double effect = minimum_detectable_effect(0.01, kUnits, kind);
    Random random(11);
    std::normal_distribution<double> normal(effect, 0.01);
    int found = 0;
    for (int i = 0; i < kExperiments; ++i) {
      std::vector<double> values(kUnits);
      for (double& value : values) value = normal(random);
      const PairedResult result = assess(one_each(values), {.kind = kind, .margin = 1});
      found += result.interval->low > 0 ? 1 : 0;
    }
    CHECK(found >= 0.76 * kExperiments);
    CHECK(found <= 0.84 * kExperiments);
  }
}

TEST_CASE("a comparison ends in better, worse, equivalent or inconclusive", "[harness][paired]") {
  const auto judged = [](double center, double spread, double margin) {
    std::vector<double> values;
    for (int i = -5; i <= 5; ++i) values.push_back(center + spread * i / 5.0);
    return assess(one_each(values), {.kind = IntervalKind::kStudent, .margin = margin});
  };
  CHECK(judged(0.05, 0.01, 0.03).comparison == Comparison::kWorse);
  CHECK(judged(-0.05, 0.01, 0.03).comparison == Comparison::kBetter);
  CHECK(judged(0.0, 0.01, 0.03).comparison == Comparison::kEquivalent);
  CHECK(judged(0.01, 0.005, 0.03).comparison == Comparison::kEquivalent);    // real, and too small to matter
  CHECK(judged(0.0, 0.2, 0.03).comparison == Comparison::kInconclusive);     // absence of evidence
  CHECK(judged(0.02, 0.04, 0.03).comparison == Comparison::kInconclusive);
  CHECK(judged(-0.02, 0.03, 0.03).harmless);  // harm is excluded though equality is not shown
  CHECK_FALSE(judged(0.02, 0.03, 0.03).harmless);
  CHECK(assess(one_each({0.5, 0.5}), {.kind = IntervalKind::kStudent}).comparison ==
        Comparison::kInconclusive);  // no interval
  CHECK(assess(one_each({0, 0, 0}), {.kind = IntervalKind::kStudent}).comparison == Comparison::kEquivalent);
  CHECK_THROWS_AS(assess({}, {}), InternalError);
  CHECK_THROWS_AS(assess(one_each({1}), {.margin = 0}), InternalError);
}

TEST_CASE("the unit is the cluster: seeds of a prompt do not pass for prompts", "[harness][paired]") {
  std::vector<ClusteredValue> values;
  for (int64_t prompt = 0; prompt < 4; ++prompt) {
    for (int seed = 0; seed < 50; ++seed) values.push_back({prompt, prompt * 0.01 + (seed % 2 == 0 ? 0.001 : -0.001)});
  }
  const PairedResult result = assess(values, {.kind = IntervalKind::kStudent});
  CHECK(result.units == 4);
  CHECK(result.pairs == 200);
  CHECK(result.estimate == Approx(0.015));
  const double half = 3.18244631 * std::sqrt(5.0 / 3.0) * 0.01 / 2.0;  // t of 3 degrees
  CHECK(result.interval->high - result.estimate == Approx(half));
}

TEST_CASE("sampling ends by precision, plateau, rounds or time, and says which", "[harness][paired]") {
  const StoppingRule rule{.min_rounds = 6, .max_rounds = 30, .target_half_width = 0.01, .max_seconds = 100};
  const auto widths = [](int rounds, const std::function<double(int)>& width) {
    std::vector<double> out;
    for (int i = 1; i <= rounds; ++i) out.push_back(width(i));
    return out;
  };
  const auto independent = [](int n) { return 0.1 / std::sqrt(n); };
  CHECK_FALSE(stop_reason(rule, widths(5, [](int) { return 0.001; }), 0));
  CHECK(stop_reason(rule, widths(6, [](int) { return 0.001; }), 0) == StopReason::kPrecision);
  CHECK_FALSE(stop_reason(rule, widths(20, independent), 0));
  CHECK(stop_reason(rule, widths(20, [](int) { return 0.05; }), 0) == StopReason::kPlateau);
  CHECK(stop_reason(rule, widths(30, independent), 0) == StopReason::kRounds);
  CHECK(stop_reason(rule, widths(3, independent), 101) == StopReason::kTime);
  const double never = std::numeric_limits<double>::infinity();
  CHECK_FALSE(stop_reason(rule, widths(12, [never](int) { return never; }), 0));
}

TEST_CASE("change points are found where the level moves and nowhere else", "[harness][paired]") {
  Random random(5);
  std::normal_distribution<double> noise(0, 0.01);
  std::vector<double> series;
  for (int i = 0; i < 60; ++i) series.push_back((i < 20 ? 1.0 : i < 45 ? 1.06 : 0.98) + noise(random));
  const auto found = change_points(series);
  REQUIRE(found.size() == 2);
  CHECK(std::abs(static_cast<int>(found[0]) - 20) <= 1);
  CHECK(std::abs(static_cast<int>(found[1]) - 45) <= 1);
  int false_alarms = 0;
  for (int i = 0; i < 60; ++i) {
    std::vector<double> flat(40);
    for (double& value : flat) value = 1.0 + noise(random);
    false_alarms += change_points(flat).empty() ? 0 : 1;
  }
  CHECK(false_alarms <= 1);
  CHECK(change_points(std::vector<double>{1, 2, 3}).empty());
}
