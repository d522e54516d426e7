// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <array>
#include <memory>

#include "engine/attention/attention.h"
#include "engine/cache/step_cache.h"
#include "engine/base/json_io.h"
#include "engine/base/nearest.h"
#include "engine/base/error.h"
#include "engine/models/video_dit.h"
#include "engine/schedule/recipe.h"
#include "engine/schedule/sampler.h"
#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "harness/run/dimension_scores.h"
#include "harness/suite/suite_spec.h"
#include "metrics/core/metric.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace {

void print_row(std::string_view name, std::string_view description) { fmt::print("  {:<26} {}\n", name, description); }

void print_suites() {
  for (const auto& file : suite_files()) print_row(file.stem().string(), load_suite(file.string()).title);
  print_row("kernels", "microbenchmarks of the kernels, CPU and GPU (Google Benchmark)");
}

template <typename Table>
void print_table(const Table& table) {
  for (const auto& entry : table) print_row(entry.name, entry.description);
}

void print_embedded_metrics() {
  for (const auto& name : dimension_metric_names()) {
    const auto slash = name.find('/');
    const std::string text =
        slash == std::string::npos
            ? "all dimensions of the embedded profile, and their totals"
            : std::string(metrics::find_dimension(name.substr(slash + 1), metrics::Profile::kEmbedded).description);
    print_row(name, fmt::format("{} [embedded, 1, higher is better]", text));
  }
}

void print_metrics() {
  for (const auto& metric : metrics::metric_table()) {
    print_row(metric.name, fmt::format("{} [{}, {} is better]", metric.description, metric.unit,
                                       metrics::to_string(metric.direction)));
  }
  print_embedded_metrics();
}

void print_recipes() {
  for (const std::string& name : engine::recipe_names()) {
    const engine::SamplingRecipe recipe = engine::load_recipe(name, "list");
    std::vector<std::string> sigmas;
    for (const double sigma : recipe.sigmas) sigmas.push_back(fmt::format("{:.7g}", sigma));
    print_row(name, fmt::format("{} [{}]", recipe.description, fmt::join(sigmas, " ")));
  }
}

void print_dimensions() {
  const auto weights = metrics::ScorerWeights::from_environment();
  for (const auto& dimension : metrics::dimension_table()) {
    const auto missing = weights.missing(dimension.weights);
    const std::string state = dimension.make == nullptr ? "not built in"
                              : missing.empty()         ? "can be measured"
                                                        : fmt::format("weights missing: {}", fmt::join(missing, ", "));
    print_row(dimension.name,
              fmt::format("{} [{}; {}]", dimension.description, metrics::to_string(dimension.profile), state));
  }
}

struct Family {
  std::string_view name;
  void (*print)();
};

constexpr std::array kFamilies{
    Family{"suites", &print_suites},
    Family{"models", [] { print_table(engine::video_dits()); }},
    Family{"attentions", [] { print_table(engine::attention_backends()); }},
    Family{"caches", [] { print_table(engine::step_caches()); }},
    Family{"samplers", [] { print_table(engine::samplers()); }},
    Family{"recipes", &print_recipes},
    Family{"metrics", &print_metrics},
    Family{"dimensions", &print_dimensions},
};

int list(const std::string& wanted) {
  std::vector<std::string> known;
  bool found = false;
  for (const Family& family : kFamilies) {
    known.emplace_back(family.name);
    if (!wanted.empty() && family.name != wanted && family.name != wanted + "s") continue;
    found = true;
    fmt::print("{}\n", family.name);
    family.print();
  }
  if (!found) throw ConfigError("list", unknown_name_message("family", wanted, std::move(known)));
  return kDone;
}

}  // namespace

std::function<int()> add_list(CLI::App& sub) {
  auto family = std::make_shared<std::string>();
  sub.add_option("family", *family,
                 "suites, models, attentions, caches, samplers, recipes, metrics or dimensions (default: all)");
  return [family] { return list(*family); };
}

}  // namespace vorta::harness
