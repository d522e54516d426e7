// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <vector>

#include "engine/models/video_dit.h"

namespace vorta::engine {

class Router;
class MixedAttention;

/// Both trajectories of router training (paper section on self-distillation; spec 7.3).
struct RouterForward {
  at::Tensor student;               // [B, L, P] patch space, gradients to the router
  at::Tensor teacher;               // [B, L, P] dense path, no gradients
  std::vector<at::Tensor> scores;   // per layer [B, N, 3]
  std::vector<at::Tensor> student_hidden, teacher_hidden;  // per layer [B, L + S, M]; filled when asked for
};
enum class KeepHidden { kNo, kYes };

/// Plans `mixed` for the inputs. The router sees model.timestep_embedding(timestep) without gradients to it.
RouterForward forward_router(VideoDit& model, const Router& router, MixedAttention& mixed, const DitInputs& inputs,
                             KeepHidden keep = KeepHidden::kNo);

}  // namespace vorta::engine
