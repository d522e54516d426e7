// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace vorta::metrics {

/// How transformers 4.33 searches with beams: no sampling, length penalty 1, no early stopping. Lengths count the
/// prompt.
struct BeamRules {
  int64_t beams = 3;
  int64_t min_length = 10;  // the end does not come before
  int64_t max_length = 30;
  int64_t end = 102;
};

/// Logits [beams, V] of what follows: `tokens` [beams] int64 are new at the end of the beams that continue the former
/// beams `origins` [beams] int64.
using BeamStep = std::function<at::Tensor(const at::Tensor& tokens, const at::Tensor& origins)>;

/// The best sequence without the end token. `first`: logits [beams, V] after the prompt.
std::vector<int64_t> beam_search(const std::vector<int64_t>& prompt, const at::Tensor& first, const BeamRules& rules,
                                 const BeamStep& step);

}  // namespace vorta::metrics
