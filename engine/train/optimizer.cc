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
namespace {

// Copies `source`'s tensor `name` into `target`, whatever the device.
void copy_named(const TensorMap& from, const std::string& name, at::Tensor& target, const std::string& source) {
  const auto found = from.find(name);
  if (found == from.end()) throw DataError(source, fmt::format("expected a tensor '{}', found none", name));
  if (found->second.sizes() != target.sizes()) {
    throw DataError(source, fmt::format("'{}': expected shape {}, found {}", name, c10::str(target.sizes()),
                                        c10::str(found->second.sizes())));
  }
  target.copy_(found->second);
}

}  // namespace

AdamW::AdamW(const TensorMap& parameters, const AdamWOptions& options) : options_(options) {
  for (const auto& [name, parameter] : parameters) {
    VORTA_CHECK(parameter.requires_grad() && parameter.scalar_type() == at::kFloat,
                fmt::format("'{}' is not a trainable float32 tensor", name));
    names_.push_back(name);
    parameters_.push_back(parameter);
    first_.push_back(at::zeros_like(parameter.detach()));
    second_.push_back(at::zeros_like(parameter.detach()));
    decays_.push_back(options.decay == AdamWOptions::Decay::kEverything || parameter.dim() > 1);
  }
}

void AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  ++steps_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = std::sqrt(1 - std::pow(options_.beta2, static_cast<double>(steps_)));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    at::Tensor& parameter = parameters_[i];
    const at::Tensor& gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (decays_[i]) parameter.mul_(1 - learning_rate * options_.weight_decay);
    first_[i].lerp_(gradient, 1 - options_.beta1);
    second_[i].mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    const at::Tensor scale = second_[i].sqrt().div_(correction2).add_(options_.epsilon);
    parameter.addcdiv_(first_[i], scale, -learning_rate / correction1);
  }
  clear_gradients();
}

double AdamW::clip_gradients(double limit) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> norms;
  for (const at::Tensor& parameter : parameters_) {
    if (parameter.grad().defined()) norms.push_back(parameter.grad().norm());
  }
  if (norms.empty()) return 0;
  const double norm = at::stack(norms).norm().item<double>();
  if (std::isfinite(norm) && norm > limit) {
    for (at::Tensor& parameter : parameters_) {
      if (parameter.grad().defined()) parameter.mutable_grad().mul_(limit / (norm + 1e-6));
    }
  }
  return norm;
}

void AdamW::clear_gradients() {
  for (at::Tensor& parameter : parameters_) parameter.mutable_grad().reset();
}

TensorMap AdamW::state() const {
  TensorMap state;
  for (size_t i = 0; i < names_.size(); ++i) {
    state["first." + names_[i]] = first_[i];
    state["second." + names_[i]] = second_[i];
  }
  return state;
}

void AdamW::load(const TensorMap& state, int64_t steps_done, const std::string& source) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < names_.size(); ++i) {
    copy_named(state, "first." + names_[i], first_[i], source);
    copy_named(state, "second." + names_[i], second_[i], source);
  }
  steps_ = steps_done;
}

MovingAverage::MovingAverage(const TensorMap& parameters, double limit) : limit_(limit) {
  for (const auto& [name, parameter] : parameters) averages_[name] = parameter.detach().clone();
}

void MovingAverage::update(const TensorMap& parameters) {
  const at::NoGradGuard no_grad;
  const double n = static_cast<double>(updates_++);
  const double decay = std::min(limit_, (1 + n) / (10 + n));
  for (auto& [name, average] : averages_) average.lerp_(parameters.at(name), 1 - decay);
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
