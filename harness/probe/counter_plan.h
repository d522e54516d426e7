// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::harness {

/// Hardware counters for a chip and how often the work must run to fill them. Worked out by CUPTI's Profiler Host API,
/// which needs neither a GPU nor a driver.
struct CounterPlan {
  std::string chip;                   // "GH100"
  std::vector<std::string> metrics;   // CUPTI's names
  int64_t passes = 0;                 // above 1 a generation would have to run again: not collected
  std::vector<uint8_t> config_image;  // what the Range Profiler is given; empty where refused
  std::string refusal;                // one line when there is no plan; then the rest is empty
};

/// Metrics that count the work of a generation on `chip`, in one pass: executed tensor-core operations, bytes to and
/// from DRAM and L2, time, cycles. What fits one pass differs by chip; empty for chips whose tensor cores know no
/// bfloat16.
std::vector<std::string> work_metrics(std::string_view chip);

/// Chips that the installed CUPTI can plan for; empty when it cannot be loaded.
std::vector<std::string> plannable_chips();

/// Schedules `metrics` for the Range Profiler. A missing library, an unknown chip or an unknown metric is a refusal.
CounterPlan plan_counters(const std::string& chip, const std::vector<std::string>& metrics);

}  // namespace vorta::harness
