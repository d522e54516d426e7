// SPDX-License-Identifier: Apache-2.0
#include "engine/train/optimizer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <c10/util/StringUtil.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/base/error.h"

namespace vorta::engine {

void copy_named(const TensorMap& from, const std::string& name, at::Tensor& target, const std::string& source) {
  const auto found = from.find(name);
  if (found == from.end()) throw DataError(source, fmt::format("expected a tensor '{}', found none", name));
  if (found->second.sizes() != target.sizes()) {
    throw DataError(source, fmt::format("'{}': expected shape {}, found {}", name, c10::str(target.sizes()),
                                        c10::str(found->second.sizes())));
  }
  target.copy_(found->second);
}

AdamW::AdamW(const TensorMap& parameters, const AdamWOptions& options) : options_(options), groups_(2) {
  groups_[1].weight_decay = options.weight_decay;
  for (const auto& [name, parameter] : parameters) {
    VORTA_CHECK(parameter.requires_grad() && parameter.scalar_type() == at::kFloat,
                fmt::format("'{}' is not a trainable float32 tensor", name));
    const bool decays = options.decay == AdamWOptions::Decay::kEverything || parameter.dim() > 1;
    Group& group = groups_[decays ? 1 : 0];
    group.names.push_back(name);
    group.parameters.push_back(parameter);
    group.first.push_back(at::zeros_like(parameter.detach()));
    group.second.push_back(at::zeros_like(parameter.detach()));
    group.steps.push_back(at::zeros({}, parameter.options().requires_grad(false)));
  }
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  for (Group& group : groups_) {
    Group with_gradient;
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < group.parameters.size(); ++i) {
      if (!group.parameters[i].grad().defined()) continue;
      gradients.push_back(group.parameters[i].grad());
      with_gradient.parameters.push_back(group.parameters[i]);
      with_gradient.first.push_back(group.first[i]);
      with_gradient.second.push_back(group.second[i]);
      with_gradient.steps.push_back(group.steps[i]);
    }
    if (gradients.empty()) continue;
    at::_foreach_add_(with_gradient.steps, 1);
    at::_fused_adamw_(with_gradient.parameters, gradients, with_gradient.first, with_gradient.second, {},
                      with_gradient.steps, learning_rate, options_.beta1, options_.beta2, group.weight_decay,
                      options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
}

at::Tensor clip_gradients(const TensorMap& parameters, double limit) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> all;
  for (const auto& [name, parameter] : parameters) {
    if (parameter.grad().defined()) all.push_back(parameter.grad());
  }
  if (all.empty()) return at::zeros({});
  const at::Tensor norm = at::stack(at::_foreach_norm(all)).norm();
  at::_foreach_mul_(all, at::reciprocal(norm + 1e-6).mul(limit).clamp_max(1));
  return norm;
}

void clear_gradients(const TensorMap& parameters) {
  for (const auto& [name, parameter] : parameters) {
    at::Tensor handle = parameter;
    handle.mutable_grad().reset();
  }
}

TensorMap AdamW::state() const {
  TensorMap state;
  for (const Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      state["first." + group.names[i]] = group.first[i];
      state["second." + group.names[i]] = group.second[i];
    }
  }
  return state;
}

void AdamW::load(const TensorMap& state, int64_t steps_done, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (Group& group : groups_) {
    for (size_t i = 0; i < group.names.size(); ++i) {
      copy_named(state, "first." + group.names[i], group.first[i], source);
      copy_named(state, "second." + group.names[i], group.second[i], source);
      group.steps[i].fill_(static_cast<double>(steps_done));
    }
  }
}

MovingAverage::MovingAverage(const TensorMap& parameters, double limit) : limit_(limit) {
  for (const auto& [name, parameter] : parameters) averages_[name] = parameter.detach().clone();
}

void MovingAverage::update(const TensorMap& parameters) {
  const at::NoGradGuard no_grad;
  const double n = static_cast<double>(updates_++);
  const double decay = std::min(limit_, (1 + n) / (10 + n));
  std::vector<at::Tensor> averages, values;
  for (const auto& [name, average] : averages_) {
    averages.push_back(average);
    values.push_back(parameters.at(name));
  }
  at::_foreach_lerp_(averages, values, 1 - decay);
}

void MovingAverage::load(const TensorMap& averages, int64_t updates, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (auto& [name, average] : averages_) copy_named(averages, name, average, source);
  updates_ = updates;
}

double LearningRate::at(int64_t step, int64_t steps) const {
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double done = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, steps));
  if (flat >= 1 || done <= flat) return peak;
  const double way = std::min(1.0, (done - flat) / (1 - flat));
  return peak * (floor + (1 - floor) * 0.5 * (1 + std::cos(std::numbers::pi * way)));
}

}  // namespace vorta::engine
