// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "engine/pipeline/pipeline.h"
#include "reports/store/rows.h"

namespace vorta::harness {

/// FLOPs that one observed generation executed, by where they were spent.
struct MeasuredWork {
  double attention_flops = 0;  // inside self attention, projections apart
  double total_flops = 0;
};

/// Heads by branch for each step and layer of the plan's routes.
std::vector<reports::RouteRow> route_rows(const engine::PlanSummary& plan);
/// The route table as the store keeps it: steps x layers x heads branch numbers.
std::vector<uint8_t> route_bytes(const engine::PlanSummary& plan);

/// Forwards of a generation as the store keeps them.
std::vector<reports::CallRow> call_rows(const std::vector<engine::CacheCall>& calls);

/// What the plan predicts for one generation, beside what an observed one executed.
std::vector<reports::PredictionRow> prediction_rows(const engine::PlanSummary& plan,
                                                    const std::optional<MeasuredWork>& measured);

}  // namespace vorta::harness
