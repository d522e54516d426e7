// SPDX-License-Identifier: Apache-2.0
#include "reports/claims/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace vorta::reports {
namespace {

const Variant* find_variant(const Report& report, std::string_view name) {
  const auto found = std::find_if(report.variants.begin(), report.variants.end(),
                                  [name](const Variant& v) { return v.row.variant == name; });
  return found == report.variants.end() ? nullptr : &*found;
}

std::optional<Estimate> speedup(const Variant& variant, const std::string& stage) {
  const auto found = variant.speedups.find(stage);
  return found == variant.speedups.end() ? std::nullopt : std::optional(found->second);
}

// Paired by item, over the items that both variants ran.
std::optional<Estimate> speedup_over(const Report& report, const Variant& variant, const Variant& base,
                                     const std::string& stage) {
  std::map<int64_t, int64_t> prompt_of;
  for (const Item& item : report.items) prompt_of[item.id] = item.prompt_id;
  std::vector<Clustered> ratios;
  for (const ItemResult& mine : variant.items) {
    for (const ItemResult& theirs : base.items) {
      if (mine.item != theirs.item || !mine.seconds.contains(stage) || !theirs.seconds.contains(stage)) continue;
      ratios.push_back({prompt_of.at(mine.item), theirs.seconds.at(stage) / mine.seconds.at(stage)});
    }
  }
  return ratio_estimate(ratios);
}

std::optional<Estimate> mean_seconds(const Variant& variant, const std::string& named, const Report& report) {
  const bool is_forward = named == "forward";
  if (is_forward && !variant.setup) return std::nullopt;
  const std::string stage = is_forward ? "step" : named;
  const double share = is_forward ? 1.0 / static_cast<double>(variant.setup->forwards) : 1.0;
  std::vector<Clustered> values;
  for (const ItemResult& result : variant.items) {
    const auto found = result.seconds.find(stage);
    const auto item =
        std::find_if(report.items.begin(), report.items.end(), [&](const Item& one) { return one.id == result.item; });
    if (found != result.seconds.end() && item != report.items.end())
      values.push_back({item->prompt_id, share * found->second});
  }
  return mean_estimate(values);
}

// Measured over predicted step speed-up: the prediction is a constant, so the interval only scales.
std::optional<Estimate> prediction_ratio(const Variant& variant) {
  auto measured = speedup(variant, "step");
  const auto row = std::find_if(variant.predictions.begin(), variant.predictions.end(),
                                [](const PredictionRow& p) { return p.quantity == "speedup/step"; });
  if (!measured || row == variant.predictions.end() || !(row->predicted > 0)) return std::nullopt;
  measured->value /= row->predicted;
  if (measured->low) *measured->low /= row->predicted;
  if (measured->high) *measured->high /= row->predicted;
  return measured;
}

std::optional<Estimate> measure(const ClaimRow& claim, const Report& report) {
  const Variant* variant = find_variant(report, claim.variant);
  if (variant == nullptr) return std::nullopt;
  // Speed-ups and differences are stored against the run's reference; speed-ups over another variant are paired here.
  const bool other = !claim.reference.empty() && claim.reference != report.reference_variant;
  if (other) {
    const Variant* base = find_variant(report, claim.reference);
    const bool possible = base != nullptr && claim.quantity.rfind("speedup/", 0) == 0;
    return possible ? speedup_over(report, *variant, *base, claim.quantity.substr(8)) : std::nullopt;
  }
  if (claim.quantity.rfind("speedup/", 0) == 0) return speedup(*variant, claim.quantity.substr(8));
  if (claim.quantity.rfind("seconds/", 0) == 0) return mean_seconds(*variant, claim.quantity.substr(8), report);
  if (claim.quantity == "ratio/measured_to_predicted") return prediction_ratio(*variant);
  const bool delta = claim.quantity.rfind("delta/", 0) == 0;
  const auto score = variant->scores.find(delta ? claim.quantity.substr(6) : claim.quantity);
  if (score == variant->scores.end() || score->second.mean.prompts == 0) return std::nullopt;
  return delta ? score->second.delta : std::optional(score->second.mean);
}

std::string band_words(const ClaimRow& claim) {
  if (claim.at_least && claim.at_most) return fmt::format("between {:.4g} and {:.4g}", *claim.at_least, *claim.at_most);
  if (claim.at_least) return fmt::format("at least {:.4g}", *claim.at_least);
  if (claim.at_most) return fmt::format("at most {:.4g}", *claim.at_most);
  return "any value";
}

Verdict judge(const ClaimRow& claim, const Estimate& estimate) {
  if (!estimate.low || !estimate.high) return Verdict::kUndecided;
  const bool surely_below = claim.at_least && *estimate.high < *claim.at_least;
  const bool surely_above = claim.at_most && *estimate.low > *claim.at_most;
  if (surely_below || surely_above) return Verdict::kFails;
  const bool inside =
      (!claim.at_least || *estimate.low >= *claim.at_least) && (!claim.at_most || *estimate.high <= *claim.at_most);
  return inside ? Verdict::kHolds : Verdict::kUndecided;
}

std::string words_for(const ClaimVerdict& v) {
  if (v.verdict == Verdict::kNotMeasured)
    return fmt::format("Not measured: no finished pair gives {} for {}.", v.claim.quantity, v.claim.variant);
  if (!v.low) {
    return fmt::format("Not decided: {:.4g} over {} prompt(s), too few for an interval (wanted {}).", *v.value, v.items,
                       band_words(v.claim));
  }
  const std::string found = fmt::format("measured {:.4g}, 95 % interval {:.4g} to {:.4g} over {} prompts; wanted {}",
                                        *v.value, *v.low, *v.high, v.items, band_words(v.claim));
  if (v.verdict == Verdict::kHolds) return "Holds: " + found + ".";
  if (v.verdict == Verdict::kFails) return "Not reached: " + found + ".";
  return "Not decided: " + found + "; the interval crosses the edge.";
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHolds: return "holds";
    case Verdict::kFails: return "not reached";
    case Verdict::kUndecided: return "undecided";
    case Verdict::kNotMeasured: break;
  }
  return "not measured";
}

std::vector<ClaimVerdict> evaluate_claims(const std::vector<ClaimRow>& claims, const Report& report) {
  std::vector<ClaimVerdict> verdicts;
  for (const ClaimRow& claim : claims) {
    ClaimVerdict verdict;
    verdict.claim = claim;
    if (const auto estimate = measure(claim, report)) {
      verdict.value = estimate->value;
      verdict.low = estimate->low;
      verdict.high = estimate->high;
      verdict.items = estimate->prompts;
      verdict.verdict = judge(claim, *estimate);
    }
    verdict.words = words_for(verdict);
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

}  // namespace vorta::reports
