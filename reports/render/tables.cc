// SPDX-License-Identifier: Apache-2.0
#include "reports/render/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace vorta::reports {
namespace {

constexpr std::array<const char*, 8> kStageOrder{"text", "denoise", "denoise_timed", "step", "denoise_extrapolated",
                                                 "vae",  "e2e",     "load"};
constexpr std::size_t kMostOperators = 15;

// Stages that any variant measured, in reading order, unknown ones last.
std::vector<std::string> stages_of(const Report& report) {
  std::set<std::string> seen;
  for (const Variant& v : report.variants) {
    for (const auto& [stage, summary] : v.stages) seen.insert(stage);
  }
  std::vector<std::string> ordered;
  for (const char* stage : kStageOrder) {
    if (seen.erase(stage) > 0) ordered.emplace_back(stage);
  }
  ordered.insert(ordered.end(), seen.begin(), seen.end());
  return ordered;
}

std::string speedup_cell(const Variant& variant, const std::string& stage) {
  const auto found = variant.speedups.find(stage);
  if (found == variant.speedups.end()) return "-";
  if (variant.is_reference) return "1 (reference)";
  return estimate_text(found->second, "x");
}

const PredictionRow* prediction(const Variant& variant, std::string_view quantity) {
  const auto found = std::find_if(variant.predictions.begin(), variant.predictions.end(),
                                  [quantity](const PredictionRow& p) { return p.quantity == quantity; });
  return found == variant.predictions.end() ? nullptr : &*found;
}

std::string predicted_cell(const Variant& variant) {
  const PredictionRow* row = prediction(variant, "speedup/step");
  return row == nullptr ? "-" : fmt::format("{:.3g}x", row->predicted);
}

std::string trials_cell(const Variant& v) {
  std::string text = fmt::format("{} ok", v.ok);
  if (v.failed > 0) text += fmt::format(", {} failed", v.failed);
  if (v.skipped > 0) text += fmt::format(", {} skipped", v.skipped);
  if (v.unfinished > 0) text += fmt::format(", {} unfinished", v.unfinished);
  return text;
}

Table speed_table(const Report& report) {
  Table table = make_headline(report);
  table.id = "speed";
  table.title = "Speed";
  table.note =
      "Median over prompts and seeds. Speed-ups are paired by prompt and seed with the reference variant: geometric "
      "mean and 95 % interval (Student's t on logarithms over prompts; none below 3 prompts).";
  return table;
}

Table setup_table(const Report& report) {
  Table table{"setup",
              "How the trials were made",
              "Attention kernels: what computed the self attentions, as the engine noted while it ran.",
              {"variant", "weights", "steps timed", "steps of the schedule", "forwards a step", "attention kernels",
               "offload", "quantization"},
              {},
              8};
  for (const Variant& v : report.variants) {
    if (!v.setup) continue;
    const TrialSetup& s = *v.setup;
    table.rows.push_back({v.row.variant, s.weights, fmt::format("{}", s.timed_steps),
                          fmt::format("{}", s.schedule_steps), fmt::format("{}", s.forwards),
                          s.attention_kernels.empty() ? "-" : s.attention_kernels, s.offload, s.quantization});
  }
  return table;
}

Table stage_table(const Report& report) {
  Table table{"stages", "Time by stage", "Median and median absolute deviation over items.", {"variant"}, {}, 1};
  const auto stages = stages_of(report);
  for (const auto& stage : stages) table.columns.push_back(stage_title(stage));
  for (const Variant& v : report.variants) {
    std::vector<std::string> row{v.row.variant};
    for (const auto& stage : stages) {
      const auto found = v.stages.find(stage);
      row.push_back(found == v.stages.end()
                        ? "-"
                        : fmt::format("{} ± {}", seconds_text(found->second.median), seconds_text(found->second.mad)));
    }
    table.rows.push_back(std::move(row));
  }
  if (stages.empty()) table.rows.clear();
  return table;
}

std::string quantity_text(double value, const std::string& unit) {
  if (unit == "x") return fmt::format("{:.3g}x", value);
  if (unit == "FLOP") return fmt::format("{:.4g} GFLOP", value * 1e-9);
  return unit == "1" ? fmt::format("{:.4g}", value) : fmt::format("{:.4g} {}", value, unit);
}

Table prediction_table(const Report& report) {
  Table table{"prediction",
              "Predicted and measured",
              "Predicted from the route table before sampling; measured in this run.",
              {"variant", "quantity", "predicted", "measured", "measured ÷ predicted"},
              {},
              2};
  for (const Variant& v : report.variants) {
    for (const PredictionRow& p : v.predictions) {
      const bool both = p.measured && p.predicted != 0;
      table.rows.push_back({v.row.variant, p.quantity, quantity_text(p.predicted, p.unit),
                            p.measured ? quantity_text(*p.measured, p.unit) : "-",
                            both ? fmt::format("{:.0f} %", 100 * *p.measured / p.predicted) : "-"});
    }
  }
  return table;
}

Table quality_table(const Report& report) {
  Table table{"quality",
              "Quality",
              "Mean over prompts with 95 % interval; the difference is paired with the reference variant.",
              {"metric", "better", "variant", "mean", "difference to reference", "failed scores"},
              {},
              3};
  for (const MetricDefRow& metric : report.metrics) {
    const std::string better = metric.direction == Direction::kHigher  ? "higher"
                               : metric.direction == Direction::kLower ? "lower"
                                                                       : "-";
    for (const Variant& v : report.variants) {
      const auto found = v.scores.find(metric.key);
      if (found == v.scores.end()) continue;
      const ScoreSummary& score = found->second;
      const std::string name = metric.unit == "1" ? metric.name : fmt::format("{} ({})", metric.name, metric.unit);
      table.rows.push_back({name, better, v.row.variant, score.mean.prompts > 0 ? estimate_text(score.mean) : "-",
                            score.delta ? estimate_text(*score.delta) : "-", fmt::format("{}", score.failed)});
    }
  }
  return table;
}

Table memory_table(const Report& report) {
  Table table{"memory", "Peak memory", "Largest over the trials of a variant.", {"variant", "scope", "peak"}, {}, 2};
  for (const Variant& v : report.variants) {
    for (const auto& [scope, bytes] : v.peak_bytes)
      table.rows.push_back({v.row.variant, scope, bytes_text(static_cast<double>(bytes))});
  }
  return table;
}

Table operator_table(const Report& report) {
  Table table{"operators",
              "Time by operator",
              "From the separate profiled trials; its times never enter the speed table. Longest first.",
              {"variant", "operator", "calls", "self time", "share"},
              {},
              2};
  for (const Variant& v : report.variants) {
    int64_t total = 0;
    for (const RangeRow& r : v.operators) total += r.self_ns;
    for (std::size_t i = 0; i < std::min(kMostOperators, v.operators.size()); ++i) {
      const RangeRow& r = v.operators[i];
      table.rows.push_back({v.row.variant, r.name, fmt::format("{}", r.calls),
                            seconds_text(static_cast<double>(r.self_ns) * 1e-9),
                            fmt::format("{:.1f} %", 100.0 * static_cast<double>(r.self_ns) /
                                                        static_cast<double>(std::max<int64_t>(total, 1)))});
    }
  }
  return table;
}

Table layer_table(const Report& report) {
  Table table{"layers",
              "Time by layer",
              "From the separate profiled trials.",
              {"variant", "layer", "part", "calls", "total time"},
              {},
              3};
  for (const Variant& v : report.variants) {
    for (const RangeRow& r : v.layers) {
      table.rows.push_back({v.row.variant, r.layer < 0 ? "-" : fmt::format("{}", r.layer), r.name,
                            fmt::format("{}", r.calls), seconds_text(static_cast<double>(r.total_ns) * 1e-9)});
    }
  }
  return table;
}

Table route_table(const Report& report) {
  Table table{"routes",
              "Routing by step",
              "Share of heads by branch, over all layers.",
              {"variant", "step", "dense", "coreset", "sliding tile"},
              {},
              2};
  for (const Variant& v : report.variants) {
    std::map<int64_t, std::array<int64_t, 3>> steps;
    for (const RouteRow& r : v.routes) {
      auto& sums = steps[r.step];
      sums[0] += r.dense_heads, sums[1] += r.coreset_heads, sums[2] += r.sliding_heads;
    }
    for (const auto& [step, sums] : steps) {
      const double all = static_cast<double>(std::max<int64_t>(sums[0] + sums[1] + sums[2], 1));
      std::vector<std::string> row{v.row.variant, fmt::format("{}", step)};
      for (const int64_t heads : sums) row.push_back(fmt::format("{:.0f} %", 100.0 * static_cast<double>(heads) / all));
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

Table failure_table(const Report& report) {
  Table table{"failures",
              "Failed trials",
              "They stay in the record; no table above contains their numbers.",
              {"variant", "role", "prompt", "seed", "kind", "message", "stage"},
              {},
              7};
  for (const FailedTrial& f : report.failures) {
    const std::string stage =
        f.error.step >= 0 ? fmt::format("{}, step {}", f.error.stage, f.error.step) : f.error.stage;
    table.rows.push_back({f.variant, std::string(to_string(f.role)), f.prompt, fmt::format("{}", f.seed), f.error.kind,
                          f.error.message, stage});
  }
  return table;
}

Table claim_table(const Report& report) {
  Table table{"claims",
              "Claims tested here",
              "Judged on the 95 % interval of what this run measured.",
              {"claim", "verdict", "in words"},
              {},
              3};
  for (const ClaimVerdict& v : report.claims)
    table.rows.push_back({v.claim.sentence, std::string(to_string(v.verdict)), v.words});
  return table;
}

Table published_table(const Report& report) {
  Table table{"published",
              "What the paper states (not measured here)",
              "Other model, other machine: these numbers are quoted, and nothing on this page is computed from them.",
              {"statement", "value", "setting", "source"},
              {},
              4};
  for (const PublishedRow& p : report.published) table.rows.push_back({p.sentence, p.value, p.setting, p.source});
  return table;
}

Table audit_table(const Report& report) {
  Table table{"audits",
              "Audits",
              "Ways in which a benchmark can fool its reader, looked for in every run.",
              {"audit", "what must hold", "outcome", "in words"},
              {},
              4};
  for (const Audit& audit : report.audits)
    table.rows.push_back({audit.name, audit.promise, std::string(to_string(audit.outcome)), audit.words});
  return table;
}

Table fact_table(const char* id, const char* title, const Facts& facts) {
  Table table{id, title, "", {"name", "value"}, {}, 2};
  for (const auto& [name, value] : facts) table.rows.push_back({name, value});
  return table;
}

}  // namespace

std::string seconds_text(double seconds) {
  if (seconds >= 1) return fmt::format("{:.4g} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.4g} ms", seconds * 1e3);
  return fmt::format("{:.4g} µs", seconds * 1e6);
}

std::string bytes_text(double bytes) {
  constexpr std::array<const char*, 4> kUnits{"B", "KiB", "MiB", "GiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < kUnits.size()) bytes /= 1024, ++unit;
  return fmt::format("{:.4g} {}", bytes, kUnits[unit]);
}

std::string estimate_text(const Estimate& estimate, std::string_view suffix) {
  if (!estimate.low || !estimate.high)
    return fmt::format("{:.4g}{} (n={}, no interval)", estimate.value, suffix, estimate.prompts);
  return fmt::format("{:.4g}{} ({:.4g} to {:.4g})", estimate.value, suffix, *estimate.low, *estimate.high);
}

Table make_headline(const Report& report) {
  Table table{"headline",
              report.title,
              "",
              {"variant", "end to end", "one step", "speed-up end to end", "speed-up one step", "predicted", "trials"},
              {},
              1};
  for (const Variant& v : report.variants) {
    const auto time = [&v](const char* stage) {
      const auto found = v.stages.find(stage);
      return found == v.stages.end() ? std::string("-") : seconds_text(found->second.median);
    };
    // Where the first steps alone ran, the extrapolated denoising stands for the whole and says so.
    const char* whole = v.is_partial() ? "denoise_extrapolated" : "e2e";
    const auto marked = [&v](std::string text) {
      if (v.is_partial() && text != "-")
        text +=
            fmt::format(", denoising, extrapolated from {} of {} steps", v.setup->timed_steps, v.setup->schedule_steps);
      return text;
    };
    const std::string name = v.is_random() ? v.row.variant + " (random weights)" : v.row.variant;
    table.rows.push_back({name, marked(time(whole)), time("step"), speedup_cell(v, whole), speedup_cell(v, "step"),
                          predicted_cell(v), trials_cell(v)});
  }
  return table;
}

std::string provenance(const Report& report) {
  const auto value = [](const Facts& facts, std::string_view name) {
    const auto found =
        std::find_if(facts.begin(), facts.end(), [name](const auto& fact) { return fact.first == name; });
    return found == facts.end() ? std::string() : found->second;
  };
  const bool on_gpu = std::any_of(report.variants.begin(), report.variants.end(),
                                  [](const Variant& v) { return v.gpu || !v.power.empty(); });
  const std::string model = value(report.model, "name");
  const std::string machine = on_gpu ? value(report.environment, "gpu") : value(report.environment, "cpu");
  std::string text = fmt::format("Measured {} by vorta-bench {}", report.started_utc, report.tool_version);
  if (!model.empty()) text += fmt::format(" with the model {}", model);
  if (!machine.empty()) text += fmt::format(" on {}", machine);
  text += report.finished ? "." : "; the run has not finished, so rows are missing.";
  if (!report.stop_reason.empty()) text += fmt::format(" Sampling ended: {}.", report.stop_reason);
  if (report.resumed_count > 0) text += fmt::format(" Resumed {} time(s).", report.resumed_count);
  return text;
}

std::vector<Table> make_tables(const Report& report) {
  std::vector<Table> tables{speed_table(report),
                            claim_table(report),
                            published_table(report),
                            quality_table(report),
                            failure_table(report),
                            prediction_table(report),
                            stage_table(report),
                            setup_table(report),
                            memory_table(report),
                            route_table(report),
                            layer_table(report),
                            operator_table(report),
                            audit_table(report),
                            fact_table("environment", "Environment", report.environment),
                            fact_table("environment-now", "Environment at the time", report.environment_now),
                            fact_table("model", "Model", report.model)};
  for (Table& table : make_control_tables(report)) tables.push_back(std::move(table));
  for (Table& table : make_gpu_tables(report)) tables.push_back(std::move(table));
  std::erase_if(tables, [](const Table& table) { return table.rows.empty(); });
  return tables;
}

}  // namespace vorta::reports
