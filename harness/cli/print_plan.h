// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/plan/plan.h"
#include "harness/suite/suite_spec.h"

namespace vorta::harness {

struct PlanQuestion {
  std::vector<std::string> only = {};
  std::optional<Shard> shard = {};
  int64_t rounds = 0;                                // 0: the suite's trials
  std::vector<std::filesystem::path> history = {};   // runs that say what things take
};

/// Prints the cases in the order they run, their predicted cost, and what all will take by the history. Needs the
/// model's configuration for the cost; without it, says so. Returns an exit code.
int print_plan(const SuiteSpec& spec, const PlanQuestion& question);

}  // namespace vorta::harness
