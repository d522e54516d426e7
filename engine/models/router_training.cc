// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/attention/mixed.h"
#include "engine/attention/router.h"
#include "engine/models/router_training.h"

namespace vorta::engine {
namespace {

LayerObserver collector(KeepHidden keep, std::vector<at::Tensor>& hidden) {
  if (keep == KeepHidden::kNo) return {};
  return [&hidden](int64_t, const at::Tensor& state) { hidden.push_back(state); };
}

}  // namespace

RouterForward forward_router(VideoDit& model, const Router& router, MixedAttention& mixed, const DitInputs& inputs,
                             KeepHidden keep) {
  const at::Tensor& latents = inputs.latents;
  mixed.plan(model.token_grid({latents.size(2), latents.size(3), latents.size(4)}),
             model.text_in_sequence() ? valid_text_tokens(inputs.text) : 0);
  RouterForward result;
  at::Tensor embedding;
  {
    const at::NoGradGuard no_grad;
    embedding = model.timestep_embedding(inputs.timestep);
    result.teacher = model.forward_patches(
        inputs,
        [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t) { return dense_attention(q, k, v); },
        collector(keep, result.teacher_hidden));
  }
  const auto attend = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t layer) {
    const at::Tensor scores = result.scores.emplace_back(router.scores(embedding, layer));
    return mixed.run(q, k, v, scores);
  };
  result.student = model.forward_patches(inputs, attend, collector(keep, result.student_hidden));
  return result;
}

}  // namespace vorta::engine
