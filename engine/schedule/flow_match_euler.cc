// SPDX-License-Identifier: Apache-2.0
#include "engine/schedule/flow_match_euler.h"

#include <ATen/ATen.h>

#include <vector>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

template <typename Real>
Real shifted(Real sigma, Real shift) {
  return shift * sigma / (Real{1} + (shift - Real{1}) * sigma);
}

/// N points of the range the scheduler was built with, whose ends are shifted fp32 values; shifted once more in fp64.
std::vector<float> trained_range(const FlowMatchEulerConfig& config) {
  const double train = static_cast<double>(config.num_train_timesteps);
  const float shift = static_cast<float>(config.shift);
  const double high = shifted(1.0f, shift);
  const double low = shifted(1.0f / static_cast<float>(train), shift);
  std::vector<float> sigmas;
  for (int64_t i = 0; i < config.steps; ++i) {
    const bool is_end = i > 0 && i == config.steps - 1;
    const double step = config.steps > 1 ? (low * train - high * train) / static_cast<double>(config.steps - 1) : 0.0;
    const double timestep = is_end ? low * train : high * train + static_cast<double>(i) * step;
    sigmas.push_back(static_cast<float>(shifted(timestep / train, config.shift)));
  }
  return sigmas;
}

/// linspace(1, 0, N + 1) without its end, shifted in fp32.
std::vector<float> unit_interval(const FlowMatchEulerConfig& config) {
  std::vector<float> sigmas;
  for (int64_t i = 0; i < config.steps; ++i) {
    const double point = 1.0 + static_cast<double>(i) * (-1.0 / static_cast<double>(config.steps));
    sigmas.push_back(shifted(static_cast<float>(point), static_cast<float>(config.shift)));
  }
  return sigmas;
}

at::Tensor sigma_tensor(const FlowMatchEulerConfig& config) {
  std::vector<float> sigmas = config.grid == EulerGrid::kTrainedRange ? trained_range(config) : unit_interval(config);
  sigmas.push_back(0.0f);
  return at::tensor(sigmas, at::kFloat);
}

}  // namespace

FlowMatchEulerSampler::FlowMatchEulerSampler(const FlowMatchEulerConfig& config)
    : Sampler(sigma_tensor(config).narrow(0, 0, config.steps) * config.num_train_timesteps, sigma_tensor(config)) {}

at::Tensor FlowMatchEulerSampler::step(const at::Tensor& velocity, int64_t index, const at::Tensor& sample) {
  VORTA_CHECK(index == next_ && index < steps(), "sampler steps must run in order");
  ++next_;
  // A 0-dim difference does not promote: a bf16 velocity gives a bf16 product. The operands' order is diffusers', see
  // unipc.cc.
  const at::Tensor change = (sigmas()[index + 1] - sigmas()[index]) * velocity;
  return (sample.to(at::kFloat) + change).to(velocity.scalar_type());
}

}  // namespace vorta::engine
