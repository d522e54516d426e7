// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/suite/suite_spec.h"

namespace vorta::harness {

/// What one generation of a variant is expected to take, from runs of the past.
struct Forecast {
  std::optional<double> seconds;
  std::optional<double> peak_bytes;  // the largest of the counters that were kept
  std::string from;  // "12 trials of the same configuration", "operations at the rate of dense"; empty: nothing known
};

/// One forecast a variant of the suite, in its order. `history`: databases or folders of runs; ConfigError for one that
/// is not there. `flops`: predicted operations of a generation by variant, 0 where unknown. The same configuration
/// (whatever its name) counts most; else operations at the median rate of what ran on the same device in the same type.
std::vector<Forecast> forecast(const SuiteSpec& spec, const std::vector<std::filesystem::path>& history,
                               const std::vector<double>& flops);

/// ConfigError for a run or database that is not there.
void require_history(const std::vector<std::filesystem::path>& history);

/// "1 h 12 min", "48 s".
std::string duration_text(double seconds);

}  // namespace vorta::harness
