// SPDX-License-Identifier: Apache-2.0
// Paired differences of two arms, from pairs to a verdict. Throughout, a positive value is harm: ln(head / base) of a
// time, base - head of a score where more is better.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "harness/stats/summary.h"

namespace vorta::harness {

/// kSign: median with the sign test's order statistics, interpolated so that it covers what it says at any size from 6
/// on. kStudentised: mean with the bootstrap-t. kStudent: mean with Student's t, for noise that is near normal.
enum class IntervalKind { kSign, kStudentised, kStudent };
/// What a comparison ends in. Nothing is called equivalent because a test failed to find a difference.
enum class Comparison { kBetter, kWorse, kEquivalent, kInconclusive };
std::string_view to_string(Comparison comparison);

/// A pair's value and the unit that it belongs to: a prompt (its seeds and repeats are not independent), or a round.
struct ClusteredValue {
  int64_t cluster = 0;
  double value = 0;
};

/// Mean of each cluster, by ascending cluster number: the independent values that intervals are made of.
std::vector<double> cluster_means(std::span<const ClusteredValue> values);

double normal_quantile(double probability);                          // of the standard normal; 0 < probability < 1
double student_t_cdf(double t, double degrees);                      // P(T <= t); degrees > 0
double student_t_quantile(double probability, double degrees);       // its inverse

/// Interval of the median between the two symmetric pairs of order statistics whose coverage is just above and just
/// below `confidence` (Hettmansperger and Sheather's interpolation). Near `confidence` for any continuous noise, where
/// the plain sign-test interval covers 96.9 % at 6 and 97.9 % at 10 values. Empty below 6 values at 95 %.
std::optional<Interval> median_interval(std::span<const double> values, double confidence);
/// mean +- t * s / sqrt(n). Empty below 3 values.
std::optional<Interval> student_interval(std::span<const double> values, double confidence);

/// Two-sided exact sign test of median 0; zeros say nothing and are left out. 1 when nothing is left.
double sign_test_p(std::span<const double> values);
/// Student's t test of mean 0, two-sided. 1 below 2 values; 0 or 1 when all values are equal.
double student_p(std::span<const double> values);
/// P values adjusted by Holm's step-down method, in the order given; the family-wise error is at most alpha.
std::vector<double> holm(std::span<const double> p_values);

/// Smallest true difference that `units` independent pairs of standard deviation `sigma` show with probability `power`
/// in a two-sided test. The sign test needs sqrt(pi / 2) times the mean's.
double minimum_detectable_effect(double sigma, int64_t units, IntervalKind kind, double alpha = 0.05,
                                 double power = 0.8);

struct PairedOptions {
  IntervalKind kind = IntervalKind::kSign;
  double confidence = 0.95;
  double margin = 0.03;                    // > 0: the smallest harm that matters
  uint64_t seed = 0;                       // of the bootstrap
  std::optional<double> noise_floor =
      {};  // sd of A/A pairs; with it the detectable effect does not rest on this sample alone
};

struct PairedResult {
  int64_t units = 0;                 // clusters
  int64_t pairs = 0;
  double estimate = 0;               // median for kSign, else mean
  std::optional<Interval> interval;  // absent where there are too few units
  double p = 1;                      // two-sided, of no difference
  double sigma = 0;                  // sd over units
  double detectable = 0;             // minimum_detectable_effect of the larger of sigma and the noise floor
  Comparison comparison = Comparison::kInconclusive;
  bool harmless = false;             // harm of `margin` or more is excluded: the interval lies below it
};

/// Worse: the interval lies above 0 and the estimate reaches the margin. Better: the mirror image. Equivalent: the
/// interval lies within both margins. Else inconclusive. InternalError on no pairs or a margin that is not positive.
PairedResult assess(std::span<const ClusteredValue> harm, const PairedOptions& options);

/// Standard deviation of A/A pairs (the same configuration against itself), a value a unit; absent below 3.
std::optional<double> noise_floor(std::span<const ClusteredValue> same_against_same);

/// Why sampling ended; stored with what it gave. The last two are a gate's: one run has decided; the rounds that it may
/// make would not decide.
enum class StopReason { kPrecision, kPlateau, kRounds, kTime, kDecided, kOutOfReach };
std::string_view to_string(StopReason reason);

struct StoppingRule {
  int64_t min_rounds = 6;
  int64_t max_rounds = 30;
  double target_half_width = 0.01;
  double max_seconds = 0;  // 0: no limit
};

/// `half_widths`: of the interval after each round so far, infinite while there is none. Plateau: over the last half of
/// the rounds the width fell by less than a third of what independent noise would let it fall. Noisy but stable cases
/// end too.
std::optional<StopReason> stop_reason(const StoppingRule& rule, std::span<const double> half_widths, double seconds);

/// Indexes at which a new level begins in a series. Splits where the energy distance is largest, keeps those whose two
/// sides differ by Welch's t at `p` and by at least `magnitude` of the level before, and goes on inside the parts.
std::vector<size_t> change_points(std::span<const double> series, double p = 0.001, double magnitude = 0.01);

}  // namespace vorta::harness
