// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "reports/render/renderer.h"
#include "reports/render/tables.h"

namespace vorta::reports {
namespace {

// What a Markdown viewer would read as markup, table borders or HTML.
std::string escape_markdown(std::string_view text) {
  constexpr std::string_view kSpecial = "\\|*_`[]<>#&~";
  std::string out;
  for (const char c : text) {
    if (c == '\n' || c == '\r') {
      out += ' ';
      continue;
    }
    if (kSpecial.find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string markdown_table(const Table& table) {
  std::string out = fmt::format("## {}\n\n", escape_markdown(table.title));
  if (!table.note.empty()) out += table.note + "\n\n";
  const auto line = [](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (const auto& cell : cells) text += fmt::format(" {} |", escape_markdown(cell));
    return text + "\n";
  };
  out += line(table.columns) + "|";
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    out += static_cast<int>(i) < table.text_columns ? " --- |" : " ---: |";
  }
  out += "\n";
  for (const auto& row : table.rows) out += line(row);
  return out + "\n";
}

// Width on a terminal: code points, which is right for all that our tables hold but East Asian prompts.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// A quoted cell; a leading =, +, - or @ of free text would be run as a formula by spreadsheets.
std::string csv_cell(std::string_view text) {
  std::string out = "\"";
  if (!text.empty() && std::string_view("=+-@\t\r").find(text.front()) != std::string_view::npos) out += '\'';
  for (const char c : text) {
    out += c;
    if (c == '"') out += '"';
  }
  return out + "\"";
}

struct Fact {
  std::string section, variant, subject, quantity, unit;
  double value = 0;
  std::optional<double> low, high;
  int64_t count = 0;
};

std::string csv_line(const Fact& fact) {
  const auto number = [](const std::optional<double>& value) {
    return value ? fmt::format("{}", *value) : std::string();
  };
  return fmt::format("{},{},{},{},{},{},{},{},{}\n", csv_cell(fact.section), csv_cell(fact.variant),
                     csv_cell(fact.subject), csv_cell(fact.quantity), csv_cell(fact.unit), fact.value, number(fact.low),
                     number(fact.high), fact.count);
}

std::string metric_unit(const Report& report, const std::string& key) {
  const auto found =
      std::find_if(report.metrics.begin(), report.metrics.end(), [&key](const auto& m) { return m.key == key; });
  return found == report.metrics.end() ? "" : found->unit;
}

std::string place_text(const GpuPlaceRow& p) {
  return fmt::format("{}/step {}/layer {}/{}/{}", p.stage, p.step, p.layer, p.part, p.route);
}

std::string gpu_csv(const Variant& v) {
  std::string out;
  const std::string& name = v.row.variant;
  const auto seconds = [](int64_t ns) { return static_cast<double>(ns) * 1e-9; };
  if (v.gpu) {
    const GpuProfile& g = *v.gpu;
    for (const GpuKernelRow& k : g.kernels) {
      const std::string subject = fmt::format("{} [{}/{}]", k.name, k.part, k.route);
      out += csv_line({"gpu_kernel", name, subject, "total", "s", seconds(k.total_ns), {}, {}, k.calls});
      if (k.flops > 0) out += csv_line({"gpu_kernel", name, subject, "work", "FLOP", k.flops, {}, {}, k.calls});
      if (k.bytes > 0) out += csv_line({"gpu_kernel", name, subject, "traffic", "B", k.bytes, {}, {}, k.calls});
      out += csv_line({"gpu_kernel", name, subject, "median", "s", seconds(k.median_ns), seconds(k.min_ns),
                       seconds(k.max_ns), k.calls});
    }
    for (const GpuPlaceRow& p : g.places) {
      out += csv_line({"gpu_place", name, place_text(p), "total", "s", seconds(p.total_ns), {}, {}, p.kernels});
    }
    for (const GpuStepRow& s : g.steps) {
      const std::array<std::pair<const char*, int64_t>, 4> times{
          {{"kernels", s.kernel_ns}, {"layers", s.layer_ns}, {"busy", s.busy_ns}, {"span", s.span_ns}}};
      for (const auto& [quantity, ns] : times) {
        out += csv_line({"gpu_step", name, fmt::format("{}", s.step), quantity, "s", seconds(ns), {}, {}, s.kernels});
      }
    }
    for (const GpuCounterRow& c : g.counters)
      out += csv_line({"gpu_counter", name, c.scope, c.metric, "", c.value, {}, {}, 1});
    for (const GpuCeilingRow& c : g.ceilings)
      out += csv_line({"gpu_ceiling", name, "", c.quantity, "1/s", c.per_second, {}, {}, 1});
    if (g.overhead) out += csv_line({"gpu_profile", name, "", "overhead", "x", *g.overhead, {}, {}, 1});
  }
  for (const TrialPower& p : v.power) {
    const std::string subject = fmt::format("{} item {}, {}", to_string(p.role), p.item, to_string(p.row.regime));
    out += csv_line({"gpu_power", name, subject, "sm_clock/median", "MHz", p.row.median_sm_clock_mhz,
                     p.row.min_sm_clock_mhz, p.row.max_sm_clock_mhz, p.row.samples});
    out += csv_line(
        {"gpu_power", name, subject, "power/mean", "W", p.row.mean_power_w, {}, p.row.max_power_w, p.row.samples});
    if (p.row.energy_j)
      out += csv_line({"gpu_power", name, subject, "energy", "J", *p.row.energy_j, {}, {}, p.row.samples});
  }
  return out;
}

std::string variant_csv(const Report& report, const Variant& v) {
  std::string out;
  const std::string& name = v.row.variant;
  const std::array<std::pair<const char*, int64_t>, 4> counts{
      {{"ok", v.ok}, {"failed", v.failed}, {"skipped", v.skipped}, {"unfinished", v.unfinished}}};
  for (const auto& [status, count] : counts) {
    out += csv_line({"trials", name, "", status, "trials", static_cast<double>(count), {}, {}, count});
  }
  if (v.setup) {
    const std::string subject = fmt::format("{} weights; {}; offload {}; quantization {}", v.setup->weights,
                                            v.setup->attention_kernels, v.setup->offload, v.setup->quantization);
    out += csv_line(
        {"setup", name, subject, "timed_steps", "steps", static_cast<double>(v.setup->timed_steps), {}, {}, v.ok});
    out += csv_line({"setup",
                     name,
                     subject,
                     "schedule_steps",
                     "steps",
                     static_cast<double>(v.setup->schedule_steps),
                     {},
                     {},
                     v.ok});
  }
  for (const auto& [stage, s] : v.stages) {
    out += csv_line({"time", name, "", stage + "/median", "s", s.median, s.min, s.max, s.count});
  }
  for (const auto& [stage, e] : v.speedups) {
    out += csv_line({"speedup", name, "", stage, "x", e.value, e.low, e.high, e.prompts});
  }
  for (const auto& [key, s] : v.scores) {
    if (s.mean.prompts > 0) {
      out += csv_line(
          {"score", name, "", key, metric_unit(report, key), s.mean.value, s.mean.low, s.mean.high, s.mean.prompts});
    }
    if (s.delta) {
      out += csv_line({"delta", name, "", key, metric_unit(report, key), s.delta->value, s.delta->low, s.delta->high,
                       s.delta->prompts});
    }
  }
  for (const auto& [scope, bytes] : v.peak_bytes) {
    out += csv_line({"memory_peak", name, "", scope, "B", static_cast<double>(bytes), {}, {}, 1});
  }
  for (const PredictionRow& p : v.predictions) {
    out += csv_line({"predicted", name, "", p.quantity, p.unit, p.predicted, {}, {}, 1});
    if (p.measured) out += csv_line({"measured", name, "", p.quantity, p.unit, *p.measured, {}, {}, 1});
  }
  for (std::size_t i = 0; i < v.step_seconds.size(); ++i) {
    out += csv_line({"step", name, fmt::format("{}", i), "median", "s", v.step_seconds[i], {}, {}, 1});
  }
  for (const auto* ranges : {&v.layers, &v.operators}) {
    for (const RangeRow& r : *ranges) {
      const std::string subject = r.layer < 0 ? r.name : fmt::format("{}/{}", r.layer, r.name);
      out += csv_line({r.kind, name, subject, "self", "s", static_cast<double>(r.self_ns) * 1e-9, {}, {}, r.calls});
      out += csv_line({r.kind, name, subject, "total", "s", static_cast<double>(r.total_ns) * 1e-9, {}, {}, r.calls});
    }
  }
  out += gpu_csv(v);
  for (const RouteRow& r : v.routes) {
    const std::array<std::pair<const char*, int64_t>, 3> heads{
        {{"dense", r.dense_heads}, {"coreset", r.coreset_heads}, {"sliding", r.sliding_heads}}};
    for (const auto& [branch, count] : heads) {
      out += csv_line({"route",
                       name,
                       fmt::format("step {} layer {}", r.step, r.layer),
                       branch,
                       "heads",
                       static_cast<double>(count),
                       {},
                       {},
                       1});
    }
  }
  return out;
}

}  // namespace

std::string render_markdown(const Report& report, const RenderOptions&) {
  std::string out = fmt::format("# {}\n\n{}\n\n", escape_markdown(report.title), escape_markdown(provenance(report)));
  for (const std::string& warning : report.warnings) out += fmt::format("**{}**\n\n", escape_markdown(warning));
  if (!report.notes.empty()) out += escape_markdown(report.notes) + "\n\n";
  for (const Table& table : make_tables(report)) out += markdown_table(table);
  out += "## Prompts\n\n";
  for (const Item& item : report.items) {
    out += fmt::format("- {} (seed {})\n", escape_markdown(item.row.prompt), item.row.seed);
  }
  return out;
}

std::string render_terminal(const Report& report, const RenderOptions&) {
  const Table table = make_headline(report);
  std::vector<std::size_t> widths;
  for (const auto& column : table.columns) widths.push_back(width(column));
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string pad(widths[i] - width(cells[i]), ' ');
      text += static_cast<int>(i) < table.text_columns ? cells[i] + pad : pad + cells[i];
      text += i + 1 < cells.size() ? "  " : "\n";
    }
    return text;
  };
  std::string out = table.title + "\n";
  for (const std::string& warning : report.warnings) out += warning + "\n";
  out += line(table.columns);
  for (const auto& row : table.rows) out += line(row);
  for (const ClaimVerdict& v : report.claims) out += fmt::format("{}: {}\n", v.claim.sentence, v.words);
  for (const PublishedRow& p : report.published) {
    out +=
        fmt::format("The paper states (not measured here): {} {} [{}; {}]\n", p.sentence, p.value, p.setting, p.source);
  }
  if (!report.failures.empty()) {
    out +=
        fmt::format("{} trial(s) failed; first: {}\n", report.failures.size(), report.failures.front().error.message);
  }
  return out;
}

std::string render_csv(const Report& report, const RenderOptions&) {
  std::string out = "section,variant,subject,quantity,unit,value,low,high,count\n";
  for (const Variant& v : report.variants) out += variant_csv(report, v);
  for (const Variant& v : report.variants) {
    for (const ItemResult& result : v.items) {
      const std::string subject = fmt::format("item {}", result.item);
      for (const auto& [stage, seconds] : result.seconds) {
        out += csv_line({"item_time", v.row.variant, subject, stage, "s", seconds, {}, {}, 1});
      }
      for (const auto& [key, score] : result.scores) {
        out += csv_line({"item_score", v.row.variant, subject, key, metric_unit(report, key), score, {}, {}, 1});
      }
    }
  }
  for (const ClaimVerdict& c : report.claims) {
    const std::string subject = fmt::format("{}: {}", c.claim.key, to_string(c.verdict));
    if (c.value) {
      out += csv_line({"claim", c.claim.variant, subject, c.claim.quantity, "", *c.value, c.low, c.high, c.items});
    }
  }
  for (const FailedTrial& f : report.failures) {
    out += csv_line({"failure",
                     f.variant,
                     f.prompt,
                     f.error.kind + ": " + f.error.message,
                     "seed",
                     static_cast<double>(f.seed),
                     {},
                     {},
                     1});
  }
  return out;
}

}  // namespace vorta::reports
