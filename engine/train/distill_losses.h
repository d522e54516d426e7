// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace vorta::engine {

/// A network as a distillation sees it: x [B, C, T, H, W] at sigmas [B] -> velocity like x.
using VelocityField = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& sigmas)>;

/// The sampler's flow shift: shift u / (1 + (shift - 1) u).
double shifted_sigma(double u, double shift);

/// The sigmas between which a teacher takes its Euler steps, in phases of equally many.
struct PhasedGrid {
  std::vector<double> sigmas;  // N + 1, falling from 1 to 0
  int64_t phase = 1;           // steps of a phase

  int64_t steps() const { return static_cast<int64_t>(sigmas.size()) - 1; }
  /// index [B] int64, 0 .. N -> sigmas [B] fp32 on its device.
  at::Tensor sigmas_at(const at::Tensor& index) const;
  /// index [B] int64, 0 .. N - 1 -> the first index of the next phase, [B].
  at::Tensor phase_ends(const at::Tensor& index) const;
};
/// `steps` linear steps, shifted, in `phases` phases. InternalError unless these divide the steps.
PhasedGrid phased_grid(int64_t steps, int64_t phases, double shift);

/// x + (to - from) velocity: one straight step. from, to [B].
at::Tensor straight_step(const at::Tensor& x, const at::Tensor& from, const at::Tensor& to, const at::Tensor& velocity);

/// What a student's jump from x at grid index `index` [B] to the end of its phase is to equal: up to `hops` of the
/// teacher's Euler steps, none over the phase's end, and the student's own jump from there. `hops` of a whole phase
/// never ask the student. Without gradients.
at::Tensor consistency_target(const PhasedGrid& grid, const at::Tensor& x, const at::Tensor& index, int64_t hops,
                              const VelocityField& teacher, const VelocityField& student);

/// mean(sqrt(d^2 + c^2) - c), the loss of consistency models (arXiv 2310.14189).
at::Tensor pseudo_huber(const at::Tensor& distance, double c);

/// both [2 B, ...]: with captions, then without -> unguided + guidance (guided - unguided), [B, ...].
at::Tensor guided_velocity(const at::Tensor& both, double guidance);

/// Where distribution matching moves a clean sample x (arXiv 2311.18828, equations 7 and 8): by the teacher's clean
/// prediction `real` less the critic's, `made`, in units of the teacher's mean distance from x. All [B, C, T, H, W].
at::Tensor matching_target(const at::Tensor& x, const at::Tensor& real, const at::Tensor& made);

}  // namespace vorta::engine
