// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "engine/base/error.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/flops_text.h"
#include "harness/cli/print_plan.h"
#include "harness/cli/verbs.h"
#include "harness/plan/forecast.h"
#include "harness/plan/plan.h"
#include "harness/probe/gpu_capability.h"
#include "harness/run/known_names.h"
#include "harness/run/video_engine.h"

namespace vorta::harness {
namespace {

// Items that a variant is run on.
size_t runs_of(const Plan& plan, size_t variant) {
  size_t runs = 0;
  for (const PlanItem& item : plan.items) {
    for (const Case& one : item.cases) runs += one.variant == variant ? 1 : 0;
  }
  return runs;
}

// The reference's denoising over this one's; of a cache that decides while sampling, from what it does least to most.
std::string denoising_text(const SuiteSpec& spec, const engine::PlanSummary& cost, double reference) {
  if (reference <= 0) return "";
  const double all = reference / cost.denoise_flops();
  const std::string range = cost.cache_is_static ? fmt::format("{:.2f}x", all)
                                                 : fmt::format("{:.2f}x to {:.2f}x", all, reference / cost.least_denoise_flops);
  return fmt::format(", of denoising {} over {}", range, spec.reference);
}

void print_variant_cost(const SuiteSpec& spec, const Variant& variant, const engine::PlanSummary& cost, double reference) {
  const bool is_partial = static_cast<int64_t>(cost.step_flops.size()) < cost.schedule_steps;
  const std::string evaluations = cost.cache_is_static ? fmt::format("{:.4g}", cost.forwards)
                                                       : fmt::format("{:.4g} to {:.4g}", cost.least_forwards, cost.forwards);
  const double around = cost.text_flops + cost.vae_flops;
  fmt::print("  {:<18} {}x{}x{}, {} tokens, {}, {} evaluations: {}{} a trial, predicted speed-up of a step {:.2f}x{}\n", variant.name,
             cost.size.frames, cost.size.height, cost.size.width, cost.size.tokens.tokens(),
             is_partial ? fmt::format("{} of {} steps timed", cost.step_flops.size(), cost.schedule_steps)
                        : fmt::format("{} steps", cost.step_flops.size()),
             evaluations, cost.cache_is_static ? "" : flops_text(around + cost.least_denoise_flops) + " to ",
             flops_text(around + cost.denoise_flops()), cost.speedup(), denoising_text(spec, cost, reference));
  if (variant.cache.name == "none") return;
  fmt::print("  {:<18} cache {}: {}; {:.1f} MiB kept\n", "", variant.cache.name, cost.cache_note,
             static_cast<double>(cost.cache_bytes) / (1 << 20));
}

// Operations of one generation by variant of the suite; 0 for variants that the plan leaves out.
std::vector<double> print_cost(const SuiteSpec& spec, const Plan& plan, int64_t rounds, VideoEngine& engine) {
  std::vector<double> by_variant(spec.variants.size(), 0.0);
  std::vector<std::pair<const Variant*, engine::PlanSummary>> costs;
  double total = 0.0, reference = 0.0;
  for (const Case& one : plan.items.front().cases) {
    const Variant& variant = spec.variants[one.variant];
    const VideoOrder order{&spec, &variant, &spec.prompts.front(), one.seed};
    engine.prepare(order);
    const engine::PlanSummary& cost = costs.emplace_back(&variant, engine.plan(order)).second;
    by_variant[one.variant] = cost.text_flops + cost.denoise_flops() + cost.vae_flops;
    total += by_variant[one.variant] * static_cast<double>(runs_of(plan, one.variant));
    if (variant.name == spec.reference) reference = cost.denoise_flops();
  }
  for (const auto& [variant, cost] : costs) print_variant_cost(spec, *variant, cost, reference);
  fmt::print("  {} in all timed trials, warm-up and profiles apart\n", flops_text(total * static_cast<double>(rounds)));
  return by_variant;
}

// Seconds and memory of each variant, and of everything: timed, warm-up and observed generations.
void print_forecast(const SuiteSpec& spec, const Plan& plan, const PlanQuestion& question, const std::vector<double>& flops) {
  const bool repeats = question.rounds > 0;
  const auto rounds = static_cast<double>(repeats ? question.rounds : spec.measurement.trials);
  const double profiles = !spec.measurement.profile ? 0.0 : repeats ? rounds : 1.0;
  const std::vector<Forecast> all = forecast(spec, question.history, flops);
  const double warmups = spec.measurement.warmup_steps > 0 ? 0.0 : static_cast<double>(spec.measurement.warmup);
  double total = 0.0;
  bool whole = true;
  for (const Case& one : plan.items.front().cases) {
    const Forecast& expected = all[one.variant];
    const std::string& name = spec.variants[one.variant].name;
    if (!expected.seconds) {
      whole = false;
      fmt::print("  {:<12} nothing in the history says what it takes\n", name);
      continue;
    }
    total += *expected.seconds * (rounds * static_cast<double>(plan.items.size()) + warmups + profiles);
    const std::string memory = expected.peak_bytes ? fmt::format(", {:.2f} GiB", *expected.peak_bytes / (1 << 30)) : "";
    fmt::print("  {:<12} about {} a video{} ({})\n", name, duration_text(*expected.seconds), memory, expected.from);
  }
  if (whole) fmt::print("  about {} in all, loading apart\n", duration_text(total));
}

// Warm-up as it is said in a plan: "1 warm-up a variant of 2 steps".
std::string warmup_text(const Measurement& measurement) {
  const std::string text = fmt::format("{} warm-up a variant", measurement.warmup);
  if (measurement.warmup == 0 || measurement.warmup_steps == 0) return text;
  return fmt::format("{} of {} step{}", text, measurement.warmup_steps, measurement.warmup_steps == 1 ? "" : "s");
}

void print_controls(const SuiteSpec& spec, VideoEngine& engine) {
  const SuiteSpec with = with_planned_controls(spec, engine, UnknownCosts::kLeaveOut);
  for (const Variant& variant : with.variants) {
    if (variant.control_for.empty()) continue;
    fmt::print("  control {}: {} steps, for {}\n", variant.name, variant.config.steps, fmt::join(variant.control_for, ", "));
  }
  for (const Variant& variant : spec.variants) {
    const VideoOrder order{&spec, &variant, &spec.prompts.front(), spec.seeds.front()};
    engine.prepare(order);
    if (engine.plan(order).cache_is_static) continue;
    fmt::print("  control for {}: {} with the steps that cost what a first generation with its cache does\n", variant.name,
               spec.reference);
  }
}

// Costs do not depend on the device: a plan for a GPU is also made where none is.
SuiteSpec plannable_here(SuiteSpec spec) {
  if (!visible_gpus().empty()) return spec;
  for (Variant& variant : spec.variants) variant.config.device = "cpu";
  return spec;
}

}  // namespace

int print_plan(const SuiteSpec& spec, const PlanQuestion& question) {
  Plan plan = make_plan(spec, question.only);
  if (question.shard) keep_shard(plan, spec, *question.shard);
  const int64_t rounds = question.rounds > 0 ? question.rounds : spec.measurement.trials;
  fmt::print("{}: {}\n{} items (prompt x seed), {} cases, {} timed trials each, {}, {} profiled\n",
             spec.name, spec.title, plan.items.size(), plan.case_count(), rounds,
             warmup_text(spec.measurement), spec.measurement.profile ? "each variant once" : "nothing");
  if (spec.weights == "random") fmt::print("random weights: latency and memory alone, nothing about quality\n");
  for (const PlanItem& item : plan.items) {
    fmt::print("  {} seed {}:", spec.prompts[item.prompt].id, item.seed);
    for (const Case& one : item.cases) fmt::print(" {}[{}]", spec.variants[one.variant].name, one.hash.substr(0, 8));
    fmt::print("\n");
  }
  if (plan.items.empty()) return kDone;
  if (spec.measurement.minutes > 0) fmt::print("meant to take {:g} minutes on two cores\n", spec.measurement.minutes);
  std::vector<double> flops;
  try {
    const auto engine = make_pipeline_engine(engine::Loading::kWhenNeeded);
    const SuiteSpec planned = plannable_here(spec);
    flops = print_cost(planned, plan, rounds, *engine);
    if (spec.measurement.controls) print_controls(planned, *engine);
  } catch (const DataError& error) {  // a plan can be checked where the weights are not
    fmt::print("  no cost estimate: {}\n", error.what());
  }
  if (!question.history.empty()) print_forecast(spec, plan, question, flops);
  return kDone;
}

std::function<int()> add_check(CLI::App& sub) {
  struct Options {
    std::string suite;
    std::vector<std::string> only, set;
    std::vector<std::filesystem::path> history;
  };
  auto options = std::make_shared<Options>();
  sub.add_option("suite", options->suite, "Name of a suite, or a suite file")->required();
  sub.add_option("--only", options->only, "Keep this variant (repeatable)")->take_all();
  sub.add_option("--set", options->set, "Change a key of the suite (repeatable)")->take_all();
  sub.add_option("--history", options->history, "Runs or databases that say what it will take (repeatable)")->take_all();
  return [options] {
    const SuiteSpec spec = load_suite(options->suite, options->set);
    check_known_names(spec);
    return print_plan(spec, {.only = options->only, .history = options->history});
  };
}

}  // namespace vorta::harness
