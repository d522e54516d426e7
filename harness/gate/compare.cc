// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "harness/gate/sides.h"

namespace vorta::harness {
namespace {

using reports::MeasuredRun;

Finding whole(std::string variant, std::string quantity, Outcome outcome, std::string words) {
  Finding finding;
  finding.variant = std::move(variant);
  finding.quantity = std::move(quantity);
  finding.deterministic = true;
  finding.verdict = outcome == Outcome::kRegression ? "worse" : "incomparable";
  finding.outcome = outcome;
  finding.words = std::move(words);
  return finding;
}

std::string no_key(const nlohmann::json& identity, const std::string& key) {
  std::vector<std::string> known;
  for (const auto& [name, value] : identity.items()) known.push_back(name);
  return "neither run says it: " + unknown_name_message("key of an environment", key, std::move(known));
}

// A check by name that found nothing would pass unseen, mistyped or not measured. Families (a star) may be empty, and
// what is always called the same is no typing error: a suite may have no routes.
std::optional<Finding> unmatched(const Sides& sides, const Check& check) {
  if (check.quantity.ends_with('*') || check.quantity.find('/') == std::string::npos || check.min_share > 0)
    return std::nullopt;
  std::set<std::string> variants, quantities;
  for (const MeasuredRun* run : {&sides.base, &sides.head}) {
    for (const auto& [variant, hash] : run->case_hashes) variants.insert(variant);
    for (const auto& value : run->values) quantities.insert(value.quantity);
    for (const auto& fact : run->facts) quantities.insert(fact.quantity);
  }
  const bool any = std::any_of(variants.begin(), variants.end(),
                               [&](const std::string& name) { return matches(check.variant, name); });
  const std::string why = any ? unknown_name_message("quantity", check.quantity, {quantities.begin(), quantities.end()})
                              : unknown_name_message("variant", check.variant, {variants.begin(), variants.end()});
  Finding finding = whole(check.variant, check.quantity, Outcome::kIncomparable, "neither run has it: " + why);
  finding.line = check.line;
  return finding;
}

// What must agree before numbers mean anything.
void check_frame(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy, std::vector<Finding>& out) {
  const auto before = parse_json(base.line.identity_json, "environment"),
             now = parse_json(head.line.identity_json, "environment");
  for (const std::string& key : policy.environment) {
    const auto a = before.value(key, nlohmann::json()), b = now.value(key, nlohmann::json());
    if (a != b)
      out.push_back(whole("*", "environment/" + key, Outcome::kIncomparable,
                          fmt::format("base {}, head {}", a.dump(), b.dump())));
    else if (a.is_null() && !policy.source.empty())
      out.push_back(whole("*", "environment/" + key, Outcome::kIncomparable, no_key(now, key)));
  }
  const std::string gpu = now.contains("gpu") ? now["gpu"].dump() : "";
  if (!policy.requires_gpu.empty() && gpu.find(policy.requires_gpu) == std::string::npos) {
    out.push_back(whole("*", "environment/gpu", Outcome::kIncomparable,
                        fmt::format("the policy needs {}, this machine has {}", policy.requires_gpu, gpu)));
  }
  for (const auto& [variant, hash] : base.case_hashes) {
    const auto found = head.case_hashes.find(variant);
    if (found == head.case_hashes.end())
      out.push_back(whole(variant, "variant", Outcome::kIncomparable, "the head did not run it"));
    else if (found->second != hash)
      out.push_back(whole(variant, "configuration", Outcome::kIncomparable, "differs between base and head"));
  }
  for (const auto& [variant, count] : head.failed) {
    const auto found = base.failed.find(variant);
    const int64_t already = found == base.failed.end() ? 0 : found->second;
    if (count > already)
      out.push_back(whole(variant, "trials", Outcome::kRegression,
                          fmt::format("{} trials fail, {} of the base did", count, already)));
  }
}

void accept(std::vector<Finding>& findings, const Policy& policy, const std::vector<reports::AcceptedRow>& history) {
  std::vector<Accepted> all = policy.accepted;
  for (const auto& row : history) all.push_back({row.quantity, row.variant, row.reason, row.author});
  for (Finding& finding : findings) {
    if (finding.outcome != Outcome::kRegression && finding.outcome != Outcome::kOpen) continue;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Accepted& accepted) {
      return matches(accepted.quantity, finding.quantity) && matches(accepted.variant, finding.variant);
    });
    if (found == all.end()) continue;
    finding.outcome = Outcome::kAccepted;
    finding.words +=
        fmt::format("; accepted{}: {}", found->author.empty() ? "" : " by " + found->author, found->reason);
  }
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  constexpr std::string_view kNames[] = {"pass", "accepted", "inconclusive", "incomparable", "regression"};
  return kNames[static_cast<size_t>(outcome)];
}

int GateResult::count(Outcome wanted) const {
  return static_cast<int>(
      std::count_if(findings.begin(), findings.end(), [wanted](const Finding& f) { return f.outcome == wanted; }));
}

GateResult judge(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy, int64_t look,
                 const std::vector<reports::AcceptedRow>& accepted) {
  GateResult result;
  result.base = base.line.key;
  result.head = head.line.key;
  result.base_build = base.line.build_json;
  result.head_build = head.line.build_json;
  result.look = look;
  result.looks = policy.looks;
  check_frame(base, head, policy, result.findings);
  const Sides sides = sides_of(base, head, policy);
  for (const Check& check : policy.checks) {
    const size_t before = result.findings.size();
    if (check.margin) check_noisy(sides, check, result.findings);
    else check_deterministic(sides, check, result.findings);
    if (policy.source.empty() || result.findings.size() > before) continue;  // no file: the default policy fits any run
    if (auto finding = unmatched(sides, check)) result.findings.push_back(std::move(*finding));
  }
  accept(result.findings, policy, accepted);
  if (result.findings.empty()) {
    result.findings.push_back(
        whole("*", "checks", Outcome::kIncomparable, "no check of the policy found anything to compare"));
  }
  std::stable_sort(result.findings.begin(), result.findings.end(), [](const Finding& a, const Finding& b) {
    if (a.outcome != b.outcome) return a.outcome > b.outcome;
    return a.harm.value_or(0.0) > b.harm.value_or(0.0);
  });
  result.outcome = result.findings.front().outcome;
  result.verdicts = joint_verdicts(result.findings);
  return result;
}

reports::ComparisonSet comparison_set(const GateResult& result, const Policy& policy) {
  reports::ComparisonSet set{policy.json, result.base, result.head, result.look, {}};
  for (const Finding& f : result.findings) {
    set.rows.push_back({f.variant, f.quantity, f.unit, f.base, f.head, f.harm, f.low, f.high, f.p_adjusted,
                        f.detectable, f.noise_floor, f.units, f.verdict, std::string(to_string(f.outcome)), f.words});
  }
  return set;
}

}  // namespace vorta::harness
