// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "harness/gate/sides.h"

namespace vorta::harness {
namespace {

using reports::Measured;
using reports::MeasuredRun;

double median_of(const std::vector<const Measured*>& values) {
  std::vector<double> numbers;
  for (const Measured* value : values) numbers.push_back(value->value);
  return median(numbers);
}

// The middle of what is compared: of times and sizes the median; of scores the mean, whose difference the harm is.
double middle_of(const QuantityKey& key, const std::vector<const Measured*>& values) {
  if (!is_score(key.second)) return median_of(values);
  double sum = 0.0;
  for (const Measured* value : values) sum += value->value;
  return sum / static_cast<double>(values.size());
}

// Shares of a log ratio read as what they are: +2 %, not 0.0198.
double shown(const std::string& quantity, double harm) { return is_score(quantity) ? harm : std::expm1(harm); }

std::string amount(const Finding& finding, double harm) {
  if (finding.unit == "1") return fmt::format("{:+.2f} %", 100.0 * harm);
  return fmt::format("{:+.4g} {}", harm, finding.unit);
}

std::string words_for(const Finding& finding, const Check& check, PairUnit unit) {
  std::string words = fmt::format("harm {}", amount(finding, *finding.harm));
  if (finding.low) words += fmt::format(" ({} to {})", amount(finding, *finding.low), amount(finding, *finding.high));
  words += fmt::format(", {} {}s; margin {}", finding.units, unit == PairUnit::kRound ? "round" : "prompt",
                       amount(finding, *check.margin));
  if (!finding.low) return words + "; too few for an interval";
  if (finding.detectable) words += fmt::format(", detectable {}", amount(finding, *finding.detectable));
  if (finding.verdict == "inconclusive" && *finding.detectable > *check.margin) {
    const double needed = static_cast<double>(finding.units) * std::pow(*finding.detectable / *check.margin, 2);
    words += fmt::format("; about {:.0f} {}s would show the margin", std::ceil(needed),
                         unit == PairUnit::kRound ? "round" : "prompt");
  }
  return words;
}

Outcome open_outcome(const Check& check, const Policy& policy) {
  switch (check.on_inconclusive.value_or(policy.on_inconclusive)) {
    case OnInconclusive::kPass: return Outcome::kPass;
    case OnInconclusive::kRegression: return Outcome::kRegression;
    case OnInconclusive::kInconclusive: break;
  }
  return Outcome::kOpen;
}

// Operators and kernels too short to matter drown the others in comparisons.
bool is_large(const Sides& sides, const QuantityKey& key, const Check& check) {
  if (check.min_share <= 0.0) return true;
  const size_t name = key.second.find('/') + 1;
  const std::string prefix = key.second.substr(0, name);
  const std::string family = prefix == "fastest/" ? "operator/" : prefix;  // a call's time has no sum to be a share of
  const QuantityKey whole{key.first, family + key.second.substr(name)};
  const auto share = [&](const MeasuredValues& values) {
    double sum = 0.0;
    for (const auto& [other, numbers] : values) {
      if (other.first == key.first && other.second.starts_with(family)) sum += median_of(numbers);
    }
    const auto found = values.find(whole);
    return found == values.end() || sum <= 0.0 ? 0.0 : median_of(found->second) / sum;
  };
  return std::max(share(sides.base_values), share(sides.head_values)) >= check.min_share;
}

// "0..1" says where a score lies, not what it is counted in.
std::string unit_of(const reports::MetricDefRow* metric) {
  const bool counted =
      metric != nullptr && !metric->unit.empty() && metric->unit != "1" && metric->unit.find("..") == std::string::npos;
  return counted ? metric->unit : "points";
}

struct Judged {
  Finding finding;
  PairedResult result;
  PairUnit unit;
  bool two_sided = false;
  bool all_equal = false;
};

Judged measure(const Sides& sides, const QuantityKey& key, const Check& check) {
  const PairUnit unit = check.unit.value_or(is_score(key.second) ? PairUnit::kPrompt : sides.policy.unit);
  Judged judged{blank_finding(key, check), {}, unit};
  Finding& finding = judged.finding;
  const auto* metric = metric_of(sides, key.second);
  if (is_score(key.second)) finding.unit = unit_of(metric);
  judged.two_sided = metric != nullptr && metric->direction == reports::Direction::kTarget;
  finding.base = middle_of(key, sides.base_values.at(key));
  finding.head = middle_of(key, sides.head_values.at(key));
  const std::vector<ClusteredValue> harm = pairs_of(sides, key, unit);
  if (harm.empty()) return judged;
  const double margin = is_score(key.second) ? *check.margin : std::log1p(*check.margin);
  const auto noise = noise_of(sides, key, unit);
  judged.result = assess(harm, {.kind = check.interval.value_or(sides.policy.interval),
                                .confidence = sides.confidence,
                                .margin = margin,
                                .noise_floor = noise});
  const PairedResult& result = judged.result;
  finding.units = result.units;
  // Scores of equal frames need no interval.
  judged.all_equal = is_score(key.second) && std::all_of(harm.begin(), harm.end(),
                                                         [](const ClusteredValue& pair) { return pair.value == 0.0; });
  finding.harm = shown(key.second, result.estimate);
  finding.detectable = shown(key.second, result.detectable);
  if (noise) finding.noise_floor = shown(key.second, *noise);
  if (result.interval) {
    finding.low = shown(key.second, result.interval->low);
    finding.high = shown(key.second, result.interval->high);
  }
  return judged;
}

void decide(std::vector<Judged>& family, const Check& check, const Sides& sides, std::vector<Finding>& out) {
  std::vector<double> p_values;
  for (const Judged& judged : family) p_values.push_back(judged.result.p);
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < family.size(); ++i) {
    Finding& finding = family[i].finding;
    const PairedResult& result = family[i].result;
    if (result.pairs == 0) {
      finding.verdict = "inconclusive";
      finding.outcome = open_outcome(check, sides.policy);
      finding.words = "no rounds that both sides have";
      out.push_back(finding);
      continue;
    }
    const bool significant = adjusted[i] <= 1.0 - sides.confidence;
    const bool beyond = result.comparison == Comparison::kWorse || result.comparison == Comparison::kBetter;
    finding.p_adjusted = adjusted[i];
    if (family[i].all_equal) {
      finding.verdict = to_string(Comparison::kEquivalent);
      finding.harmless = true;
      finding.words = fmt::format("the same in all {} pairs", result.pairs);
      out.push_back(finding);
      continue;
    }
    finding.verdict = to_string(beyond && !significant ? Comparison::kInconclusive : result.comparison);
    const bool worse = finding.verdict == "worse" || (family[i].two_sided && finding.verdict == "better");
    finding.harmless = family[i].two_sided ? finding.verdict == "equivalent" : result.harmless;
    finding.outcome = worse              ? Outcome::kRegression
                      : finding.harmless ? Outcome::kPass
                                         : open_outcome(check, sides.policy);
    finding.words = words_for(finding, check, family[i].unit);
    out.push_back(finding);
  }
}

}  // namespace

void check_noisy(const Sides& sides, const Check& check, std::vector<Finding>& out) {
  std::vector<Judged> family;
  std::set<QuantityKey> keys;
  for (const MeasuredValues* values : {&sides.base_values, &sides.head_values}) {
    for (const auto& [key, numbers] : *values) keys.insert(key);
  }
  for (const QuantityKey& key : keys) {
    if (!looks_at(sides.policy, check, key.first, key.second)) continue;
    if (!sides.base.case_hashes.contains(key.first) || !sides.head.case_hashes.contains(key.first)) continue;
    if (!is_large(sides, key, check)) continue;
    if (!sides.head_values.contains(key)) out.push_back(missing_finding(sides, key, check));
    else if (sides.base_values.contains(key)) family.push_back(measure(sides, key, check));
  }
  decide(family, check, sides, out);
}

double half_width(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy) {
  const Sides sides = sides_of(base, head, policy);
  double widest = 0.0;
  for (const auto& [key, numbers] : sides.base_values) {
    if (key.second != "time/step" || !sides.head_values.contains(key)) continue;
    const Judged judged = measure(sides, key, {.quantity = key.second, .margin = 1.0});
    if (!judged.result.interval) return std::numeric_limits<double>::infinity();
    widest = std::max(widest, 0.5 * (judged.result.interval->high - judged.result.interval->low));
  }
  return widest;
}

}  // namespace vorta::harness
