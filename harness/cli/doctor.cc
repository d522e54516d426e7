// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "harness/cli/exit_codes.h"
#include "harness/cli/verbs.h"
#include "harness/probe/machine.h"
#include "metrics/core/metric.h"
#include "metrics/core/scorer.h"

namespace vorta::harness {
namespace {

void print_scorer_weights() {
  const auto weights = metrics::ScorerWeights::from_environment();
  fmt::print("{:<22} {} ($VBENCH_CACHE_DIR, else ~/.cache/vbench)\n", "VBench weights", weights.root().string());
  for (const auto& file : metrics::weight_files()) {
    const auto path = weights.find(file.name);
    fmt::print("{:<22}   {}: {}\n", "", file.name, path ? path->string() : weights.how_to_get(file.name));
    if (path) continue;
    std::vector<std::string_view> off;
    for (const auto& dimension : metrics::dimension_table()) {
      const bool needs =
          std::find(dimension.weights.begin(), dimension.weights.end(), file.name) != dimension.weights.end();
      if (needs) off.push_back(dimension.name);
    }
    for (const auto& metric : metrics::metric_table()) {
      if (std::find(metric.weights.begin(), metric.weights.end(), file.name) != metric.weights.end())
        off.push_back(metric.name);
    }
    fmt::print("{:<22}     without it not measured: {}\n", "", fmt::join(off, ", "));
  }
}

}  // namespace

std::function<int()> add_doctor(CLI::App& /*sub*/) {
  return [] {
    for (const MachineFact& fact : inspect_machine()) {
      fmt::print("{:<22} {}\n", fact.name, fact.value);
      if (!fact.switches_off.empty()) fmt::print("{:<22}   without it: {}\n", "", fact.switches_off);
    }
    print_scorer_weights();
    return static_cast<int>(kDone);
  };
}

}  // namespace vorta::harness
