// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/gate/policy.h"
#include "reports/query/measured.h"

namespace vorta::harness {

/// What a check says about the head. kAccepted: a regression that the policy or the history says was wanted. kOpen:
/// neither harm nor its absence is shown. kIncomparable: the two sides are not of the same thing.
enum class Outcome { kPass, kAccepted, kOpen, kIncomparable, kRegression };
std::string_view to_string(Outcome outcome);

/// One quantity of one variant, base against head.
struct Finding {
  std::string variant;
  std::string quantity;
  std::string unit = "1";            // of harm: "1" for a share of the base, else the score's unit
  bool deterministic = false;
  std::optional<double> base, head;  // medians; absent for text
  std::optional<double> harm, low, high;
  std::optional<double> p_adjusted, detectable, noise_floor;
  int64_t units = 0;
  std::string verdict;  // better, worse, equivalent, inconclusive; same, changed; missing, gone, incomparable
  bool harmless = false;  // noisy: harm of the margin is excluded
  Outcome outcome = Outcome::kPass;
  std::string words;  // one sentence with the numbers
  int line = 0;  // of the policy file
};

/// Speed and quality of one variant in one word each, and both in one.
struct VariantVerdict {
  std::string variant;
  std::optional<Comparison>
      speed;  // of every time/..., operator/... and kernel/... that was checked; absent where none was
  std::optional<Comparison> quality;  // of every score/...
  Comparison together = Comparison::kInconclusive;
  std::string words;
};

struct GateResult {
  Outcome outcome = Outcome::kPass;
  std::string base, head;  // run keys
  std::string base_build, head_build;
  int64_t look = 1, looks = 1;
  std::string stopped;  // why measuring ended; empty where nothing was measured
  std::vector<Finding> findings;  // worst first
  std::vector<VariantVerdict> verdicts;
  int count(Outcome outcome) const;
};

/// Judges `head` against `base`. `look`: how often the growing data were judged before, plus one; the error of
/// 1 - confidence is shared among policy.looks. `accepted`: changes of the history, besides the policy's own.
GateResult judge(const reports::MeasuredRun& base, const reports::MeasuredRun& head, const Policy& policy, int64_t look,
                 const std::vector<reports::AcceptedRow>& accepted = {});

/// Half of the widest interval of time/step over variants, as a share; infinite while one has none. What the stopping
/// rule watches.
double half_width(const reports::MeasuredRun& base, const reports::MeasuredRun& head, const Policy& policy);

/// By variant. Of several findings, and of speed with quality: worse where one is worse; inconclusive where harm of
/// one's margin is not excluded; better where one is better and no other does harm; else equivalent.
std::vector<VariantVerdict> joint_verdicts(const std::vector<Finding>& findings);

/// For the store.
reports::ComparisonSet comparison_set(const GateResult& result, const Policy& policy);

}  // namespace vorta::harness
