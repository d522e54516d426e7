// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "reports/render/tables.h"

namespace vorta::reports {
namespace {

constexpr std::size_t kMostKernels = 20;

std::string ns_text(int64_t ns) { return seconds_text(static_cast<double>(ns) * 1e-9); }

std::string share_text(int64_t part, int64_t whole) {
  return whole > 0 ? fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(whole)) : "-";
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

Table kernel_table(const Report& report) {
  Table table{
      "gpu-kernels",
      "GPU kernels",
      "From the separate profiled trials: summed over steps and layers, the longest first. Share of all kernel time.",
      {"variant", "kernel", "part", "branch", "calls", "time", "share", "median"},
      {},
      4};
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    for (std::size_t i = 0; i < std::min(kMostKernels, v.gpu->kernels.size()); ++i) {
      const GpuKernelRow& k = v.gpu->kernels[i];
      table.rows.push_back({v.row.variant, k.name, or_dash(k.part), or_dash(k.route), fmt::format("{}", k.calls),
                            ns_text(k.total_ns), share_text(k.total_ns, v.gpu->kernel_ns), ns_text(k.median_ns)});
    }
  }
  return table;
}

std::optional<double> ceiling(const GpuProfile& gpu, std::string_view quantity) {
  for (const GpuCeilingRow& row : gpu.ceilings) {
    if (row.quantity == quantity) return row.per_second;
  }
  return std::nullopt;
}

// Which roof is above a kernel: products of 8 bits have one of their own. The vendor's library writes their types "qq".
std::string_view arithmetic_roof(const Variant& variant, const GpuKernelRow& kernel) {
  const bool quantized = variant.setup && variant.setup->quantization == "fp8";
  const bool eight_bits = kernel.name.find("e4m3") != std::string::npos || kernel.name.find("_qq") != std::string::npos;
  return quantized && eight_bits && ceiling(*variant.gpu, "fp8_flops") ? "fp8_flops" : "bf16_flops";
}

// A kernel's roof is the lower of what arithmetic and what memory allow: FLOPs and bytes over the ceilings.
Table roofline_table(const Report& report) {
  Table table{"gpu-roofline",
              "Kernels against the roofline",
              "Useful work that the operators state, over the kernel's time; traffic counts operands and results once. "
              "The ceilings were "
              "measured in the same run: the largest bfloat16 (FP8) matrix product of the vendor's library, and a copy "
              "within the GPU's memory. "
              "Share: time that the nearer ceiling allows over the time taken.",
              {"variant", "kernel", "part", "branch", "time", "TFLOPS", "TB/s", "bound by", "ceiling", "share"},
              {},
              4};
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    const auto copy = ceiling(*v.gpu, "copy_bytes");
    std::size_t shown = 0;
    for (const GpuKernelRow& k : v.gpu->kernels) {
      const auto flops = ceiling(*v.gpu, arithmetic_roof(v, k));
      if ((k.flops <= 0 && k.bytes <= 0) || !copy || !flops || k.total_ns <= 0 || ++shown > kMostKernels) continue;
      const double seconds = static_cast<double>(k.total_ns) * 1e-9, by_flops = k.flops / *flops,
                   by_bytes = k.bytes / *copy;
      const bool is_arithmetic = by_flops >= by_bytes;
      table.rows.push_back(
          {v.row.variant, k.name, or_dash(k.part), or_dash(k.route), ns_text(k.total_ns),
           k.flops > 0 ? fmt::format("{:.1f}", k.flops / seconds * 1e-12) : "-",
           k.bytes > 0 ? fmt::format("{:.2f}", k.bytes / seconds * 1e-12) : "-",
           is_arithmetic ? "arithmetic" : "memory",
           is_arithmetic ? fmt::format("{:.0f} TFLOPS", *flops * 1e-12) : fmt::format("{:.2f} TB/s", *copy * 1e-12),
           fmt::format("{:.1f} %", 100 * std::max(by_flops, by_bytes) / seconds)});
    }
  }
  return table;
}

Table place_table(const Report& report) {
  Table table{"gpu-places",
              "GPU time by part and branch",
              "Kernel time of the profiled trials, summed over steps and layers.",
              {"variant", "stage", "part", "branch", "kernels", "time", "share"},
              {},
              4};
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    std::map<std::tuple<std::string, std::string, std::string>, std::pair<int64_t, int64_t>> sums;
    for (const GpuPlaceRow& p : v.gpu->places) {
      const bool is_outside = p.stage.empty() && p.step < 0 && p.layer < 0 && p.part.empty() && p.route.empty();
      auto& sum = sums[{is_outside ? "outside every scope" : p.stage, p.part, p.route}];
      sum.first += p.kernels;
      sum.second += p.total_ns;
    }
    for (const auto& [place, sum] : sums) {
      const auto& [stage, part, route] = place;
      table.rows.push_back({v.row.variant, or_dash(stage), or_dash(part), or_dash(route), fmt::format("{}", sum.first),
                            ns_text(sum.second), share_text(sum.second, v.gpu->kernel_ns)});
    }
  }
  return table;
}

// The layers' kernel time within 3 % of the step.
bool layers_explain(const GpuStepRow& step) {
  constexpr double kMostMissing = 0.03;
  const double layers = static_cast<double>(step.layer_ns), span = static_cast<double>(step.span_ns);
  return span > 0 && layers >= (1 - kMostMissing) * span && layers <= (1 + kMostMissing) * span;
}

Table step_table(const Report& report) {
  Table table{"gpu-steps",
              "GPU time by step",
              "Traced step: from the first kernel's start to the last one's end. Kernel time counts overlapping "
              "streams twice. Within 3 %: "
              "kernel time by layer sums to the traced step up to 3 %, so the layers explain the step.",
              {"variant", "step", "kernels", "traced step", "busy", "kernel time", "in layers",
               "in layers ÷ traced step", "within 3 %"},
              {},
              2};
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    for (const GpuStepRow& s : v.gpu->steps) {
      table.rows.push_back({v.row.variant, fmt::format("{}", s.step), fmt::format("{}", s.kernels), ns_text(s.span_ns),
                            ns_text(s.busy_ns), ns_text(s.kernel_ns), ns_text(s.layer_ns),
                            share_text(s.layer_ns, s.span_ns), layers_explain(s) ? "yes" : "no"});
    }
  }
  return table;
}

// What the plan says that all denoising steps compute, in FLOP.
std::optional<double> planned_flops(const Variant& variant) {
  std::optional<double> planned;
  for (const PredictionRow& p : variant.predictions) {
    if (p.quantity == "flops/attention" || p.quantity == "flops/linear") planned = planned.value_or(0) + p.predicted;
  }
  return planned;
}

// Counted over the denoising steps of a variant: tensor-core operations and DRAM bytes.
struct Counted {
  double tensor_flops = 0;
  double dram_bytes = 0;
};

std::optional<Counted> counted_work(const Variant& variant) {
  if (!variant.gpu) return std::nullopt;
  Counted sum;
  for (const GpuCounterRow& c : variant.gpu->counters) {
    if (c.scope.rfind("step/", 0) != 0) continue;
    if (c.metric.rfind("sm__ops_path_tensor", 0) == 0) sum.tensor_flops += c.value;
    if (c.metric == "dram__bytes_read.sum" || c.metric == "dram__bytes_write.sum") sum.dram_bytes += c.value;
  }
  return sum.tensor_flops > 0 ? std::optional(sum) : std::nullopt;
}

// Claimed sparsity against what the tensor cores did: both as shares of the reference variant.
Table sparsity_table(const Report& report) {
  Table table{"gpu-sparsity",
              "Claimed sparsity and counted work",
              "Over the denoising steps, as shares of the reference variant: what the plan says is left of its work, "
              "and what the GPU's "
              "counters saw of tensor-core operations and DRAM traffic.",
              {"variant", "planned work", "counted tensor-core operations", "counted ÷ planned", "counted DRAM bytes"},
              {},
              1};
  const auto reference =
      std::find_if(report.variants.begin(), report.variants.end(), [](const Variant& v) { return v.is_reference; });
  if (reference == report.variants.end()) return table;
  const auto base = counted_work(*reference);
  const auto base_plan = planned_flops(*reference);
  if (!base || !base_plan || *base_plan <= 0) return table;
  const auto percent = [](double share) { return fmt::format("{:.1f} %", 100 * share); };
  for (const Variant& v : report.variants) {
    const auto counted = counted_work(v);
    const auto planned = planned_flops(v);
    if (!counted || !planned || *planned <= 0) continue;
    const double claimed = *planned / *base_plan, seen = counted->tensor_flops / base->tensor_flops;
    table.rows.push_back({v.row.variant, percent(claimed), percent(seen), percent(seen / claimed),
                          base->dram_bytes > 0 ? percent(counted->dram_bytes / base->dram_bytes) : "-"});
  }
  return table;
}

Table counter_table(const Report& report) {
  Table table{
      "gpu-counters",
      "Hardware counters",
      "Counted by the GPU in the profiled trials, summed over the denoising steps; named as CUPTI names them. Executed "
      "tensor-core "
      "operations stand beside what the plan says the steps compute; work outside the tensor cores is not among them.",
      {"variant", "counter", "all steps", "planned", "counted ÷ planned"},
      {},
      2};
  constexpr std::string_view kTensorOps = "sm__ops_path_tensor";
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    std::map<std::string, double> sums;
    double tensor_flops = 0;
    for (const GpuCounterRow& c : v.gpu->counters) {
      if (c.scope.rfind("step/", 0) != 0) continue;
      sums[c.metric] += c.value;
      if (c.metric.rfind(kTensorOps, 0) == 0) tensor_flops += c.value;
    }
    if (sums.empty()) continue;
    const auto planned = planned_flops(v);
    table.rows.push_back({v.row.variant, "tensor-core operations", fmt::format("{:.4g} GFLOP", tensor_flops * 1e-9),
                          planned ? fmt::format("{:.4g} GFLOP", *planned * 1e-9) : "-",
                          planned && *planned > 0 ? fmt::format("{:.1f} %", 100 * tensor_flops / *planned) : "-"});
    for (const auto& [metric, sum] : sums)
      table.rows.push_back({v.row.variant, metric, fmt::format("{:.6g}", sum), "-", "-"});
  }
  return table;
}

// One row for the trials of a variant and role that ran in the same regime.
Table power_table(const Report& report) {
  Table table{
      "gpu-power",
      "Clocks and power",
      "Sampled ten times a second. Burst: the GPU came from rest, so its clocks were higher than they stay under load; "
      "sustained: the load had settled. Compare like with like.",
      {"variant", "trials", "regime", "number", "SM clock", "mean power", "highest power", "energy",
       "throttle reasons"},
      {},
      3};
  for (const Variant& v : report.variants) {
    std::map<std::pair<std::string, std::string>, std::vector<const GpuPowerRow*>> groups;
    for (const TrialPower& p : v.power)
      groups[{std::string(to_string(p.role)), std::string(to_string(p.row.regime))}].push_back(&p.row);
    for (const auto& [key, rows] : groups) {
      std::vector<double> clocks;
      double mean_w = 0, max_w = 0, joules = 0;
      int64_t with_energy = 0;
      for (const GpuPowerRow* row : rows) {
        clocks.push_back(row->median_sm_clock_mhz);
        mean_w += row->mean_power_w / static_cast<double>(rows.size());
        max_w = std::max(max_w, row->max_power_w);
        if (row->energy_j) joules += *row->energy_j, ++with_energy;
      }
      table.rows.push_back({v.row.variant, key.first, key.second, fmt::format("{}", rows.size()),
                            fmt::format("{:.0f} MHz", median(clocks)), fmt::format("{:.0f} W", mean_w),
                            fmt::format("{:.0f} W", max_w),
                            with_energy > 0 ? fmt::format("{:.4g} J", joules / static_cast<double>(with_energy)) : "-",
                            or_dash(rows.front()->throttle_reasons)});
    }
  }
  return table;
}

// The trace of a variant's profiled trial, relative to the run's folder.
std::string trace_path(const Variant& variant) {
  for (const ItemResult& item : variant.items) {
    for (const ArtefactRow& artefact : item.artefacts) {
      if (artefact.kind == "trace") return artefact.path;
    }
  }
  return "-";
}

Table note_table(const Report& report) {
  Table table{"gpu-notes",
              "What profiling the GPU cost and missed",
              "Overhead: seconds of the profiled trial's steps over those of the timed trials on the same prompt and "
              "seed. Traces open in ui.perfetto.dev.",
              {"variant", "overhead", "kernels", "kernel time outside scopes", "records without a time", "records lost",
               "trace", "note"},
              {},
              1};
  for (const Variant& v : report.variants) {
    if (!v.gpu) continue;
    const GpuProfile& g = *v.gpu;
    table.rows.push_back({v.row.variant, g.overhead ? fmt::format("{:.3g}x", *g.overhead) : "-",
                          fmt::format("{}", g.kernel_count), share_text(g.unattributed_ns, g.kernel_ns),
                          fmt::format("{}", g.untimed_records), fmt::format("{}", g.dropped_records), trace_path(v),
                          or_dash(g.note)});
  }
  return table;
}

}  // namespace

std::vector<Table> make_gpu_tables(const Report& report) {
  return {kernel_table(report),  roofline_table(report), place_table(report), step_table(report),
          counter_table(report), sparsity_table(report), power_table(report), note_table(report)};
}

}  // namespace vorta::reports
