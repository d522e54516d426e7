// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "harness/gate/compare.h"

namespace vorta::harness {
namespace {

// What one finding or one side says. Order of strength: the largest wins.
enum class Effect { kNone, kEquivalent, kBetter, kInconclusive, kWorse };

Effect effect_of(const Finding& finding) {
  if (finding.verdict == to_string(Comparison::kWorse) || finding.verdict == "missing") return Effect::kWorse;
  if (finding.verdict == to_string(Comparison::kBetter)) return Effect::kBetter;
  // What the policy lets pass undecided (secondary scores, short kernels) says nothing.
  if (finding.outcome == Outcome::kPass && !finding.harmless && finding.verdict == to_string(Comparison::kInconclusive))
    return Effect::kNone;
  // No harm of the margin, and whether it helps is open: as good as the base is all that is said.
  return finding.harmless || finding.verdict == to_string(Comparison::kEquivalent) ? Effect::kEquivalent
                                                                                   : Effect::kInconclusive;
}

std::optional<Comparison> comparison_of(Effect effect) {
  switch (effect) {
    case Effect::kWorse: return Comparison::kWorse;
    case Effect::kBetter: return Comparison::kBetter;
    case Effect::kEquivalent: return Comparison::kEquivalent;
    case Effect::kInconclusive: return Comparison::kInconclusive;
    case Effect::kNone: break;
  }
  return std::nullopt;
}

bool is_speed(std::string_view quantity) {
  return quantity.starts_with("time/") || quantity.starts_with("operator/") || quantity.starts_with("fastest/") ||
         quantity.starts_with("kernel/");
}

struct Effects {
  Effect speed = Effect::kNone, quality = Effect::kNone;
  const Finding* first_speed = nullptr;
  const Finding* first_quality = nullptr;
};

void add(Effect& sum, const Finding*& named, const Finding& finding) {
  const Effect effect = effect_of(finding);
  if (effect <= sum) return;
  sum = effect;
  named = &finding;
}

std::string part(std::string_view title, Effect effect, const Finding* finding) {
  if (effect == Effect::kNone) return fmt::format("{} not checked", title);
  return fmt::format("{} {} ({}: {})", title, to_string(*comparison_of(effect)), finding->quantity, finding->words);
}

}  // namespace

std::vector<VariantVerdict> joint_verdicts(const std::vector<Finding>& findings) {
  std::map<std::string, Effects> by_variant;
  for (const Finding& finding : findings) {
    if (finding.deterministic) continue;
    Effects& effects = by_variant[finding.variant];
    if (is_speed(finding.quantity)) add(effects.speed, effects.first_speed, finding);
    else if (finding.quantity.starts_with("score/")) add(effects.quality, effects.first_quality, finding);
  }
  std::vector<VariantVerdict> verdicts;
  for (const auto& [variant, effects] : by_variant) {
    const Effect together = std::max(effects.speed, effects.quality);
    if (together == Effect::kNone) continue;
    VariantVerdict verdict{variant, comparison_of(effects.speed), comparison_of(effects.quality),
                           *comparison_of(together), ""};
    verdict.words =
        fmt::format("{}: {}, {}", to_string(verdict.together), part("speed", effects.speed, effects.first_speed),
                    part("quality", effects.quality, effects.first_quality));
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

}  // namespace vorta::harness
