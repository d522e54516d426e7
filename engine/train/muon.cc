// SPDX-License-Identifier: Apache-2.0
#include "engine/train/muon.h"

#include "engine/base/error.h"
#include "engine/train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace vorta::engine {

Muon::Muon(const TensorMap& parameters, const MuonOptions& options) : options_(options) {
  std::map<std::vector<int64_t>, Group> by_shape;
  for (const auto& [name, parameter] : parameters) {
    VORTA_CHECK(parameter.requires_grad() && parameter.scalar_type() == at::kFloat && parameter.dim() == 2,
                fmt::format("'{}' is not a trainable float32 matrix", name));
    Group& group = by_shape[parameter.sizes().vec()];
    group.names.push_back(name);
    group.parameters.push_back(parameter);
    group.momenta.push_back(at::zeros_like(parameter.detach()));
  }
  for (auto& [shape, group] : by_shape) groups_.push_back(std::move(group));
}

void Muon::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  for (Group& group : groups_) {
    std::vector<at::Tensor> gradients, momenta, parameters;
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      if (!group.parameters[i].grad().defined()) continue;
      gradients.push_back(group.parameters[i].grad());
      momenta.push_back(group.momenta[i]);
      parameters.push_back(group.parameters[i]);
    }
    if (gradients.empty()) continue;
    at::_foreach_lerp_(momenta, gradients, 1 - options_.momentum);
    // Nesterov: the momentum as it would be one step on.
    const at::Tensor ahead = at::stack(gradients).lerp(at::stack(momenta), options_.momentum);
    const at::Tensor direction = orthogonalised(ahead, options_.iterations);
    const double larger_side = static_cast<double>(std::max(ahead.size(1), ahead.size(2)));
    at::_foreach_mul_(parameters, 1 - learning_rate * options_.weight_decay);
    at::_foreach_add_(parameters, direction.unbind(0), -learning_rate * 0.2 * std::sqrt(larger_side));
  }
}

TensorMap Muon::state() const {
  TensorMap state;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) state["momentum." + group.names[i]] = group.momenta[i];
  }
  return state;
}

void Muon::load(const TensorMap& state, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i)
      copy_named(state, "momentum." + group.names[i], group.momenta[i], source);
  }
}

at::Tensor orthogonalised(const at::Tensor& matrices, int64_t iterations) {
  // A quintic whose fixed points lie near 1 and whose slope at 0 is as steep as it can be.
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
  const bool tall = matrices.size(-2) > matrices.size(-1);
  at::Tensor x = tall ? matrices.transpose(-2, -1) : matrices;
  x = x / (x.norm(2, at::IntArrayRef{-2, -1}, /*keepdim=*/true) + 1e-7);
  if (x.is_cuda()) x = x.to(at::kBFloat16);
  for (int64_t i = 0; i < iterations; ++i) {
    const at::Tensor square = at::matmul(x, x.transpose(-2, -1));
    const at::Tensor mixed = kB * square + kC * at::matmul(square, square);
    x = kA * x + at::matmul(mixed, x);
  }
  x = x.to(at::kFloat);
  return tall ? x.transpose(-2, -1) : x;
}

}  // namespace vorta::engine
