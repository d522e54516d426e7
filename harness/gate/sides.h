// SPDX-License-Identifier: Apache-2.0
// Two runs side by side, by variant and quantity: what the kinds of checks share. Private to this folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/gate/compare.h"

namespace vorta::harness {

using QuantityKey = std::pair<std::string, std::string>;  // variant, quantity
using MeasuredValues = std::map<QuantityKey, std::vector<const reports::Measured*>>;

struct Sides {
  const reports::MeasuredRun& base;
  const reports::MeasuredRun& head;
  const Policy& policy;
  MeasuredValues base_values, head_values;
  double confidence = 0.95;  // of one look: each may err, and together they may err as often as one
};

Sides sides_of(const reports::MeasuredRun& base, const reports::MeasuredRun& head, const Policy& policy);
bool is_score(std::string_view quantity);
/// Of a score's quantity; nullptr where the head does not define it.
const reports::MetricDefRow* metric_of(const Sides& sides, const std::string& quantity);
/// Harm of each pair of the same item and round: ln(head / base), or the difference of scores. Of rounds that only one
/// side has, none can be paired.
std::vector<ClusteredValue> pairs_of(const Sides& sides, const QuantityKey& key, PairUnit unit);
/// A/A: round 2k + 1 of a side against its round 2k, both sides together; absent below three.
std::optional<double> noise_of(const Sides& sides, const QuantityKey& key, PairUnit unit);

Finding blank_finding(const QuantityKey& key, const Check& check);
/// Whether a run has observed (profiled) trials of a variant: operators, kernels or calls of it.
bool has_observed_trials(const reports::MeasuredRun& run, const std::string& variant);
/// Of a quantity that only the base has: a regression, unless it comes from observed trials and the head made none of
/// the variant, which is another measurement (incomparable).
Finding missing_finding(const Sides& sides, const QuantityKey& key, const Check& check);

/// Checks with a margin. Holm over everything that one check looks at: a rule with a star finds harm by chance no more
/// often than one without.
void check_noisy(const Sides& sides, const Check& check, std::vector<Finding>& out);
/// Checks with a tolerance.
void check_deterministic(const Sides& sides, const Check& check, std::vector<Finding>& out);

}  // namespace vorta::harness
