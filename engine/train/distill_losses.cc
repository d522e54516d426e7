// SPDX-License-Identifier: Apache-2.0
#include "engine/train/distill_losses.h"

#include "engine/base/error.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace vorta::engine {

double shifted_sigma(double u, double shift) { return shift * u / (1 + (shift - 1) * u); }

PhasedGrid phased_grid(int64_t steps, int64_t phases, double shift) {
  VORTA_CHECK(phases > 0 && steps % phases == 0, "phases have equally many steps");
  PhasedGrid grid;
  grid.phase = steps / phases;
  for (int64_t i = 0; i <= steps; ++i)
    grid.sigmas.push_back(shifted_sigma(1 - static_cast<double>(i) / static_cast<double>(steps), shift));
  return grid;
}

at::Tensor PhasedGrid::sigmas_at(const at::Tensor& index) const {
  return at::tensor(sigmas, at::kDouble).to(index.device(), at::kFloat).index_select(0, index);
}

at::Tensor PhasedGrid::phase_ends(const at::Tensor& index) const { return (index.floor_divide(phase) + 1) * phase; }

at::Tensor straight_step(const at::Tensor& x, const at::Tensor& from, const at::Tensor& to,
                         const at::Tensor& velocity) {
  return x + (to - from).view({-1, 1, 1, 1, 1}) * velocity;
}

at::Tensor consistency_target(const PhasedGrid& grid, const at::Tensor& x, const at::Tensor& index, int64_t hops,
                              const VelocityField& teacher, const VelocityField& student) {
  const at::NoGradGuard no_grad;
  const at::Tensor end = grid.phase_ends(index);
  at::Tensor at = index, there = x;
  for (int64_t hop = 0; hop < std::min(hops, grid.phase); ++hop) {
    const at::Tensor next = at::minimum(at + 1, end), sigma = grid.sigmas_at(at);
    there = straight_step(there, sigma, grid.sigmas_at(next), teacher(there, sigma));
    at = next;
  }
  if (hops >= grid.phase) return there;
  const at::Tensor sigma = grid.sigmas_at(at);
  return straight_step(there, sigma, grid.sigmas_at(end), student(there, sigma));
}

at::Tensor pseudo_huber(const at::Tensor& distance, double c) {
  return ((distance.square() + c * c).sqrt() - c).mean();
}

at::Tensor guided_velocity(const at::Tensor& both, double guidance) {
  const int64_t half = both.size(0) / 2;
  const at::Tensor unguided = both.narrow(0, half, half);
  return unguided + guidance * (both.narrow(0, 0, half) - unguided);
}

at::Tensor matching_target(const at::Tensor& x, const at::Tensor& real, const at::Tensor& made) {
  const at::Tensor scale = (x - real).abs().mean({1, 2, 3, 4}, /*keepdim=*/true);
  return x - (made - real) / scale.clamp_min(1e-6);
}

}  // namespace vorta::engine
