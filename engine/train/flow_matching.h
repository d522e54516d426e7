// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstddef>

namespace vorta::engine {

/// A training sample of flow matching: noisy = (1 - s) x0 + s eps, target = eps - x0, timestep = 1000 s.
struct FlowSample {
  at::Tensor noisy;     // like x0, fp32
  at::Tensor target;    // like x0, fp32
  at::Tensor timestep;  // [B] fp32
};

/// `x0`: [B, C, T, H, W] fp32, `sigmas`: [B] fp32 in 0..1, `generator` of the device of x0.
FlowSample noisy_sample(const at::Tensor& x0, const at::Tensor& sigmas, at::Generator generator);

/// [count] fp32: sigmoid of a normal, or uniform for `uniform_share` of them, then shifted as samplers shift.
at::Tensor logit_normal_sigmas(size_t count, double shift, double uniform_share, at::Generator generator);

/// [count] fp32 timesteps k/1000 grid of router training (vorta.md 7.2): uniform in interval `interval` of 5, as
/// sigma = (1000 - floor(1000 u')) / 1000.
at::Tensor interval_sigmas(size_t count, int64_t interval, at::Generator generator);

}  // namespace vorta::engine
