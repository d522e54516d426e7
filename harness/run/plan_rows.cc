// SPDX-License-Identifier: Apache-2.0
#include "harness/run/plan_rows.h"

#include <array>

namespace vorta::harness {

std::vector<reports::RouteRow> route_rows(const engine::PlanSummary& plan) {
  std::vector<reports::RouteRow> rows;
  if (!plan.routes) return rows;
  const engine::RouteTable& table = *plan.routes;
  for (int64_t step = 0; step < table.steps; ++step) {
    for (int64_t layer = 0; layer < table.layers; ++layer) {
      const auto heads = [&](engine::Branch branch) {
        return static_cast<int64_t>(table.heads_of(step, layer, branch).size());
      };
      rows.push_back({.step = step,
                      .layer = layer,
                      .dense_heads = heads(engine::Branch::kDense),
                      .coreset_heads = heads(engine::Branch::kCoreset),
                      .sliding_heads = heads(engine::Branch::kSlidingTile)});
    }
  }
  return rows;
}

std::vector<uint8_t> route_bytes(const engine::PlanSummary& plan) {
  return plan.routes ? plan.routes->routes : std::vector<uint8_t>{};
}

std::vector<reports::CallRow> call_rows(const std::vector<engine::CacheCall>& calls) {
  constexpr std::array<const char*, 3> kPasses{"positive", "negative", "both"};
  std::vector<reports::CallRow> rows;
  for (const engine::CacheCall& call : calls) {
    reports::CallRow row{call.step, kPasses[static_cast<size_t>(call.pass)], "", call.signal};
    for (const engine::BlockAction action : call.blocks)
      row.blocks += engine::kBlockLetters[static_cast<size_t>(action)];
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<reports::PredictionRow> prediction_rows(const engine::PlanSummary& plan,
                                                    const std::optional<MeasuredWork>& measured) {
  const double steps = static_cast<double>(plan.step_flops.size());
  const double dense_attention = steps * plan.dense_step_attention;
  const double attention = plan.attention_flops;
  const double linear = plan.denoise_flops() - attention;
  const double around = plan.text_flops + plan.vae_flops;
  const double total = plan.denoise_flops() + around;
  const double dense_total = steps * plan.dense_step_flops + around;
  const auto row = [](const char* quantity, const char* unit, double predicted) {
    return reports::PredictionRow{.quantity = quantity, .unit = unit, .predicted = predicted, .measured = {}};
  };
  std::vector<reports::PredictionRow> rows{row("flops/attention", "FLOP", attention),
                                           row("flops/linear", "FLOP", linear),
                                           row("flops/text", "FLOP", plan.text_flops),
                                           row("flops/vae", "FLOP", plan.vae_flops),
                                           row("flops/total", "FLOP", total),
                                           row("speedup/step", "x", plan.speedup()),
                                           row("speedup/e2e", "x", dense_total / total),
                                           row("density/attention", "1", attention / dense_attention),
                                           row("evaluations", "1", plan.forwards),
                                           row("cache/bytes", "B", static_cast<double>(plan.cache_bytes))};
  // A cache that decides while sampling leaves only what it does not touch to predict.
  if (!plan.cache_is_static) return {rows[2], rows[3], rows[9]};
  if (measured) {
    rows[0].measured = measured->attention_flops;
    rows[4].measured = measured->total_flops;
    rows[7].measured = measured->attention_flops / dense_attention;
  }
  return rows;
}

}  // namespace vorta::harness
