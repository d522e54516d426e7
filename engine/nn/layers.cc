// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <utility>
#include <vector>

#include "engine/base/error.h"
#include "engine/nn/rope.h"
#include "engine/nn/row_kernels.h"

namespace vorta::engine {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (const auto out = kernel_linear(x, weight, bias, /*gelu=*/false)) return *out;
  return at::linear(x, weight, bias);
}

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (const auto out = kernel_linear(x, weight, bias, /*gelu=*/true)) return *out;
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16 && bias.defined() && !at::GradMode::is_enabled()) {
    // One product whose epilogue adds the bias and applies the tanh form, which is the only one cuBLASLt has.
    const at::Tensor rows = x.reshape({-1, x.size(-1)});
    const at::Tensor out = at::_addmm_activation(bias, rows, weight.t(), 1, 1, /*use_gelu=*/true);
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes.back() = weight.size(0);
    return out.view(sizes);
  }
  return at::gelu(at::linear(x, weight, bias), "tanh");
}

at::Tensor layer_norm_f32(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  const auto as_float = [](const at::Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
  return at::layer_norm(x.to(at::kFloat), {x.size(-1)}, as_float(weight), as_float(bias), eps);
}

at::Tensor modulated_layer_norm(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale, double eps) {
  if (const auto out = kernel_layer_norm(x, scale, shift, 1.0, eps)) return *out;
  if (x.is_cuda()) {
    // Two passes over memory instead of six; each computes in fp32 and rounds its result.
    const at::Tensor normed = at::layer_norm(x, {x.size(-1)}, {}, {}, eps);
    return at::addcmul(shift.to(x.scalar_type()), normed, (1 + scale).to(x.scalar_type()));
  }
  return at::addcmul(shift, layer_norm_f32(x, {}, {}, eps), 1 + scale).to(x.scalar_type());
}

at::Tensor affine_layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps) {
  if (const auto out = kernel_layer_norm(x, weight, bias, 0.0, eps)) return *out;
  if (x.is_cuda()) return at::layer_norm(x, {x.size(-1)}, weight.to(x.scalar_type()), bias.to(x.scalar_type()), eps);
  return layer_norm_f32(x, weight, bias, eps).to(x.scalar_type());
}

at::Tensor gated_residual(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate) {
  if (const auto out = kernel_gated_residual(x, y, gate)) return *out;
  if (x.is_cuda()) return at::addcmul(x, y, gate.to(x.scalar_type()));
  return at::addcmul(x, y, gate.to(at::kFloat)).to(x.scalar_type());  // promotes to fp32
}

NormedResidual residual_modulated_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                       const at::Tensor& shift, const at::Tensor& scale, double eps) {
  if (auto both = kernel_residual_norm(x, y, gate, {scale, shift, 1.0, eps})) return *std::move(both);
  const at::Tensor sum = gated_residual(x, y, gate);
  return {sum, modulated_layer_norm(sum, shift, scale, eps)};
}

NormedResidual residual_affine_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                    const at::Tensor& weight, const at::Tensor& bias, double eps) {
  if (auto both = kernel_residual_norm(x, y, gate, {weight, bias, 0.0, eps})) return *std::move(both);
  const at::Tensor sum = gated_residual(x, y, gate);
  return {sum, affine_layer_norm(sum, weight, bias, eps)};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (const auto out = kernel_rms_norm(x, weight, eps)) return *out;
  if (x.is_cuda()) return at::rms_norm(x, {x.size(-1)}, weight.to(x.scalar_type()), eps);
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor inverse = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + eps);
  return (wide * inverse).to(weight.scalar_type()) * weight;
}

at::Tensor rms_norm_rope(const at::Tensor& x, const at::Tensor& weight, double eps, const RopeTable& table) {
  const int64_t head_dim = 2 * table.cos64.size(1);
  if (const auto out = kernel_rms_norm(x, weight, eps, table.cos32, table.sin32))
    return out->unflatten(-1, {-1, head_dim});
  return apply_rope(rms_norm(x, weight, eps).unflatten(-1, {-1, head_dim}), table);
}

at::Tensor head_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, const RopeTable* table,
                         const at::Tensor& out) {
  const int64_t head_dim = weight.size(0);
  const at::Tensor cos = table == nullptr ? at::Tensor() : table->cos32;
  const at::Tensor sin = table == nullptr ? at::Tensor() : table->sin32;
  const at::Tensor to = out.defined() ? out.flatten(2) : out;
  if (const auto done = kernel_rms_norm(x, weight, eps, cos, sin, to)) return done->unflatten(-1, {-1, head_dim});
  const at::Tensor heads = x.unflatten(-1, {-1, head_dim});
  const at::Tensor normed = rms_norm(heads, weight, eps);
  const at::Tensor turned = table == nullptr ? normed : apply_rope(normed, *table);
  return out.defined() ? out.copy_(turned) : turned;
}

at::Tensor timestep_sinusoid(const at::Tensor& timestep, int64_t dim) {
  VORTA_CHECK(timestep.dim() == 1, "timestep is [B]");
  VORTA_CHECK(dim > 0 && dim % 2 == 0, "the sinusoid has as many cosines as sines");
  const int64_t half = dim / 2;
  const auto options = timestep.options().dtype(at::kFloat);
  const at::Tensor exponent = at::arange(half, options) * -std::log(10000.0) / static_cast<double>(half);
  const at::Tensor angles = timestep.to(at::kFloat).unsqueeze(1) * at::exp(exponent).unsqueeze(0);  // [B, dim / 2]
  return at::cat({at::cos(angles), at::sin(angles)}, -1);
}

}  // namespace vorta::engine
