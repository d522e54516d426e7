// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include "engine/base/error.h"
#include "harness/stats/summary.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::harness;

TEST_CASE("median, deviation and means of known values", "[harness][stats]") {
  const std::vector<double> odd{3, 1, 10};
  const std::vector<double> even{4, 1, 2, 100};
  CHECK(median(odd) == 3);
  CHECK(median(even) == 3);
  CHECK(median_absolute_deviation(even) == 1.5);  // |4-3| |1-3| |2-3| |100-3| -> 1 1 2 97
  CHECK(standard_deviation(odd) == Approx(std::sqrt((14.0 / 3 - 3) * (14.0 / 3 - 3) / 2 + (11.0 / 3) * (11.0 / 3) / 2 +
                                                    (16.0 / 3) * (16.0 / 3) / 2)));
  CHECK(geometric_mean(std::vector<double>{1, 8, 1}) == Approx(2));
  CHECK_THROWS_AS(median({}), InternalError);
  CHECK_THROWS_AS(geometric_mean(std::vector<double>{1, 0}), InternalError);
}

TEST_CASE("the sign-test interval has the order statistics of the binomial table", "[harness][stats]") {
  // Textbook ranks for 95 %: n=6 -> (1,6), n=9 -> (2,8), n=10 -> (2,9), n=20 -> (6,15), n=25 -> (8,18).
  const std::vector<std::array<int, 3>> table{{6, 1, 6}, {9, 2, 8}, {10, 2, 9}, {20, 6, 15}, {25, 8, 18}};
  for (const auto& [n, low, high] : table) {
    std::vector<double> ranks;
    for (int i = n; i >= 1; --i) ranks.push_back(i);
    const auto interval = sign_test_interval(ranks, 0.95);
    INFO("n = " << n);
    REQUIRE(interval);
    CHECK(interval->low == low);
    CHECK(interval->high == high);
  }
  CHECK_FALSE(sign_test_interval(std::vector<double>{1, 2, 3, 4, 5}, 0.95));
}

TEST_CASE("the studentised interval covers the mean about as often as it says", "[harness][stats]") {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal(0.3, 1.0);
  int covered = 0;
  constexpr int kExperiments = 400;
  for (int experiment = 0; experiment < kExperiments; ++experiment) {
    std::vector<double> values(8);
    for (double& value : values) value = normal(random);
    const auto interval = studentised_interval(values, {.replicates = 499, .seed = static_cast<uint64_t>(experiment)});
    REQUIRE(interval);
    if (interval->low <= 0.3 && 0.3 <= interval->high) ++covered;
  }
  // 400 x 0.95 = 380, standard deviation 4.4; percentile bootstraps reach about 350 here.
  CHECK(covered >= 362);
  CHECK(covered <= 396);
}

TEST_CASE("intervals are refused for few values and repeat by seed", "[harness][stats]") {
  const std::vector<double> four{1, 2, 3, 4};
  CHECK_FALSE(studentised_interval(four, {}));
  const std::vector<double> values{1, 2, 3, 4, 7};
  const auto first = studentised_interval(values, {.seed = 3});
  const auto again = studentised_interval(values, {.seed = 3});
  REQUIRE(first);
  CHECK(first->low == again->low);
  CHECK(first->high == again->high);
  CHECK(first->low < 3.4);
  CHECK(first->high > 3.4);
}

TEST_CASE("a speed ratio pairs the items", "[harness][stats]") {
  // Prompts differ tenfold in time but each pair is twice as fast: pairing sees exactly 2 with no spread.
  const std::vector<double> reference{2, 20, 4, 40, 6, 60};
  const std::vector<double> candidate{1, 10, 2, 20, 3, 30};
  const SpeedRatio ratio = speed_ratio(reference, candidate, 1);
  CHECK(ratio.pairs == 6);
  CHECK(ratio.geomean == Approx(2));
  CHECK(ratio.of_totals == Approx(2));
  REQUIRE(ratio.interval);
  CHECK(ratio.interval->low == Approx(2));
  CHECK(ratio.interval->high == Approx(2));
  REQUIRE(ratio.sign_test);
  CHECK(ratio.sign_test->low == Approx(2));
  CHECK_THROWS_AS(speed_ratio(reference, std::vector<double>{1}, 1), InternalError);
}
