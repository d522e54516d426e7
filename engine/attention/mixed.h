// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <memory>

#include "engine/attention/attention.h"

namespace vorta::engine {

/// Router training's attention: all three branches for all heads, mixed with the router's scores.
class MixedAttention {
 public:
  explicit MixedAttention(const AttentionGeometry& geometry, CoresetKeys keys = CoresetKeys::kOfQueries);
  /// ConfigError as AttentionBackend::plan.
  void plan(const VideoGrid& grid, int64_t text_tokens = 0);
  /// q, k, v [B, N, L + S, D], scores [B, N, 3] -> sum over branches of score * branch output, like q, in the dtype
  /// of q. Differentiable in q, k, v and scores; the coreset selection itself carries no gradient.
  at::Tensor run(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& scores);

 private:
  std::array<std::unique_ptr<AttentionBackend>, kBranches> branches_;
};

}  // namespace vorta::engine
