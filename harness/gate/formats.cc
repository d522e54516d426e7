// SPDX-License-Identifier: Apache-2.0
#include "harness/gate/formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

namespace vorta::harness {
namespace {

constexpr size_t kSummaryBytes = 900 << 10;
constexpr int kAnnotations = 10;
constexpr size_t kSarifResults = 5000;

std::string replaced(std::string_view text, std::initializer_list<std::pair<char, std::string_view>> table) {
  std::string out;
  for (const char c : text) {
    std::string_view with(&c, 1);
    for (const auto& [from, to] : table) {
      if (c == from) with = to;
    }
    out += with;
  }
  return out;
}

std::string xml(std::string_view text) {
  std::string safe = replaced(text, {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}});
  std::erase_if(safe, [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
  });  // XML 1.0 has no way to say them
  return safe;
}

std::string cell(std::string_view text) {
  return replaced(text, {{'|', "\\|"}, {'\n', " "}, {'<', "&lt;"}, {'*', "\\*"}});
}
std::string command_value(std::string_view text) {
  return replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}});
}
std::string command_property(std::string_view text) {
  return replaced(text, {{'%', "%25"}, {'\r', "%0D"}, {'\n', "%0A"}, {':', "%3A"}, {',', "%2C"}});
}

std::string headline(const GateResult& result, const Policy& policy) {
  std::string line = fmt::format("gate {}: {}", policy.name, to_string(result.outcome));
  line +=
      fmt::format(" ({} checked, {} regressed, {} open, {} incomparable, {} accepted; look {} of {}",
                  result.findings.size(), result.count(Outcome::kRegression), result.count(Outcome::kOpen),
                  result.count(Outcome::kIncomparable), result.count(Outcome::kAccepted), result.look, result.looks);
  return line + (result.stopped.empty() ? ")" : fmt::format("; measuring ended: {})", result.stopped));
}

std::string number(const Finding& finding, const std::optional<double>& value) {
  if (!value) return "";
  return finding.unit == "1" ? fmt::format("{:+.2f} %", 100.0 * *value) : fmt::format("{:+.4g}", *value);
}

std::string interval(const Finding& finding) {
  return finding.low ? fmt::format("{} to {}", number(finding, finding.low), number(finding, finding.high)) : "";
}

std::string value_text(const std::optional<double>& value) { return value ? fmt::format("{:.6g}", *value) : ""; }

nlohmann::json json_of(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

nlohmann::json parsed(const std::string& text) { return nlohmann::json::parse(text, nullptr, false); }

}  // namespace

std::string gate_text(const GateResult& result, const Policy& policy) {
  std::string text;
  for (const Finding& f : result.findings) {
    const bool told = f.outcome != Outcome::kPass || f.verdict == "better";
    if (told)
      text += fmt::format("{:<12} {} {}: {}\n", f.outcome == Outcome::kPass ? "better" : to_string(f.outcome),
                          f.variant, f.quantity, f.words);
  }
  for (const VariantVerdict& v : result.verdicts) text += fmt::format("{}: {}\n", v.variant, v.words);
  return text + headline(result, policy) + "\n";
}

std::string run_and_build(const std::string& key, const std::string& build) {
  return build.empty() || build == "{}" ? fmt::format("`{}`", key) : fmt::format("`{}` {}", key, cell(build));
}

std::string gate_markdown(const GateResult& result, const Policy& policy) {
  std::string text =
      fmt::format("## {}\n\n{}\n\nBase {}, head {}\n\n", to_string(result.outcome), cell(headline(result, policy)),
                  run_and_build(result.base, result.base_build), run_and_build(result.head, result.head_build));
  if (!result.verdicts.empty()) {
    text += "| variant | speed | quality | together |\n|---|---|---|---|\n";
    for (const VariantVerdict& v : result.verdicts) {
      text += fmt::format("| {} | {} | {} | {} |\n", cell(v.variant), v.speed ? to_string(*v.speed) : "not checked",
                          v.quality ? to_string(*v.quality) : "not checked", to_string(v.together));
    }
    text += "\n";
  }
  text +=
      "| outcome | variant | quantity | base | head | harm | interval | detectable | verdict "
      "|\n|---|---|---|---:|---:|---:|---:|---:|---|\n";
  size_t left = result.findings.size();
  for (const Finding& f : result.findings) {
    const std::string row =
        fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", to_string(f.outcome), cell(f.variant),
                    cell(f.quantity), value_text(f.base), value_text(f.head), number(f, f.harm), interval(f),
                    number(f, f.detectable), cell(f.deterministic ? f.words : f.verdict));
    if (text.size() + row.size() > kSummaryBytes) break;
    text += row;
    --left;
  }
  if (left > 0) text += fmt::format("\n{} more rows are in gate.json.\n", left);
  return text +
         "\nHarm is positive: a share of the base, or the score's unit. Intervals share the error of all looks.\n";
}

std::string gate_json(const GateResult& result, const Policy& policy) {
  nlohmann::json findings = nlohmann::json::array();
  for (const Finding& f : result.findings) {
    findings.push_back({{"variant", f.variant},
                        {"quantity", f.quantity},
                        {"unit", f.unit},
                        {"base", json_of(f.base)},
                        {"head", json_of(f.head)},
                        {"harm", json_of(f.harm)},
                        {"low", json_of(f.low)},
                        {"high", json_of(f.high)},
                        {"p_adjusted", json_of(f.p_adjusted)},
                        {"detectable", json_of(f.detectable)},
                        {"noise_floor", json_of(f.noise_floor)},
                        {"units", f.units},
                        {"verdict", f.verdict},
                        {"outcome", to_string(f.outcome)},
                        {"words", f.words},
                        {"deterministic", f.deterministic}});
  }
  nlohmann::json verdicts = nlohmann::json::array();
  const auto word = [](const std::optional<Comparison>& comparison) {
    return comparison ? nlohmann::json(to_string(*comparison)) : nlohmann::json(nullptr);
  };
  for (const VariantVerdict& v : result.verdicts) {
    verdicts.push_back({{"variant", v.variant},
                        {"speed", word(v.speed)},
                        {"quality", word(v.quality)},
                        {"together", to_string(v.together)},
                        {"words", v.words}});
  }
  const nlohmann::json document{{"schema", 1},
                                {"outcome", to_string(result.outcome)},
                                {"policy", parsed(policy.json)},
                                {"base", {{"run", result.base}, {"build", parsed(result.base_build)}}},
                                {"head", {{"run", result.head}, {"build", parsed(result.head_build)}}},
                                {"look", result.look},
                                {"looks", result.looks},
                                {"stopped", result.stopped},
                                {"verdicts", verdicts},
                                {"findings", findings}};
  return document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string gate_junit(const GateResult& result, const Policy& policy) {
  std::map<std::string, std::vector<const Finding*>> suites;
  for (const Finding& f : result.findings) suites[f.variant].push_back(&f);
  std::string body;
  int all_failures = 0, all_errors = 0, all_skipped = 0;
  for (const auto& [variant, findings] : suites) {
    std::string cases;
    int failures = 0, errors = 0, skipped = 0;
    for (const Finding* f : findings) {
      cases += fmt::format("    <testcase classname=\"{}.{}\" name=\"{}\">", xml(policy.name), xml(variant),
                           xml(f->quantity));
      const std::string message = xml(f->words);
      if (f->outcome == Outcome::kRegression && ++failures)
        cases += fmt::format("<failure type=\"{}\" message=\"{}\"/>", xml(f->verdict), message);
      else if (f->outcome == Outcome::kIncomparable && ++errors)
        cases += fmt::format("<error type=\"incomparable\" message=\"{}\"/>", message);
      else if (f->outcome == Outcome::kOpen && ++skipped) cases += fmt::format("<skipped message=\"{}\"/>", message);
      else cases += fmt::format("<system-out>{}</system-out>", message);
      cases += "</testcase>\n";
    }
    body += fmt::format(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n{}  </testsuite>\n",
        xml(variant), findings.size(), failures, errors, skipped, cases);
    all_failures += failures, all_errors += errors, all_skipped += skipped;
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"vorta-bench gate {}\" tests=\"{}\" "
      "failures=\"{}\" errors=\"{}\" "
      "skipped=\"{}\">\n{}</testsuites>\n",
      xml(policy.name), result.findings.size(), all_failures, all_errors, all_skipped, body);
}

std::string gate_sarif(const GateResult& result, const Policy& policy) {
  nlohmann::json results = nlohmann::json::array();
  std::map<std::string, nlohmann::json> rules;
  for (const Finding& f : result.findings) {
    const bool told =
        f.outcome == Outcome::kRegression || f.outcome == Outcome::kOpen || f.outcome == Outcome::kIncomparable;
    if (!told || results.size() >= kSarifResults) continue;
    rules[f.quantity] = {{"id", f.quantity}, {"shortDescription", {{"text", "Regression gate: " + f.quantity}}}};
    results.push_back({{"ruleId", f.quantity},
                       {"level", f.outcome == Outcome::kRegression ? "error" : "warning"},
                       {"message", {{"text", fmt::format("{} {}: {}", f.variant, f.quantity, f.words)}}},
                       {"locations",
                        {{{"physicalLocation",
                           {{"artifactLocation",
                             {{"uri", policy.source.empty() ? "default-policy.json" : policy.source.generic_string()}}},
                            {"region", {{"startLine", std::max(1, f.line)}}}}}}}},
                       {"partialFingerprints", {{"quantity/v1", f.variant + "/" + f.quantity}}}});
  }
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, rule] : rules) list.push_back(rule);
  const nlohmann::json document{
      {"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
      {"version", "2.1.0"},
      {"runs", {{{"tool", {{"driver", {{"name", "vorta-bench gate"}, {"rules", list}}}}}, {"results", results}}}}};
  return document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string gate_annotations(const GateResult& result, const Policy& policy) {
  std::string text;
  int errors = 0, warnings = 0;
  for (const Finding& f : result.findings) {
    const bool error = f.outcome == Outcome::kRegression;
    if (!error && f.outcome != Outcome::kOpen && f.outcome != Outcome::kIncomparable) continue;
    if ((error ? errors : warnings)++ >= kAnnotations) continue;
    const std::string where =
        policy.source.empty()
            ? ""
            : fmt::format("file={},line={},", command_property(policy.source.generic_string()), std::max(1, f.line));
    text += fmt::format("::{} {}title={}::{}\n", error ? "error" : "warning", where,
                        command_property(f.variant + " " + f.quantity), command_value(f.words));
  }
  return text;
}

std::span<const GateFormat> gate_formats() {
  static constexpr GateFormat kFormats[] = {
      {"txt", "what is not well, for a terminal", "gate.txt", gate_text},
      {"md", "a table, for a step summary or a comment", "gate.md", gate_markdown},
      {"json", "everything, with the policy", "gate.json", gate_json},
      {"junit", "JUnit XML", "gate.junit.xml", gate_junit},
      {"sarif", "SARIF 2.1.0", "gate.sarif", gate_sarif},
      {"github", "annotations on stdout", "", gate_annotations},
  };
  return kFormats;
}

}  // namespace vorta::harness
