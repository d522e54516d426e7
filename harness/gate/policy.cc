// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"

namespace vorta::harness {
namespace {

using nlohmann::json;

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};
constexpr Named<PairUnit> kUnits[] = {{"prompt", PairUnit::kPrompt}, {"round", PairUnit::kRound}};
constexpr Named<IntervalKind> kIntervals[] = {
    {"sign", IntervalKind::kSign}, {"studentised", IntervalKind::kStudentised}, {"student", IntervalKind::kStudent}};
constexpr Named<OnInconclusive> kOpen[] = {{"inconclusive", OnInconclusive::kInconclusive},
                                           {"pass", OnInconclusive::kPass},
                                           {"regression", OnInconclusive::kRegression}};

template <typename Value, size_t kCount>
Value named(ObjectReader& reader, std::string_view key, const Named<Value> (&table)[kCount]) {
  const std::string text = reader.string(key);
  std::vector<std::string> known;
  for (const auto& row : table) {
    if (row.name == text) return row.value;
    known.emplace_back(row.name);
  }
  reader.fail(key, unknown_name_message("value", text, std::move(known)));
}

// Line of the first place after `from` where `text` stands; 1 when there is none.
int line_of(const std::string& file, const std::string& text, size_t& from) {
  const size_t at = file.find(text, from);
  if (at == std::string::npos) return 1;
  from = at + 1;
  return 1 + static_cast<int>(std::count(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

Check read_check(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  Check check;
  check.quantity = reader.string("quantity");
  check.variant = reader.string("variant", "*");
  if (reader.has("margin")) check.margin = reader.number("margin");
  if (reader.has("tolerance")) check.tolerance = reader.number("tolerance");
  check.min_share = reader.number("min_share", 0.0);
  if (reader.has("unit")) check.unit = named(reader, "unit", kUnits);
  if (reader.has("interval")) check.interval = named(reader, "interval", kIntervals);
  if (reader.has("on_inconclusive")) check.on_inconclusive = named(reader, "on_inconclusive", kOpen);
  reader.finish();
  if (check.margin.has_value() == check.tolerance.has_value()) {
    reader.fail("margin", "expected either a margin (noisy) or a tolerance (deterministic)");
  }
  if (check.margin && !(*check.margin > 0.0)) reader.fail("margin", "expected a number above 0");
  if (check.tolerance && !(*check.tolerance >= 0.0)) reader.fail("tolerance", "expected a number from 0");
  if (check.min_share < 0.0 || check.min_share >= 1.0) reader.fail("min_share", "expected a share from 0 to below 1");
  return check;
}

Accepted read_accepted(const json& object, const std::string& where) {
  ObjectReader reader(object, where);
  Accepted accepted{reader.string("quantity"), reader.string("variant", "*"), reader.string("reason"),
                    reader.string("author", "")};
  reader.finish();
  if (accepted.reason.empty()) reader.fail("reason", "is empty; say why the change was wanted");
  return accepted;
}

const json* list(ObjectReader& reader, std::string_view key) {
  const json* value = reader.value(key);
  if (value != nullptr && !value->is_array())
    reader.fail(key, fmt::format("expected a list, found {}", value->type_name()));
  return value;
}

StoppingRule read_rounds(const json& object, const std::string& where, Policy& policy) {
  ObjectReader reader(object, where);
  StoppingRule rule;
  rule.min_rounds = reader.integer("min", rule.min_rounds);
  rule.max_rounds = reader.integer("max", rule.max_rounds);
  rule.target_half_width = reader.number("half_width", rule.target_half_width);
  rule.max_seconds = reader.number("minutes", 0.0) * 60.0;
  policy.looks = reader.integer("looks", policy.looks);
  reader.finish();
  if (rule.min_rounds < 1 || rule.min_rounds > 1000) reader.fail("min", "expected 1 to 1000");
  if (rule.max_rounds < rule.min_rounds || rule.max_rounds > 10000) reader.fail("max", "expected min to 10000");
  if (policy.looks < 1 || policy.looks > 10) reader.fail("looks", "expected 1 to 10");
  return rule;
}

// Below this number of rounds the interval does not exist, whatever is measured.
int64_t fewest(IntervalKind kind, double confidence) {
  if (kind == IntervalKind::kStudent) return 3;
  if (kind == IntervalKind::kStudentised) return kMinPairs;
  int64_t n = 2;
  std::vector<double> values{0, 0};
  while (!median_interval(values, confidence) && n < 1000) values.resize(static_cast<size_t>(++n));
  return n;
}

Policy read(const json& document, const std::string& where) {
  if (!document.is_object())
    throw ConfigError(where, fmt::format("expected a JSON object, found {}", document.type_name()));
  ObjectReader reader(document, where);
  Policy policy;
  policy.name = reader.string("name");
  reader.string("description", "");
  policy.suite = reader.string("suite", "");
  policy.requires_gpu = reader.string("requires_gpu", "");
  policy.confidence = reader.number("confidence", policy.confidence);
  if (!(policy.confidence >= 0.5 && policy.confidence < 1.0)) reader.fail("confidence", "expected 0.5 to below 1");
  if (reader.has("unit")) policy.unit = named(reader, "unit", kUnits);
  if (reader.has("interval")) policy.interval = named(reader, "interval", kIntervals);
  if (reader.has("on_inconclusive")) policy.on_inconclusive = named(reader, "on_inconclusive", kOpen);
  if (const json* keys = list(reader, "environment")) {
    policy.environment.clear();
    for (const json& key : *keys) {
      if (!key.is_string()) reader.fail("environment", "expected names");
      policy.environment.push_back(key.get<std::string>());
    }
  }
  if (const json* rounds = reader.value("rounds"))
    policy.rounds = read_rounds(*rounds, reader.pointer("rounds"), policy);
  const json* checks = list(reader, "checks");
  if (checks == nullptr || checks->empty()) reader.fail("checks", "expected a list with at least one check");
  for (size_t i = 0; i < checks->size(); ++i) {
    policy.checks.push_back(read_check((*checks)[i], fmt::format("{}/{}", reader.pointer("checks"), i)));
  }
  if (const json* accepted = list(reader, "accepted")) {
    for (size_t i = 0; i < accepted->size(); ++i) {
      policy.accepted.push_back(read_accepted((*accepted)[i], fmt::format("{}/{}", reader.pointer("accepted"), i)));
    }
  }
  reader.finish();
  const int64_t needed = fewest(policy.interval, 1.0 - (1.0 - policy.confidence) / static_cast<double>(policy.looks));
  if (policy.unit == PairUnit::kRound && policy.rounds.max_rounds < needed) {
    reader.fail("rounds", fmt::format("{} rounds can never decide: an interval at {} looks needs {}",
                                      policy.rounds.max_rounds, policy.looks, needed));
  }
  return policy;
}

}  // namespace

bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.ends_with('*')) return text.starts_with(pattern.substr(0, pattern.size() - 1));
  return pattern == text;
}

bool looks_at(const Policy& policy, const Check& check, std::string_view variant, std::string_view quantity) {
  if (!matches(check.variant, variant) || !matches(check.quantity, quantity)) return false;
  if (!check.quantity.ends_with('*')) return true;
  return std::none_of(policy.checks.begin(), policy.checks.end(), [&](const Check& other) {
    return other.quantity == quantity && matches(other.variant, variant);
  });
}

Policy read_policy(const std::filesystem::path& file) {
  const json document = read_json_file(file);
  Policy policy = read(document, file.string() + "#");
  policy.source = file;
  policy.json = canonical_json(document);
  const std::string text = read_file(file);
  size_t from = 0;
  for (Check& check : policy.checks) check.line = line_of(text, "\"" + check.quantity + "\"", from);
  return policy;
}

Policy default_policy() {
  const json document{{"name", "default"},
                      {"unit", "prompt"},
                      {"rounds", {{"looks", 1}}},
                      {"checks",
                       {{{"quantity", "time/step"}, {"margin", 0.03}},
                        {{"quantity", "time/e2e"}, {"margin", 0.03}},
                        {{"quantity", "memory/*"}, {"margin", 0.02}},
                        {{"quantity", "score/fidelity/*"}, {"margin", 0.005}},
                        {{"quantity", "score/quality/*"}, {"margin", 0.005}},
                        {{"quantity", "score/vbench_total"}, {"margin", 0.005}},
                        {{"quantity", "score/embedded/total_score"}, {"margin", 0.005}},
                        {{"quantity", "score/vbench/*"}, {"margin", 0.01}, {"on_inconclusive", "pass"}},
                        {{"quantity", "score/embedded/*"}, {"margin", 0.01}, {"on_inconclusive", "pass"}},
                        {{"quantity", "operator/*"},
                         {"margin", 0.03},
                         {"min_share", 0.02},
                         {"unit", "round"},
                         {"on_inconclusive", "pass"}},
                        {{"quantity", "kernel/*"},
                         {"margin", 0.03},
                         {"min_share", 0.02},
                         {"unit", "round"},
                         {"on_inconclusive", "pass"}},
                        {{"quantity", "flops/*"}, {"tolerance", 1e-9}},
                        {{"quantity", "calls/vorta*"}, {"tolerance", 0}},
                        {{"quantity", "kernels"}, {"tolerance", 0}},
                        {{"quantity", "routes"}, {"tolerance", 0}},
                        {{"quantity", "output"}, {"tolerance", 0}}}}};
  Policy policy = read(document, "default policy#");
  policy.json = canonical_json(document);
  return policy;
}

}  // namespace vorta::harness
