// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/stats/paired.h"

namespace vorta::harness {

/// What is independent from pair to pair: prompts are a sample of all prompts; rounds repeat a fixed set of them.
enum class PairUnit { kPrompt, kRound };

/// What a check that stays open counts as.
enum class OnInconclusive { kInconclusive, kPass, kRegression };

/// A rule for quantities of one kind. With `margin` it is noisy and judged on its interval; with `tolerance` it is
/// deterministic and one run decides.
struct Check {
  std::string quantity = {};           // a name of reports/query/measured.h or routes, output, ...; may end in '*'
  std::string variant = "*";           // may end in '*'
  std::optional<double> margin = {};   // > 0: share of the base, or the score's own unit
  std::optional<double> tolerance = {};  // >= 0: share of the base; text must be equal
  double min_share = 0;                // leave out operators and kernels below this share of their variant's sum
  std::optional<PairUnit> unit = {};   // absent: the policy's; prompts for scores
  std::optional<IntervalKind> interval = {};
  std::optional<OnInconclusive> on_inconclusive = {};
  int line = 0;                        // of the policy file, for annotations
};

/// A change that somebody wanted. It is shown, and is no regression.
struct Accepted {
  std::string quantity = {};
  std::string variant = "*";
  std::string reason = {};
  std::string author = {};
};

struct Policy {
  std::string name = "default";
  std::string suite = {};                // a suite name or file for measuring; also the suite that runs must be of
  std::vector<std::string> environment = {"cpu", "cpu_level", "threads", "gpu", "libtorch"};  // what a class is made of
  std::string requires_gpu = {};  // part of the GPU's name; a machine without it cannot judge
  PairUnit unit = PairUnit::kRound;
  IntervalKind interval = IntervalKind::kStudent;
  double confidence = 0.95;
  StoppingRule rounds = {};  // of measuring; target_half_width is that of time/step
  int64_t looks = 3;  // times that a failing or open gate measures on before it says so
  OnInconclusive on_inconclusive = OnInconclusive::kInconclusive;
  std::vector<Check> checks = {};
  std::vector<Accepted> accepted = {};
  std::filesystem::path source = {};
  std::string json = "{}";  // canonical; its hash names the policy in results
};

/// ConfigError with "file#/json/pointer" for unknown keys, wrong types, values out of range and rules that can never
/// decide.
Policy read_policy(const std::filesystem::path& file);
/// What `compare` uses: times within 3 %, memory within 2 %, scores and VBench's total within 0.005, none of its
/// dimensions worse by 0.01, work, calls, routes and output equal.
Policy default_policy();

/// Whether `check` is about that quantity of that variant. What one check names in full, checks with a star leave to
/// it.
bool looks_at(const Policy& policy, const Check& check, std::string_view variant, std::string_view quantity);
/// `pattern` equals `text`, or ends in '*' and begins it.
bool matches(std::string_view pattern, std::string_view text);

}  // namespace vorta::harness
