// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>

namespace vorta::engine {

struct RopeTable;

// Stateless layers of the transformers. All differentiable; the rounding points are those of diffusers v0.33.1.

/// x weight^T + bias. x [.., M]; weight [O, M]; bias [O] or undefined -> [.., O].
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
/// GELU in its tanh form of linear(x, weight, bias).
at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// LayerNorm over the last axis in fp32. x [.., M]; weight and bias [M] or both undefined -> fp32 [.., M].
at::Tensor layer_norm_f32(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

/// (norm(x) * (1 + scale) + shift), computed in fp32, in the dtype of x. x [B, L, M]; shift, scale [B, 1, M].
at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps);

/// LayerNorm with fp32 weight and bias [M], computed in fp32, in the dtype of x. x [B, L, M].
at::Tensor affine_layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps);

/// x + y * gate in fp32, in the dtype of x. x, y [B, L, M]; gate [B, 1, M].
at::Tensor gated_residual(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate);

/// x + y * gate, and the norm that follows it.
struct NormedResidual {
  at::Tensor sum;     // gated_residual(x, y, gate)
  at::Tensor normed;  // the norm of that
};
/// Both in one pass over memory where a kernel does it. Shapes as in gated_residual and modulated_layer_norm.
NormedResidual residual_modulated_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                       const at::Tensor& shift, const at::Tensor& scale, double eps);
/// The same with affine_layer_norm.
NormedResidual residual_affine_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                    const at::Tensor& weight, const at::Tensor& bias, double eps);

/// x * rsqrt(mean(x^2) + eps) over the last axis in fp32, rounded to the weight's dtype, times weight [M]. Over the
/// whole M-wide vector: Wan normalises all heads together.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

/// rms_norm, then the heads rotated by the table (its D wide): x [B, L, M] -> [B, L, N, D].
at::Tensor rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const RopeTable& table);

/// rms_norm of every head apart, then the rotation where a table is given: x [B, L, M], weight [D] -> [B, L, N, D], in
/// `out` where it is given (a view of memory to be filled; not with gradients).
at::Tensor head_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const RopeTable* table,
                         const at::Tensor& out = {});

/// Sinusoidal embedding of a timestep, cosines first: timestep [B], any dtype -> fp32 [B, dim], dim even.
at::Tensor timestep_sinusoid(const at::Tensor& timestep, int64_t dim);

}  // namespace vorta::engine
