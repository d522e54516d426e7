// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/schedule/sampler.h"
#include "tests/support/catch.h"

namespace vorta::engine {

inline nlohmann::json unipc_json() {
  return {
      {"_class_name", "UniPCMultistepScheduler"}, {"prediction_type", "flow_prediction"}, {"use_flow_sigmas", true}};
}

/// Samples after each step, from the start (-1.5, -0.5, 0.5, 1.5).
inline std::vector<at::Tensor> integrate(Sampler& sampler,
                                         const std::function<at::Tensor(const at::Tensor&)>& velocity) {
  at::Tensor x = at::tensor({-1.5f, -0.5f, 0.5f, 1.5f}).view({1, 4, 1, 1, 1});
  std::vector<at::Tensor> out;
  for (int64_t i = 0; i < sampler.steps(); ++i) {
    x = sampler.step(velocity(x), i, x);
    out.push_back(x);
  }
  return out;
}

inline at::Tensor curved_velocity(const at::Tensor& x) { return at::sin(x * 3) + 0.1; }

inline double max_error(const at::Tensor& found, std::vector<double> expected) {
  return (found.to(at::kDouble).flatten() - at::tensor(expected, at::kDouble)).abs().max().item<double>();
}

}  // namespace vorta::engine
