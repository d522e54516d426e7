// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/route_table.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/attention/router.h"
#include "engine/base/error.h"

namespace vorta::engine {

std::vector<int64_t> RouteTable::heads_of(int64_t step, int64_t layer, Branch branch) const {
  std::vector<int64_t> found;
  for (int64_t head = 0; head < heads; ++head) {
    if (at(step, layer, head) == branch) found.push_back(head);
  }
  return found;
}

std::array<int64_t, kBranches> RouteTable::counts() const {
  std::array<int64_t, kBranches> counts{};
  for (const uint8_t route : routes) ++counts.at(route);
  return counts;
}

RouteTable uniform_routes(int64_t steps, int64_t layers, int64_t heads, Branch branch) {
  RouteTable table{steps, layers, heads, {}};
  table.routes.assign(static_cast<size_t>(steps * layers * heads), static_cast<uint8_t>(branch));
  return table;
}

RouteTable routes_by_fractions(int64_t steps, int64_t layers, int64_t heads, const RouteFractions& fractions) {
  double sum = 0;
  for (const double share : fractions) {
    if (!(share >= 0) || std::isinf(share)) {
      throw ConfigError("--route-fractions", fmt::format("expected numbers from 0 up, found {}", share));
    }
    sum += share;
  }
  if (sum == 0) throw ConfigError("--route-fractions", "expected a share above 0, found none");
  RouteTable table = uniform_routes(steps, layers, heads, Branch::kDense);
  RouteFractions owed{};  // heads that each branch should have had by now, less those it had
  for (uint8_t& route : table.routes) {
    for (size_t e = 0; e < owed.size(); ++e) owed[e] += fractions[e] / sum;
    const auto next = std::max_element(owed.begin(), owed.end());
    *next -= 1;
    route = static_cast<uint8_t>(next - owed.begin());
  }
  return table;
}

std::string tau_note(double tau) {
  if (tau * 3.0 >= 1.0) return {};
  return fmt::format(
      "tau = {} has no effect: the best of three branch scores is never below 1/3; use a tau above 1/3 "
      "to send uncertain heads to dense attention (above 1: all heads)",
      tau);
}

RouteTable make_routes(const Router& router, const at::Tensor& embeddings, double tau) {
  const at::NoGradGuard no_grad;
  const RouterSize& size = router.size();
  ShapeBinder shape("route table");
  shape.bind(embeddings.sizes(), "timestep embeddings", fmt::format("S {}", size.embedding));

  RouteTable table = uniform_routes(embeddings.size(0), size.layers, size.heads, Branch::kDense);
  auto route = table.routes.begin();
  for (int64_t step = 0; step < table.steps; ++step) {
    // One row at a time: a batched product may round differently, and the model sees one timestep at a time.
    const at::Tensor embedding = embeddings.narrow(0, step, 1);
    for (int64_t layer = 0; layer < table.layers; ++layer) {
      const at::Tensor scores = router.scores(embedding, layer).select(0, 0);  // [N, 3]
      const auto [top, index] = scores.topk(1, -1);                            // [N, 1]
      // The scalar is compared in the dtype of the scores, so tau is rounded to it.
      const at::Tensor branch = index.masked_fill(top < tau, static_cast<int64_t>(Branch::kDense)).squeeze(-1).cpu();
      for (int64_t head = 0; head < table.heads; ++head) {
        *route++ = static_cast<uint8_t>(branch[head].item<int64_t>());
      }
    }
  }
  return table;
}

}  // namespace vorta::engine
