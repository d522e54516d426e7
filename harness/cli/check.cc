// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
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

std::string plural(int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Of the names in a table.
size_t name_width(const SuiteSpec& spec, const std::vector<size_t>& variants) {
  size_t width = 12;
  for (const size_t variant : variants) width = std::max(width, spec.variants[variant].name.size());
  return width;
}

// What a variant sets beyond the base and its sizes: "vorta, window 3x3x3, tau 0.3, seeds 1, 2".
std::string settings_text(const SuiteSpec& spec, const Variant& variant) {
  std::string text = variant.attention.name;
  const auto add = [&text](std::string_view name, const std::string& value) {
    text += fmt::format(", {}{}{}", name, name.empty() ? "" : " ", value);
  };
  const AttentionChoice& attention = variant.attention;
  if (attention.window) add("window", fmt::format("{}", fmt::join(*attention.window, "x")));
  if (attention.reduction_rate) add("reduction rate", fmt::format("{:g}", *attention.reduction_rate));
  if (attention.tau) add("tau", fmt::format("{:g}", *attention.tau));
  if (!attention.routers.empty()) add("routers", attention.routers);
  if (!variant.model.empty()) add("model", variant.model);
  if (!variant.student.transformer.empty()) add("student", variant.student.transformer);
  if (!variant.student.loras.empty()) add("loras", fmt::format("{}", fmt::join(variant.student.loras, " ")));
  if (!variant.student.recipe.empty()) add("recipe", variant.student.recipe);
  add("", variant.config.dtype);
  if (variant.config.quantization != "none") add("", variant.config.quantization);
  if (!variant.config.sampler.empty()) add("", variant.config.sampler);
  if (!variant.seeds.empty())
    add(variant.seeds.size() == 1 ? "seed" : "seeds", fmt::format("{}", fmt::join(variant.seeds, " ")));
  if (variant.prompts > 0)
    add("first", plural(std::min<int64_t>(variant.prompts, static_cast<int64_t>(spec.prompts.size())), "prompt"));
  return text;
}

// The reference's denoising over this one's; of a cache that decides while sampling, from what it does least to most.
std::string denoising_text(const SuiteSpec& spec, const engine::PlanSummary& cost, double reference) {
  if (reference <= 0) return "";
  const double all = reference / cost.denoise_flops();
  const std::string range = cost.cache_is_static
                                ? fmt::format("{:.2f}x", all)
                                : fmt::format("{:.2f}x to {:.2f}x", all, reference / cost.least_denoise_flops);
  return fmt::format(", of denoising {} over {}", range, spec.reference);
}

std::string steps_text(const engine::PlanSummary& cost) {
  const auto steps = static_cast<int64_t>(cost.step_flops.size());
  return steps < cost.schedule_steps ? fmt::format("{} of {} timed", steps, plural(cost.schedule_steps, "step"))
                                     : plural(steps, "step");
}

void print_variant_cost(const SuiteSpec& spec, const Variant& variant, const engine::PlanSummary& cost,
                        double reference, size_t width) {
  const std::string evaluations = cost.cache_is_static
                                      ? fmt::format("{:.4g} evaluation{}", cost.forwards, cost.forwards == 1 ? "" : "s")
                                      : fmt::format("{:.4g} to {:.4g} evaluations", cost.least_forwards, cost.forwards);
  const double around = cost.text_flops + cost.vae_flops;
  fmt::print("  {:<{}}  {}\n", variant.name, width, settings_text(spec, variant));
  fmt::print("  {:<{}}  {}x{}x{}, {} tokens, {}, {}: {}{} a trial, predicted speed-up of a step {:.2f}x{}\n", "", width,
             cost.size.frames, cost.size.height, cost.size.width, cost.size.tokens.tokens(), steps_text(cost),
             evaluations, cost.cache_is_static ? "" : flops_text(around + cost.least_denoise_flops) + " to ",
             flops_text(around + cost.denoise_flops()), cost.speedup(), denoising_text(spec, cost, reference));
  if (variant.cache.name == "none") return;
  fmt::print("  {:<{}}  cache {}: {}; {:.1f} MiB kept\n", "", width, variant.cache.name, cost.cache_note,
             static_cast<double>(cost.cache_bytes) / (1 << 20));
}

engine::PlanSummary plan_of(const VideoOrder& order, VideoEngine& engine) {
  try {
    engine.prepare(order);
    return engine.plan(order);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("variant \"{}\"", order.variant->name), error.what());
  }
}

// Operations of one generation by variant of the suite; 0 for variants that the plan leaves out.
std::vector<double> print_cost(const SuiteSpec& spec, const Plan& plan, int64_t rounds, VideoEngine& engine) {
  std::vector<double> by_variant(spec.variants.size(), 0.0);
  std::vector<std::pair<const Variant*, engine::PlanSummary>> costs;
  const std::vector<size_t> variants = variants_of(plan);
  double total = 0.0, reference = 0.0;
  for (const size_t index : variants) {
    const Variant& variant = spec.variants[index];
    const VideoOrder order{&spec, &variant, &spec.prompts.front(), spec.seeds.front()};
    const engine::PlanSummary& cost = costs.emplace_back(&variant, plan_of(order, engine)).second;
    by_variant[index] = cost.text_flops + cost.denoise_flops() + cost.vae_flops;
    total += by_variant[index] * static_cast<double>(runs_of(plan, index));
    if (variant.name == spec.reference) reference = cost.denoise_flops();
  }
  for (const auto& [variant, cost] : costs)
    print_variant_cost(spec, *variant, cost, reference, name_width(spec, variants));
  fmt::print("  {} in all timed trials, warm-up and profiles apart\n", flops_text(total * static_cast<double>(rounds)));
  return by_variant;
}

// Generations of a variant in a whole run: timed, warm-up and observed ones.
double generations(const SuiteSpec& spec, const Plan& plan, size_t variant, int64_t rounds, bool repeats) {
  const Measurement& measurement = spec.measurement;
  const double warmups = measurement.warmup_steps > 0 ? 0.0 : static_cast<double>(measurement.warmup);
  const double profiles = !measurement.profile || !spec.variants[variant].profile ? 0.0
                          : repeats                                               ? static_cast<double>(rounds)
                                                                                  : 1.0;
  return static_cast<double>(rounds) * static_cast<double>(runs_of(plan, variant)) + warmups + profiles;
}

// Seconds and memory of each variant, and of everything.
void print_forecast(const SuiteSpec& spec, const Plan& plan, const PlanQuestion& question,
                    const std::vector<double>& flops) {
  const int64_t rounds = question.rounds > 0 ? question.rounds : spec.measurement.trials;
  const std::vector<Forecast> all = forecast(spec, question.history, flops);
  const std::vector<size_t> variants = variants_of(plan);
  const size_t width = name_width(spec, variants);
  double total = 0.0;
  std::optional<double> peak;
  bool whole = true;
  for (const size_t variant : variants) {
    const Forecast& expected = all[variant];
    const std::string& name = spec.variants[variant].name;
    if (!expected.seconds) {
      whole = false;
      fmt::print("  {:<{}}  nothing in the history says what it takes\n", name, width);
      continue;
    }
    total += *expected.seconds * generations(spec, plan, variant, rounds, question.rounds > 0);
    if (expected.peak_bytes) peak = std::max(peak.value_or(0.0), *expected.peak_bytes);
    const std::string memory = expected.peak_bytes ? fmt::format(", {:.2f} GiB", *expected.peak_bytes / (1 << 30)) : "";
    fmt::print("  {:<{}}  about {} a video{} ({})\n", name, width, duration_text(*expected.seconds), memory,
               expected.from);
  }
  const std::string memory = peak ? fmt::format(", {:.2f} GiB at most", *peak / (1 << 30)) : "";
  if (total > 0)
    fmt::print("  {} {} in all{}, loading apart\n", whole ? "about" : "at least", duration_text(total), memory);
}

// Warm-up as it is said in a plan: "1 warm-up a variant of 2 steps".
std::string warmup_text(const Measurement& measurement) {
  const std::string text = fmt::format("{} warm-up a variant", measurement.warmup);
  if (measurement.warmup == 0 || measurement.warmup_steps == 0) return text;
  return fmt::format("{} of {}", text, plural(measurement.warmup_steps, "step"));
}

void print_controls(const SuiteSpec& spec, const Plan& plan, VideoEngine& engine) {
  for (const size_t index : variants_of(plan)) {
    const Variant& variant = spec.variants[index];
    const VideoOrder order{&spec, &variant, &spec.prompts.front(), spec.seeds.front()};
    if (!variant.control_for.empty()) {
      fmt::print("  control {}: {}, for {}\n", variant.name, plural(variant.config.steps, "step"),
                 fmt::join(variant.control_for, ", "));
    } else if (!engine.plan(order).cache_is_static) {
      fmt::print(
          "  control for {}: {} with the steps that cost what a first generation with its cache does; not in the "
          "totals\n",
          variant.name, spec.reference);
    }
  }
}

// Costs do not depend on the device: a plan for a GPU is also made where none is.
SuiteSpec plannable_here(SuiteSpec spec) {
  if (!visible_gpus().empty()) return spec;
  for (Variant& variant : spec.variants) variant.config.device = "cpu";
  return spec;
}

// With the controls that plans decide. They are planned where this machine can, and run where the suite says.
SuiteSpec with_controls_of_plan(const SuiteSpec& spec, const std::vector<std::string>& only, VideoEngine& engine) {
  SuiteSpec whole = spec;
  const SuiteSpec planned = with_planned_controls(plannable_here(spec), engine, UnknownCosts::kLeaveOut, only);
  for (size_t i = spec.variants.size(); i < planned.variants.size(); ++i) {
    whole.variants.push_back(planned.variants[i]);
    whole.variants.back().config.device = spec.variant(spec.reference).config.device;
  }
  return whole;
}

void print_items(const SuiteSpec& spec, const Plan& plan, const PlanQuestion& question) {
  fmt::print("{}: {}\n{} (prompt x seed), {}, {} each, {}, {} profiled\n", spec.name, spec.title,
             plural(static_cast<int64_t>(plan.items.size()), "item"),
             plural(static_cast<int64_t>(plan.case_count()), "case"),
             plural(question.rounds > 0 ? question.rounds : spec.measurement.trials, "timed trial"),
             warmup_text(spec.measurement), spec.measurement.profile ? "each variant once" : "nothing");
  if (spec.weights == "random") fmt::print("random weights: latency and memory alone, nothing about quality\n");
  for (const PlanItem& item : plan.items) {
    fmt::print("  {} seed {}:", spec.prompts[item.prompt].id, item.seed);
    for (const Case* one : run_order(item, 0, order_seed(spec)))
      fmt::print(" {}[{}]", spec.variants[one->variant].name, one->hash.substr(0, 8));
    fmt::print("\n");
  }
}

}  // namespace

int print_plan(const SuiteSpec& suite, const PlanQuestion& question) {
  require_history(question.history);
  SuiteSpec spec = suite;
  const auto engine = make_pipeline_engine(engine::Loading::kWhenNeeded);
  std::string no_cost;
  try {
    if (spec.measurement.controls) spec = with_controls_of_plan(suite, question.only, *engine);
  } catch (const DataError& error) {  // a plan can be checked where the weights are not
    no_cost = error.what();
  }
  Plan plan = make_plan(spec, question.only);
  const size_t items = plan.items.size();
  if (question.shard) keep_shard(plan, spec, *question.shard);
  print_items(spec, plan, question);
  if (plan.items.empty()) {
    if (question.shard) fmt::print("{}\n", empty_shard_text(*question.shard, items));
    return kDone;
  }
  if (spec.measurement.minutes > 0) fmt::print("meant to take {:g} minutes on two cores\n", spec.measurement.minutes);
  std::vector<double> flops;
  try {
    const SuiteSpec planned = plannable_here(spec);
    if (no_cost.empty())
      flops = print_cost(planned, plan, question.rounds > 0 ? question.rounds : spec.measurement.trials, *engine);
    if (no_cost.empty() && spec.measurement.controls) print_controls(planned, plan, *engine);
  } catch (const DataError& error) {
    no_cost = error.what();
  }
  if (!no_cost.empty()) fmt::print("  no cost estimate: {}\n", no_cost);
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
  sub.add_option("--history", options->history, "Runs or databases that say what it will take (repeatable)")
      ->take_all();
  return [options] {
    const SuiteSpec spec = load_suite(options->suite, options->set);
    check_known_names(spec);
    return print_plan(spec, {.only = options->only, .history = options->history});
  };
}

}  // namespace vorta::harness
