// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "reports/render/json_format.h"
#include "reports/render/renderer.h"
#include "reports/render/tables.h"

namespace vorta::reports {
namespace {

using nlohmann::json;

json optional(const std::optional<double>& value) { return value ? json(*value) : json(nullptr); }

json of(const Facts& facts) {
  json object = json::object();
  for (const auto& [name, value] : facts) object[name] = value;
  return object;
}

json of(const Estimate& e) {
  return {{"value", e.value}, {"low", optional(e.low)}, {"high", optional(e.high)}, {"prompts", e.prompts}};
}

json of(const Summary& s) {
  return {{"median", s.median}, {"mad", s.mad}, {"min", s.min}, {"max", s.max}, {"count", s.count}};
}

json of(const RangeRow& r) {
  return {{"name", r.name},
          {"layer", r.layer},
          {"calls", r.calls},
          {"self_s", static_cast<double>(r.self_ns) * 1e-9},
          {"total_s", static_cast<double>(r.total_ns) * 1e-9},
          {"flops", optional(r.flops)}};
}

json of(const ItemResult& item) {
  json artefacts = json::array();
  for (const ArtefactRow& a : item.artefacts)
    artefacts.push_back({{"kind", a.kind}, {"path", a.path}, {"mime", a.mime}, {"bytes", a.bytes}});
  return {{"item", item.item}, {"seconds", item.seconds}, {"scores", item.scores}, {"artefacts", std::move(artefacts)}};
}

json of(const GpuKernelRow& k) {
  json out = {{"name", k.name},
              {"part", k.part},
              {"route", k.route},
              {"calls", k.calls},
              {"total_s", static_cast<double>(k.total_ns) * 1e-9},
              {"min_s", static_cast<double>(k.min_ns) * 1e-9},
              {"median_s", static_cast<double>(k.median_ns) * 1e-9},
              {"max_s", static_cast<double>(k.max_ns) * 1e-9}};
  if (k.flops > 0) out["flops"] = k.flops;
  if (k.bytes > 0) out["bytes"] = k.bytes;
  return out;
}

json of(const GpuCeilingRow& c) { return {{"quantity", c.quantity}, {"per_second", c.per_second}}; }

json of(const GpuPlaceRow& p) {
  return {{"stage", p.stage},
          {"step", p.step},
          {"layer", p.layer},
          {"part", p.part},
          {"route", p.route},
          {"kernels", p.kernels},
          {"total_s", static_cast<double>(p.total_ns) * 1e-9}};
}

json of(const GpuStepRow& s) {
  return {{"step", s.step},
          {"kernels", s.kernels},
          {"kernel_s", static_cast<double>(s.kernel_ns) * 1e-9},
          {"layer_s", static_cast<double>(s.layer_ns) * 1e-9},
          {"busy_s", static_cast<double>(s.busy_ns) * 1e-9},
          {"span_s", static_cast<double>(s.span_ns) * 1e-9}};
}

json of(const GpuCounterRow& c) { return {{"scope", c.scope}, {"metric", c.metric}, {"value", c.value}}; }

json of(const GpuProcessRow& process) {
  return {{"pid", process.pid}, {"name", process.name}, {"peak_bytes", process.peak_bytes}};
}

json of(const TrialPower& p) {
  const GpuPowerRow& r = p.row;
  json out = {{"role", to_string(p.role)},
              {"item", p.item},
              {"device", r.device},
              {"samples", r.samples},
              {"regime", to_string(r.regime)},
              {"median_sm_clock_mhz", r.median_sm_clock_mhz},
              {"min_sm_clock_mhz", r.min_sm_clock_mhz},
              {"max_sm_clock_mhz", r.max_sm_clock_mhz},
              {"mean_power_w", r.mean_power_w},
              {"max_power_w", r.max_power_w},
              {"max_temperature_c", r.max_temperature_c},
              {"energy_j", optional(r.energy_j)},
              {"throttle_reasons", r.throttle_reasons}};
  for (const GpuProcessRow& process : r.others) out["other_processes"].push_back(of(process));
  return out;
}

json of(const GpuProfile& g);
json of(const Variant& v);
json of(const RouteRow& r);
json of(const CallRow& c);
json of(const ControlComparison& c);
json of(const PredictionRow& p);
json of(const MetricDefRow& m);
json of(const Item& item);
json of(const FailedTrial& f);
json of(const ClaimVerdict& c);
json of(const PublishedRow& p);

template <typename Rows>
json list(const Rows& rows) {
  json array = json::array();
  for (const auto& row : rows) array.push_back(of(row));
  return array;
}

json of(const RouteRow& r) {
  return {{"step", r.step},
          {"layer", r.layer},
          {"dense", r.dense_heads},
          {"coreset", r.coreset_heads},
          {"sliding", r.sliding_heads}};
}

json of(const CallRow& c) { return {{"step", c.step}, {"pass", c.pass}, {"blocks", c.blocks}, {"signal", c.signal}}; }

json of(const ControlComparison& c) {
  json scores = json::array();
  for (const ControlScore& s : c.scores) {
    scores.push_back({{"metric", s.metric},
                      {"variant", s.variant},
                      {"control", s.control},
                      {"gain", of(s.gain)},
                      {"verdict", s.verdict}});
  }
  return {{"variant", c.variant},
          {"control", c.control},
          {"seconds_ratio", optional(c.seconds_ratio)},
          {"scores", scores},
          {"words", c.words}};
}

json of(const PredictionRow& p) {
  return {{"quantity", p.quantity}, {"unit", p.unit}, {"predicted", p.predicted}, {"measured", optional(p.measured)}};
}

json of(const GpuProfile& g) {
  return {{"kernels", list(g.kernels)},
          {"places", list(g.places)},
          {"steps", list(g.steps)},
          {"counters", list(g.counters)},
          {"ceilings", list(g.ceilings)},
          {"kernel_count", g.kernel_count},
          {"kernel_s", static_cast<double>(g.kernel_ns) * 1e-9},
          {"copies", g.copies},
          {"copy_s", static_cast<double>(g.copy_ns) * 1e-9},
          {"copy_bytes", g.copy_bytes},
          {"busy_s", static_cast<double>(g.busy_ns) * 1e-9},
          {"unattributed_s", static_cast<double>(g.unattributed_ns) * 1e-9},
          {"untimed_records", g.untimed_records},
          {"dropped_records", g.dropped_records},
          {"overhead", optional(g.overhead)},
          {"note", g.note}};
}

json of(const Variant& v) {
  json stages = json::object(), speedups = json::object(), scores = json::object();
  for (const auto& [stage, summary] : v.stages) stages[stage] = of(summary);
  for (const auto& [stage, estimate] : v.speedups) speedups[stage] = of(estimate);
  for (const auto& [key, s] : v.scores) {
    scores[key] = {{"mean", s.mean.prompts > 0 ? of(s.mean) : json(nullptr)},
                   {"delta", s.delta ? of(*s.delta) : json(nullptr)},
                   {"failed", s.failed}};
  }
  json out = {{"variant", v.row.variant},
              {"description", v.row.description},
              {"params", of(v.params)},
              {"reference", v.is_reference},
              {"trials", {{"ok", v.ok}, {"failed", v.failed}, {"skipped", v.skipped}, {"unfinished", v.unfinished}}},
              {"items", list(v.items)},
              {"stages_s", stages},
              {"speedups", speedups},
              {"step_s", v.step_seconds},
              {"scores", scores},
              {"peak_bytes", v.peak_bytes},
              {"predictions", list(v.predictions)},
              {"operators", list(v.operators)},
              {"layers", list(v.layers)},
              {"routes", list(v.routes)},
              {"calls", list(v.calls)}};
  if (v.setup) {
    out["setup"] = {{"weights", v.setup->weights},
                    {"timed_steps", v.setup->timed_steps},
                    {"schedule_steps", v.setup->schedule_steps},
                    {"forwards", v.setup->forwards},
                    {"attention_kernels", v.setup->attention_kernels},
                    {"offload", v.setup->offload},
                    {"quantization", v.setup->quantization}};
  }
  if (v.gpu) out["gpu"] = of(*v.gpu);
  if (!v.power.empty()) out["gpu_power"] = list(v.power);
  return out;
}

json of(const MetricDefRow& m) {
  return {{"key", m.key},       {"name", m.name},      {"unit", m.unit}, {"direction", to_string(m.direction)},
          {"family", m.family}, {"version", m.version}};
}

json of(const Item& item) {
  return {{"item", item.id},
          {"prompt", item.row.prompt},
          {"negative_prompt", item.row.negative_prompt},
          {"seed", item.row.seed}};
}

json of(const FailedTrial& f) {
  return {{"variant", f.variant}, {"role", to_string(f.role)},  {"prompt", f.prompt},     {"seed", f.seed},
          {"kind", f.error.kind}, {"message", f.error.message}, {"stage", f.error.stage}, {"step", f.error.step}};
}

json of(const ClaimVerdict& c) {
  return {{"key", c.claim.key},
          {"sentence", c.claim.sentence},
          {"quantity", c.claim.quantity},
          {"variant", c.claim.variant},
          {"reference", c.claim.reference},
          {"at_least", optional(c.claim.at_least)},
          {"at_most", optional(c.claim.at_most)},
          {"verdict", to_string(c.verdict)},
          {"value", optional(c.value)},
          {"low", optional(c.low)},
          {"high", optional(c.high)},
          {"prompts", c.items},
          {"words", c.words}};
}

json of(const PublishedRow& p) {
  return {{"sentence", p.sentence}, {"value", p.value}, {"setting", p.setting}, {"source", p.source}};
}

}  // namespace

json report_json(const Report& r) {
  json out = {{"format", "vorta-bench report"},
              {"format_version", 1},
              {"suite", r.suite},
              {"title", r.title},
              {"provenance", provenance(r)},
              {"tool_version", r.tool_version},
              {"notes", r.notes},
              {"started_utc", r.started_utc},
              {"elapsed_s", r.elapsed_seconds},
              {"resumed_count", r.resumed_count},
              {"finished", r.finished},
              {"reference_variant", r.reference_variant},
              {"model", of(r.model)},
              {"environment", of(r.environment)},
              {"environment_now", of(r.environment_now)},
              {"metrics", list(r.metrics)},
              {"variants", list(r.variants)},
              {"items", list(r.items)},
              {"failures", list(r.failures)},
              {"claims", list(r.claims)},
              {"controls", list(compare_with_controls(r))},
              {"pareto", pareto_fronts(r)},
              {"published_elsewhere", list(r.published)}};
  if (!r.warnings.empty()) out["warnings"] = r.warnings;
  if (!r.stop_reason.empty()) out["stop_reason"] = r.stop_reason;
  for (const Audit& audit : r.audits) {
    out["audits"].push_back({{"name", audit.name},
                             {"promise", audit.promise},
                             {"outcome", to_string(audit.outcome)},
                             {"words", audit.words}});
  }
  return out;
}

std::string render_json(const Report& report, const RenderOptions&) {
  return report_json(report).dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace vorta::reports
