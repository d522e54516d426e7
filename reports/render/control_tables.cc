// SPDX-License-Identifier: Apache-2.0
// Tables of caches and of the controls that they have to beat.
#include "reports/render/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace vorta::reports {
namespace {

// The passes of a variant, each with its forwards in order.
std::map<std::string, std::vector<const CallRow*>> by_pass(const Variant& variant) {
  std::map<std::string, std::vector<const CallRow*>> passes;
  for (const CallRow& call : variant.calls) passes[call.pass].push_back(&call);
  return passes;
}

// One letter a step: the blocks' where all are alike, else p where parts were given back and c where blocks were.
std::string letters(const std::vector<const CallRow*>& calls) {
  std::string text;
  for (const CallRow* call : calls) {
    const std::string& blocks = call->blocks;
    const bool alike = blocks.find_first_not_of(blocks.empty() ? 'X' : blocks.front()) == std::string::npos;
    text += blocks.empty() ? 'X' : alike ? blocks.front() : blocks.find('p') != std::string::npos ? 'p' : 'c';
  }
  return text;
}

Table call_table(const Report& report) {
  Table table{
      "calls",
      "Calls of the network",
      "A letter a step: X every block computed; p parts of blocks given back as they were kept; c blocks, most or all, "
      "replaced by what was kept of them; . the whole forward skipped.",
      {"variant", "pass", "steps", "computed in full"},
      {},
      3};
  for (const Variant& v : report.variants) {
    for (const auto& [pass, calls] : by_pass(v)) {
      const std::string text = letters(calls);
      table.rows.push_back(
          {v.row.variant, pass, text, fmt::format("{} of {}", std::count(text.begin(), text.end(), 'X'), text.size())});
    }
  }
  return table;
}

Table control_table(const Report& report) {
  Table table{"controls",
              "Beside the control of equal cost",
              "The control is the reference with as many steps as cost what the variant is predicted to cost. An "
              "acceleration that does not "
              "beat it is worth nothing.",
              {"variant", "control", "in words"},
              {},
              3};
  for (const ControlComparison& c : compare_with_controls(report))
    table.rows.push_back({c.variant, c.control, c.words});
  return table;
}

Table pareto_table(const Report& report) {
  Table table{"pareto",
              "Pareto fronts",
              "Variants and controls that no other one beats in both denoising time and the metric; fastest first.",
              {"metric", "front"},
              {},
              2};
  const auto fronts = pareto_fronts(report);
  for (const MetricDefRow& metric : report.metrics) {
    const auto front = fronts.find(metric.key);
    if (front == fronts.end() || report.variants.size() < 3) continue;
    std::string names;
    for (const std::string& name : front->second) names += (names.empty() ? "" : ", ") + name;
    table.rows.push_back({metric.name, names});
  }
  return table;
}

}  // namespace

std::vector<Table> make_control_tables(const Report& report) {
  return {control_table(report), pareto_table(report), call_table(report)};
}

}  // namespace vorta::reports
