// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "harness/gate/sides.h"

namespace vorta::harness {
namespace {

using reports::MeasuredRun;

double number_of(const std::string& text) {
  double value = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

using Facts = std::map<QuantityKey, std::map<std::string, const reports::Deterministic*>>;  // by item

Facts facts_of(const MeasuredRun& run) {
  Facts facts;
  for (const auto& fact : run.facts) facts[{fact.variant, fact.quantity}].try_emplace(fact.item, &fact);
  return facts;
}

void compare_number(double base, double head, double tolerance, Finding& finding) {
  finding.base = base;
  finding.head = head;
  const double harm = base != 0.0 ? head / base - 1.0 : head == 0.0 ? 0.0 : std::numeric_limits<double>::infinity();
  if (std::isfinite(harm)) finding.harm = harm;
  if (std::abs(harm) <= tolerance) return;
  finding.verdict = harm > 0.0 ? "worse" : "better";
  finding.outcome = harm > 0.0 ? Outcome::kRegression : Outcome::kPass;
  finding.words = fmt::format("{:.10g} became {:.10g}; tolerance {:g} %", base, head, 100.0 * tolerance);
}

Finding compare_fact(const Sides& sides, const QuantityKey& key, const Check& check,
                     const std::map<std::string, const reports::Deterministic*>& base,
                     const std::map<std::string, const reports::Deterministic*>& head) {
  Finding finding = blank_finding(key, check);
  finding.deterministic = true;
  finding.verdict = "same";
  size_t changed = 0, common = 0;
  for (const auto& [item, fact] : base) {
    const auto found = head.find(item);
    if (found == head.end()) continue;
    ++common;
    if (found->second->text == fact->text) continue;
    ++changed;
    if (fact->is_number && finding.outcome == Outcome::kPass)
      compare_number(number_of(fact->text), number_of(found->second->text), *check.tolerance, finding);
  }
  finding.units = static_cast<int64_t>(common);
  if (common == 0) return missing_finding(sides, key, check);
  const bool is_work = key.second.starts_with("flops/") || key.second.starts_with("density/");
  if (changed > 0 && is_work &&
      has_observed_trials(sides.base, key.first) != has_observed_trials(sides.head, key.first)) {
    finding = blank_finding(key, check);
    finding.deterministic = true;
    finding.verdict = "incomparable";
    finding.outcome = Outcome::kIncomparable;
    finding.words = "measured on one side, predicted on the other, which made no observed trial";
    return finding;
  }
  if (changed == 0) finding.words = fmt::format("equal on {} item{}", common, common == 1 ? "" : "s");
  else if (!base.begin()->second->is_number) {
    finding.verdict = "changed";
    finding.outcome = Outcome::kRegression;
    finding.words = fmt::format("differs on {} of {} items", changed, common);
  } else if (finding.words.empty()) finding.words = fmt::format("within {:g} %", 100.0 * *check.tolerance);
  return finding;
}

}  // namespace

void check_deterministic(const Sides& sides, const Check& check, std::vector<Finding>& out) {
  const Facts base = facts_of(sides.base), head = facts_of(sides.head);
  for (const auto& [key, facts] : base) {
    if (!looks_at(sides.policy, check, key.first, key.second)) continue;
    if (!sides.head.case_hashes.contains(key.first)) continue;
    const auto found = head.find(key);
    out.push_back(found == head.end() ? missing_finding(sides, key, check)
                                      : compare_fact(sides, key, check, facts, found->second));
  }
  // A call that nobody made before.
  for (const auto& [key, facts] : head) {
    const bool counted = key.second.starts_with("calls/") || key.second == "kernels";
    if (!counted || base.contains(key) || !looks_at(sides.policy, check, key.first, key.second)) continue;
    if (!sides.base.case_hashes.contains(key.first)) continue;
    Finding finding = blank_finding(key, check);
    finding.deterministic = true;
    compare_number(0.0, number_of(facts.begin()->second->text), *check.tolerance, finding);
    out.push_back(finding);
  }
  // Memory and the like are numbers of trials that may yet be held to a tolerance: the largest of each side counts.
  for (const auto& [key, numbers] : sides.base_values) {
    if (!looks_at(sides.policy, check, key.first, key.second)) continue;
    const auto found = sides.head_values.find(key);
    Finding finding = blank_finding(key, check);
    finding.deterministic = true;
    finding.verdict = "same";
    const auto largest = [](const auto& values) {
      return (*std::max_element(values.begin(), values.end(), [](auto* a, auto* b) { return a->value < b->value; }))
          ->value;
    };
    if (found == sides.head_values.end()) finding = missing_finding(sides, key, check);
    else compare_number(largest(numbers), largest(found->second), *check.tolerance, finding);
    if (finding.words.empty()) finding.words = fmt::format("within {:g} %", 100.0 * *check.tolerance);
    out.push_back(finding);
  }
}

}  // namespace vorta::harness
