// SPDX-License-Identifier: Apache-2.0
// Tables for papers, to be \input: booktabs, intervals as indices, the best set in bold only where it is clear.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reports/render/renderer.h"
#include "reports/render/tables.h"

namespace vorta::reports {
namespace {

constexpr std::array kDetailTables{"claims", "quality", "stages", "published"};

std::string escape_latex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\': out += "\\textbackslash{}"; break;
      case '~': out += "\\textasciitilde{}"; break;
      case '^': out += "\\textasciicircum{}"; break;
      case '<': out += "\\textless{}"; break;
      case '>': out += "\\textgreater{}"; break;
      case '|': out += "\\textbar{}"; break;
      case '\n':
      case '\r': out += ' '; break;
      case '&':
      case '%':
      case '$':
      case '#':
      case '_':
      case '{':
      case '}': out += '\\'; [[fallthrough]];
      default: out += c;
    }
  }
  return out;
}

std::string table(const std::string& label, const std::string& caption, const std::string& columns,
                  const std::string& head, const std::vector<std::string>& rows) {
  std::string out = fmt::format(
      "\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\label{{tab:{}}}\n\\begin{{tabular}}{{{}}}\n\\toprule\n{} "
      "\\\\\n\\midrule\n",
      caption, label, columns, head);
  for (const std::string& row : rows) out += row + " \\\\\n";
  return out + "\\bottomrule\n\\end{tabular}\n\\end{table}\n\n";
}

std::string line(const std::vector<std::string>& cells) {
  std::string out;
  for (std::size_t i = 0; i < cells.size(); ++i) out += (i > 0 ? " & " : "") + cells[i];
  return out;
}

std::string estimate(const Estimate& e, bool bold) {
  const std::string value = bold ? fmt::format("\\mathbf{{{:.4g}}}", e.value) : fmt::format("{:.4g}", e.value);
  return e.low && e.high ? fmt::format("${}_{{\\,{:.3g}}}^{{\\,{:.3g}}}$", value, *e.low, *e.high)
                         : fmt::format("${}$", value);
}

// The estimate that is best with its whole interval: no other reaches into it. Null when the best is not clear.
const Estimate* clear_best(const std::vector<const Estimate*>& all, bool higher) {
  for (const Estimate* best : all) {
    if (!best->low || !best->high) continue;
    const bool clear = std::all_of(all.begin(), all.end(), [&](const Estimate* other) {
      return other == best ||
             (other->low && other->high && (higher ? *other->high < *best->low : *other->low > *best->high));
    });
    if (clear && all.size() > 1) return best;
  }
  return nullptr;
}

// A column of the first table: an estimate of a variant, or none.
struct Column {
  std::string title;
  bool higher = true;
  std::vector<const Estimate*> cells;  ///< By variant; null where it was not measured.

  std::string cell(std::size_t variant) const {
    std::vector<const Estimate*> known;
    std::copy_if(cells.begin(), cells.end(), std::back_inserter(known), [](const Estimate* e) { return e != nullptr; });
    return cells[variant] == nullptr ? "--" : estimate(*cells[variant], cells[variant] == clear_best(known, higher));
  }
};

std::vector<Column> headline_columns(const Report& report) {
  std::vector<Column> columns;
  for (const char* stage : {"step", "e2e"}) {
    Column column{fmt::format("speed-up, {}", stage_title(stage)), true, {}};
    for (const Variant& v : report.variants) {
      const auto found = v.speedups.find(stage);
      column.cells.push_back(v.is_reference || found == v.speedups.end() ? nullptr : &found->second);
    }
    columns.push_back(std::move(column));
  }
  for (const MetricDefRow& metric : report.metrics) {
    const std::string arrow = metric.direction == Direction::kHigher  ? " $\\uparrow$"
                              : metric.direction == Direction::kLower ? " $\\downarrow$"
                                                                      : "";
    Column column{escape_latex(metric.name) + arrow, metric.direction != Direction::kLower, {}};
    for (const Variant& v : report.variants) {
      const auto found = v.scores.find(metric.key);
      column.cells.push_back(found == v.scores.end() || found->second.mean.prompts == 0 ? nullptr
                                                                                        : &found->second.mean);
    }
    columns.push_back(std::move(column));
  }
  const auto empty = [](const Column& c) {
    return std::all_of(c.cells.begin(), c.cells.end(), [](auto* e) { return e == nullptr; });
  };
  columns.erase(std::remove_if(columns.begin(), columns.end(), empty), columns.end());
  return columns;
}

std::string headline(const Report& report) {
  const std::vector<Column> columns = headline_columns(report);
  std::vector<std::string> head{"variant", "s a video", "ms a step"}, rows;
  for (const Column& column : columns) head.push_back(column.title);
  for (std::size_t i = 0; i < report.variants.size(); ++i) {
    const Variant& v = report.variants[i];
    std::vector<std::string> cells{escape_latex(v.row.variant)};
    const auto median = [&v](const char* stage, double scale) {
      const auto found = v.stages.find(stage);
      return found == v.stages.end() ? std::string("--") : fmt::format("{:.4g}", found->second.median * scale);
    };
    cells.push_back(median("e2e", 1));
    cells.push_back(median("step", 1e3));
    for (const Column& column : columns) cells.push_back(column.cell(i));
    rows.push_back(line(cells));
  }
  std::string warned = report.title + ". ";
  for (const std::string& warning : report.warnings) warned += warning + " ";  // a table travels without its page
  const std::string caption = escape_latex(warned + provenance(report)) +
                              " Times are medians. Indices are 95\\,\\% intervals over prompts; bold: better than "
                              "every other variant with its whole interval.";
  return table("headline", caption, "l" + std::string(head.size() - 1, 'r'), line(head), rows);
}

std::string detail(const Table& source) {
  std::string columns;
  std::vector<std::string> head, rows;
  for (std::size_t i = 0; i < source.columns.size(); ++i) {
    columns += static_cast<int>(i) < source.text_columns ? 'l' : 'r';
    head.push_back(escape_latex(source.columns[i]));
  }
  for (const auto& row : source.rows) {
    std::vector<std::string> cells;
    for (const std::string& cell : row) cells.push_back(escape_latex(cell));
    rows.push_back(line(cells));
  }
  return table(source.id, escape_latex(source.title) + ". " + escape_latex(source.note), columns, line(head), rows);
}

}  // namespace

std::string render_latex(const Report& report, const RenderOptions&) {
  std::string out = "% Written by vorta-bench " + report.tool_version + "; needs \\usepackage{booktabs}.\n";
  for (const std::string& warning : report.warnings) out += "% " + escape_latex(warning) + "\n";
  out += headline(report);
  for (const Table& source : make_tables(report)) {
    if (std::find(kDetailTables.begin(), kDetailTables.end(), source.id) != kDetailTables.end()) out += detail(source);
  }
  return out;
}

}  // namespace vorta::reports
