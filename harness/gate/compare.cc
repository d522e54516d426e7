// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
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

// What must agree before numbers mean anything.
void check_frame(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy, std::vector<Finding>& out) {
  const auto before = parse_json(base.line.identity_json, "environment"), now = parse_json(head.line.identity_json, "environment");
  for (const std::string& key : policy.environment) {
    const auto a = before.value(key, nlohmann::json()), b = now.value(key, nlohmann::json());
    if (a != b) out.push_back(whole("*", "environment/" + key, Outcome::kIncomparable, fmt::format("base {}, head {}", a.dump(), b.dump())));
  }
  const std::string gpu = now.contains("gpu") ? now["gpu"].dump() : "";
  if (!policy.requires_gpu.empty() && gpu.find(policy.requires_gpu) == std::string::npos) {
    out.push_back(whole("*", "environment/gpu", Outcome::kIncomparable, fmt::format("the policy needs {}, this machine has {}", policy.requires_gpu, gpu)));
  }
  for (const auto& [variant, hash] : base.case_hashes) {
    const auto found = head.case_hashes.find(variant);
    if (found == head.case_hashes.end()) out.push_back(whole(variant, "variant", Outcome::kIncomparable, "the head did not run it"));
    else if (found->second != hash) out.push_back(whole(variant, "configuration", Outcome::kIncomparable, "differs between base and head"));
  }
  for (const auto& [variant, count] : head.failed) {
    const auto found = base.failed.find(variant);
    const int64_t already = found == base.failed.end() ? 0 : found->second;
    if (count > already) out.push_back(whole(variant, "trials", Outcome::kRegression, fmt::format("{} trials fail, {} of the base did", count, already)));
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
    finding.words += fmt::format("; accepted{}: {}", found->author.empty() ? "" : " by " + found->author, found->reason);
  }
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  constexpr std::string_view kNames[] = {"pass", "accepted", "inconclusive", "incomparable", "regression"};
  return kNames[static_cast<size_t>(outcome)];
}

int GateResult::count(Outcome wanted) const {
  return static_cast<int>(std::count_if(findings.begin(), findings.end(), [wanted](const Finding& f) { return f.outcome == wanted; }));
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
    if (check.margin) check_noisy(sides, check, result.findings);
    else check_deterministic(sides, check, result.findings);
  }
  accept(result.findings, policy, accepted);
  if (result.findings.empty()) {
    result.findings.push_back(whole("*", "checks", Outcome::kIncomparable, "no check of the policy found anything to compare"));
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
    set.rows.push_back({f.variant, f.quantity, f.unit, f.base, f.head, f.harm, f.low, f.high, f.p_adjusted, f.detectable, f.noise_floor,
                        f.units, f.verdict, std::string(to_string(f.outcome)), f.words});
  }
  return set;
}

}  // namespace vorta::harness
