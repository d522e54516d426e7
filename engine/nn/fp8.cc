// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/fp8.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>
#include <vector>

#include "engine/base/error.h"
#include "kernels/launch/cuda_device.h"

namespace vorta::engine {
namespace {

constexpr double kLargest = 448;     // of e4m3
constexpr int64_t kTensorCore = 16;  // sizes in whole multiples

// The smallest scale that is a normal fp32 number: what a row of zeros gets.
constexpr float kSmallestScale = std::numeric_limits<float>::min();

bool on_tensor_cores(const at::Tensor& x, const at::Tensor& weight) {
  return multiplies_fp8(x.device()) && x.scalar_type() == at::kBFloat16 && weight.size(0) % kTensorCore == 0 &&
         weight.size(1) % kTensorCore == 0;
}

}  // namespace

bool multiplies_fp8(at::Device device) {
  return device.is_cuda() && kernels::cuda_device().usable() && kernels::cuda_device().major >= 9;
}

Fp8Rows quantize_rows(const at::Tensor& x) {
  const at::Tensor largest = at::linalg_vector_norm(x, std::numeric_limits<double>::infinity(), at::IntArrayRef{-1},
                                                    /*keepdim=*/true, at::kFloat);
  // No quotient exceeds 448 by more than its rounding, which e4m3 rounds back: nothing saturates.
  const at::Tensor scales = (largest / kLargest).clamp_min(kSmallestScale);
  return {(x / scales).to(at::kFloat8_e4m3fn), scales};
}

at::Tensor fp8_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales, const at::Tensor& bias) {
  VORTA_CHECK(!at::GradMode::is_enabled(), "8-bit products have no gradients");
  const Fp8Rows rows = quantize_rows(x.reshape({-1, x.size(-1)}));
  const at::Tensor out_scales = scales.t();  // [1, O]
  at::Tensor out;
  if (on_tensor_cores(x, weight)) {
    const std::optional<at::Tensor> added = bias.defined() ? std::optional(bias) : std::nullopt;
    out = at::_scaled_mm(rows.values, weight.t(), rows.scales, out_scales, added, std::nullopt, at::kBFloat16,
                         /*use_fast_accum=*/true);
  } else {
    out = at::linear(rows.values.to(at::kFloat), weight.to(at::kFloat)) * rows.scales * out_scales;
    if (bias.defined()) out = out + bias;
    out = out.to(x.scalar_type());
  }
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  return out.view(sizes);
}

}  // namespace vorta::engine
