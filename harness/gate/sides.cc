// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/sides.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace vorta::harness {
namespace {

using reports::Measured;
using reports::MeasuredRun;

MeasuredValues by_key(const MeasuredRun& run) {
  MeasuredValues values;
  for (const Measured& value : run.values) values[{value.variant, value.quantity}].push_back(&value);
  return values;
}

// +1: more is harm; -1: less is harm.
double harm_sign(const Sides& sides, const std::string& quantity) {
  const auto* metric = metric_of(sides, quantity);
  return metric != nullptr && metric->direction == reports::Direction::kHigher ? -1.0 : 1.0;
}

// Harm of one pair: ln(head / base), or the difference of scores. Nothing where a logarithm does not exist.
std::optional<double> harm_of(const Sides& sides, const std::string& quantity, double base, double head) {
  if (is_score(quantity)) return harm_sign(sides, quantity) * (head - base);
  if (!(base > 0.0) || !(head > 0.0)) return std::nullopt;
  return std::log(head / base);
}

// Whether only a profiled trial says it.
bool is_observed(std::string_view quantity) {
  constexpr std::string_view kFamilies[] = {"operator/", "fastest/", "kernel/", "calls/", "kernels"};
  return std::any_of(std::begin(kFamilies), std::end(kFamilies),
                     [&](std::string_view family) { return quantity.starts_with(family); });
}

}  // namespace

bool has_observed_trials(const MeasuredRun& run, const std::string& variant) {
  const auto of_variant = [&](const auto& row) { return row.variant == variant && is_observed(row.quantity); };
  return std::any_of(run.values.begin(), run.values.end(), of_variant) ||
         std::any_of(run.facts.begin(), run.facts.end(), of_variant);
}

Sides sides_of(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy) {
  const double confidence = 1.0 - (1.0 - policy.confidence) / static_cast<double>(policy.looks);
  return {base, head, policy, by_key(base), by_key(head), confidence};
}

bool is_score(std::string_view quantity) { return quantity.starts_with("score/"); }

const reports::MetricDefRow* metric_of(const Sides& sides, const std::string& quantity) {
  const auto found = std::find_if(sides.head.metrics.begin(), sides.head.metrics.end(),
                                  [&](const auto& metric) { return "score/" + metric.key == quantity; });
  return found == sides.head.metrics.end() ? nullptr : &*found;
}

std::vector<ClusteredValue> pairs_of(const Sides& sides, const QuantityKey& key, PairUnit unit) {
  std::map<std::pair<std::string, int64_t>, double> base;
  for (const Measured* value : sides.base_values.at(key)) base[{value->item, value->repeat}] = value->value;
  std::map<std::string, int64_t> prompts;
  std::vector<ClusteredValue> out;
  for (const Measured* value : sides.head_values.at(key)) {
    const auto found = base.find({value->item, value->repeat});
    if (found == base.end()) continue;
    const auto harm = harm_of(sides, key.second, found->second, value->value);
    const int64_t prompt = prompts.try_emplace(value->prompt, static_cast<int64_t>(prompts.size())).first->second;
    if (harm) out.push_back({unit == PairUnit::kRound ? value->repeat : prompt, *harm});
  }
  return out;
}

std::optional<double> noise_of(const Sides& sides, const QuantityKey& key, PairUnit unit) {
  std::vector<ClusteredValue> same;
  int64_t side = 0;
  for (const MeasuredValues* values : {&sides.base_values, &sides.head_values}) {
    std::map<std::pair<std::string, int64_t>, double> seen;
    std::map<std::string, int64_t> prompts;
    for (const Measured* value : values->at(key)) seen[{value->item, value->repeat}] = value->value;
    for (const auto& [where, value] : seen) {
      const auto before = seen.find({where.first, where.second - 1});
      const int64_t item = prompts.try_emplace(where.first, static_cast<int64_t>(prompts.size())).first->second;
      if (where.second % 2 == 0 || before == seen.end()) continue;
      const auto harm = harm_of(sides, key.second, before->second, value);
      if (harm) same.push_back({2 * (unit == PairUnit::kRound ? where.second : item) + side, *harm});
    }
    ++side;
  }
  return noise_floor(same);
}

Finding blank_finding(const QuantityKey& key, const Check& check) {
  Finding finding;
  finding.variant = key.first;
  finding.quantity = key.second;
  finding.line = check.line;
  return finding;
}

Finding missing_finding(const Sides& sides, const QuantityKey& key, const Check& check) {
  Finding finding = blank_finding(key, check);
  finding.verdict = "missing";
  finding.outcome = Outcome::kRegression;
  finding.words = "the base has it, the head does not";
  const bool is_memory = key.second.starts_with("memory/");  // some scopes are observed, some timed
  if (!is_observed(key.second) && !is_memory) return finding;
  if (!has_observed_trials(sides.head, key.first)) {
    finding.verdict = "incomparable";
    finding.outcome = Outcome::kIncomparable;
    finding.words = "the head made no observed trial of this variant";
  } else if (!is_memory && check.margin && check.quantity.ends_with('*')) {
    finding.verdict = "gone";
    finding.outcome = Outcome::kPass;
    finding.harmless = true;
    finding.words = "the head does without it";
  }
  return finding;
}

}  // namespace vorta::harness
