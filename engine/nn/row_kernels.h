// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <optional>

namespace vorta::engine {

struct NormedResidual;

// The bridge to kernels/token_norms and kernels/linear for bfloat16 activations x [B, L, M]. Each
// returns nothing when the kernel does not apply (gradients on, another device or dtype, unsuited
// strides or width); the caller's composition then does the work.

/// layer_norm(x) * (offset + scale) + shift; scale and shift fp32 [B or 1, 1, M] or [M].
std::optional<at::Tensor> kernel_layer_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                                            double offset, double eps);
/// RMS norm with weight bf16 [M], or [D]: each head apart; then the rotation by cos, sin fp32 [L, D/2]; undefined cos
/// and sin: no rotation. Into `out` [B, L, M] where it is given.
std::optional<at::Tensor> kernel_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                          const at::Tensor& cos = {}, const at::Tensor& sin = {},
                                          const at::Tensor& out = {});
/// The norm of kernel_layer_norm.
struct LayerNormTerms {
  const at::Tensor& scale;
  const at::Tensor& shift;
  double offset;
  double eps;
};
/// x + y * gate and its norm; gate as below.
std::optional<NormedResidual> kernel_residual_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                                   const LayerNormTerms& norm);
/// x + y * gate; gate fp32 [B or 1, 1, M] or [M].
std::optional<at::Tensor> kernel_gated_residual(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate);

/// x weight^T + bias, then GELU (tanh) when `gelu`; weight [O, M], bias [O] or undefined, both bf16 -> [B, L, O].
std::optional<at::Tensor> kernel_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                        bool gelu);

}  // namespace vorta::engine
