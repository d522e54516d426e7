// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/json_io.h"

namespace vorta::harness {
namespace {

using reports::Measured;
using reports::MeasuredRun;
using Key = std::pair<std::string, std::string>;      // variant, quantity
using Values = std::map<Key, std::vector<const Measured*>>;

struct Sides {
  const MeasuredRun& base;
  const MeasuredRun& head;
  const Policy& policy;
  Values base_values, head_values;
  double confidence = 0.95;
};

Values by_key(const MeasuredRun& run) {
  Values values;
  for (const Measured& value : run.values) values[{value.variant, value.quantity}].push_back(&value);
  return values;
}

Sides sides_of(const MeasuredRun& base, const MeasuredRun& head, const Policy& policy) {
  // Each look may err; together they may err as often as one.
  const double confidence = 1.0 - (1.0 - policy.confidence) / static_cast<double>(policy.looks);
  return {base, head, policy, by_key(base), by_key(head), confidence};
}

bool is_score(std::string_view quantity) { return quantity.starts_with("score/"); }

double median_of(const std::vector<const Measured*>& values) {
  std::vector<double> numbers;
  for (const Measured* value : values) numbers.push_back(value->value);
  return median(numbers);
}

const reports::MetricDefRow* metric_of(const Sides& sides, const std::string& quantity) {
  const auto found = std::find_if(sides.head.metrics.begin(), sides.head.metrics.end(),
                                  [&](const auto& metric) { return "score/" + metric.key == quantity; });
  return found == sides.head.metrics.end() ? nullptr : &*found;
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

// Pairs of the same item and round. Of rounds that only one side has, none can be paired.
std::vector<ClusteredValue> pairs(const Sides& sides, const Key& key, PairUnit unit) {
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

// A/A: round 2k + 1 of a side against its round 2k, both sides together.
std::optional<double> noise_of(const Sides& sides, const Key& key, PairUnit unit) {
  std::vector<ClusteredValue> same;
  int64_t side = 0;
  for (const Values* values : {&sides.base_values, &sides.head_values}) {
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

// Shares of a log ratio read as what they are: +2 %, not 0.0198.
double shown(const std::string& quantity, double harm) { return is_score(quantity) ? harm : std::expm1(harm); }

std::string amount(const Finding& finding, double harm) {
  if (finding.unit == "1") return fmt::format("{:+.2f} %", 100.0 * harm);
  return fmt::format("{:+.4g} {}", harm, finding.unit);
}

std::string words_for(const Finding& finding, const Check& check, PairUnit unit) {
  std::string words = fmt::format("harm {}", amount(finding, *finding.harm));
  if (finding.low) words += fmt::format(" ({} to {})", amount(finding, *finding.low), amount(finding, *finding.high));
  words += fmt::format(", {} {}s; margin {}", finding.units, unit == PairUnit::kRound ? "round" : "prompt", amount(finding, *check.margin));
  if (!finding.low) return words + "; too few for an interval";
  if (finding.detectable) words += fmt::format(", detectable {}", amount(finding, *finding.detectable));
  if (finding.verdict == "inconclusive" && *finding.detectable > *check.margin) {
    const double needed = static_cast<double>(finding.units) * std::pow(*finding.detectable / *check.margin, 2);
    words += fmt::format("; about {:.0f} {}s would show the margin", std::ceil(needed), unit == PairUnit::kRound ? "round" : "prompt");
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

Finding blank(const Key& key, const Check& check) {
  Finding finding;
  finding.variant = key.first;
  finding.quantity = key.second;
  finding.line = check.line;
  return finding;
}

Finding missing(const Key& key, const Check& check) {
  Finding finding = blank(key, check);
  finding.verdict = "missing";
  finding.outcome = Outcome::kRegression;
  finding.words = "the base has it, the head does not";
  return finding;
}

// Operators and kernels too short to matter drown the others in comparisons.
bool is_large(const Sides& sides, const Key& key, const Check& check) {
  if (check.min_share <= 0.0) return true;
  const std::string family = key.second.substr(0, key.second.find('/') + 1);
  const auto share = [&](const Values& values) {
    double sum = 0.0;
    for (const auto& [other, numbers] : values) {
      if (other.first == key.first && other.second.starts_with(family)) sum += median_of(numbers);
    }
    const auto found = values.find(key);
    return found == values.end() || sum <= 0.0 ? 0.0 : median_of(found->second) / sum;
  };
  return std::max(share(sides.base_values), share(sides.head_values)) >= check.min_share;
}

// "0..1" says where a score lies, not what it is counted in.
std::string unit_of(const reports::MetricDefRow* metric) {
  const bool counted = metric != nullptr && !metric->unit.empty() && metric->unit != "1" && metric->unit.find("..") == std::string::npos;
  return counted ? metric->unit : "points";
}

struct Judged {
  Finding finding;
  PairedResult result;
  PairUnit unit;
  bool two_sided = false;
};

Judged measure(const Sides& sides, const Key& key, const Check& check) {
  const PairUnit unit = check.unit.value_or(is_score(key.second) ? PairUnit::kPrompt : sides.policy.unit);
  Judged judged{blank(key, check), {}, unit};
  Finding& finding = judged.finding;
  const auto* metric = metric_of(sides, key.second);
  if (is_score(key.second)) finding.unit = unit_of(metric);
  judged.two_sided = metric != nullptr && metric->direction == reports::Direction::kTarget;
  finding.base = median_of(sides.base_values.at(key));
  finding.head = median_of(sides.head_values.at(key));
  const std::vector<ClusteredValue> harm = pairs(sides, key, unit);
  if (harm.empty()) return judged;
  const double margin = is_score(key.second) ? *check.margin : std::log1p(*check.margin);
  const auto noise = noise_of(sides, key, unit);
  judged.result = assess(harm, {.kind = check.interval.value_or(sides.policy.interval), .confidence = sides.confidence, .margin = margin,
                                .noise_floor = noise});
  const PairedResult& result = judged.result;
  finding.units = result.units;
  finding.harm = shown(key.second, result.estimate);
  finding.detectable = shown(key.second, result.detectable);
  if (noise) finding.noise_floor = shown(key.second, *noise);
  if (result.interval) {
    finding.low = shown(key.second, result.interval->low);
    finding.high = shown(key.second, result.interval->high);
  }
  return judged;
}

// Holm over everything that one check looks at: a rule with a star finds harm by chance no more often than one without.
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
    finding.verdict = to_string(beyond && !significant ? Comparison::kInconclusive : result.comparison);
    const bool worse = finding.verdict == "worse" || (family[i].two_sided && finding.verdict == "better");
    const bool harmless = family[i].two_sided ? finding.verdict == "equivalent" : result.harmless;
    finding.outcome = worse ? Outcome::kRegression : harmless ? Outcome::kPass : open_outcome(check, sides.policy);
    finding.words = words_for(finding, check, family[i].unit);
    out.push_back(finding);
  }
}

void check_noisy(const Sides& sides, const Check& check, std::vector<Finding>& out) {
  std::vector<Judged> family;
  std::set<Key> keys;
  for (const Values* values : {&sides.base_values, &sides.head_values}) {
    for (const auto& [key, numbers] : *values) keys.insert(key);
  }
  for (const Key& key : keys) {
    if (!matches(check.variant, key.first) || !matches(check.quantity, key.second)) continue;
    if (!sides.base.case_hashes.contains(key.first) || !sides.head.case_hashes.contains(key.first)) continue;
    if (!is_large(sides, key, check)) continue;
    if (!sides.head_values.contains(key)) out.push_back(missing(key, check));
    else if (sides.base_values.contains(key)) family.push_back(measure(sides, key, check));
  }
  decide(family, check, sides, out);
}

double number_of(const std::string& text) {
  double value = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

using Facts = std::map<Key, std::map<std::string, const reports::Deterministic*>>;  // by item

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

Finding compare_fact(const Key& key, const Check& check, const std::map<std::string, const reports::Deterministic*>& base,
                     const std::map<std::string, const reports::Deterministic*>& head) {
  Finding finding = blank(key, check);
  finding.deterministic = true;
  finding.verdict = "same";
  size_t changed = 0, common = 0;
  for (const auto& [item, fact] : base) {
    const auto found = head.find(item);
    if (found == head.end()) continue;
    ++common;
    if (found->second->text == fact->text) continue;
    ++changed;
    if (fact->is_number && finding.outcome == Outcome::kPass) compare_number(number_of(fact->text), number_of(found->second->text), *check.tolerance, finding);
  }
  finding.units = static_cast<int64_t>(common);
  if (common == 0) return missing(key, check);
  if (changed == 0) finding.words = fmt::format("equal on {} item{}", common, common == 1 ? "" : "s");
  else if (!base.begin()->second->is_number) {
    finding.verdict = "changed";
    finding.outcome = Outcome::kRegression;
    finding.words = fmt::format("differs on {} of {} items", changed, common);
  } else if (finding.words.empty()) finding.words = fmt::format("within {:g} %", 100.0 * *check.tolerance);
  return finding;
}

void check_deterministic(const Sides& sides, const Check& check, std::vector<Finding>& out) {
  const Facts base = facts_of(sides.base), head = facts_of(sides.head);
  for (const auto& [key, facts] : base) {
    if (!matches(check.variant, key.first) || !matches(check.quantity, key.second)) continue;
    if (!sides.head.case_hashes.contains(key.first)) continue;
    const auto found = head.find(key);
    out.push_back(found == head.end() ? missing(key, check) : compare_fact(key, check, facts, found->second));
  }
  // A call that nobody made before.
  for (const auto& [key, facts] : head) {
    const bool counted = key.second.starts_with("calls/") || key.second == "kernels";
    if (!counted || base.contains(key) || !matches(check.variant, key.first) || !matches(check.quantity, key.second)) continue;
    if (!sides.base.case_hashes.contains(key.first)) continue;
    Finding finding = blank(key, check);
    finding.deterministic = true;
    compare_number(0.0, number_of(facts.begin()->second->text), *check.tolerance, finding);
    out.push_back(finding);
  }
  // Memory and the like are numbers of trials that may yet be held to a tolerance: the largest of each side counts.
  for (const auto& [key, numbers] : sides.base_values) {
    if (!matches(check.variant, key.first) || !matches(check.quantity, key.second)) continue;
    const auto found = sides.head_values.find(key);
    Finding finding = blank(key, check);
    finding.deterministic = true;
    finding.verdict = "same";
    const auto largest = [](const auto& values) {
      return (*std::max_element(values.begin(), values.end(), [](auto* a, auto* b) { return a->value < b->value; }))->value;
    };
    if (found == sides.head_values.end()) finding = missing(key, check);
    else compare_number(largest(numbers), largest(found->second), *check.tolerance, finding);
    if (finding.words.empty()) finding.words = fmt::format("within {:g} %", 100.0 * *check.tolerance);
    out.push_back(finding);
  }
}

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
  return result;
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

reports::ComparisonSet comparison_set(const GateResult& result, const Policy& policy) {
  reports::ComparisonSet set{policy.json, result.base, result.head, result.look, {}};
  for (const Finding& f : result.findings) {
    set.rows.push_back({f.variant, f.quantity, f.unit, f.base, f.head, f.harm, f.low, f.high, f.p_adjusted, f.detectable, f.noise_floor,
                        f.units, f.verdict, std::string(to_string(f.outcome)), f.words});
  }
  return set;
}

}  // namespace vorta::harness
