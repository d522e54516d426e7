// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/row_kernels.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include <array>
#include <initializer_list>

#include "engine/nn/kernel_call.h"
#include "engine/nn/layers.h"
#include "kernels/linear/linear.h"
#include "kernels/token_norms/token_norms.h"

namespace vorta::engine {
namespace {

using kernels::BFloat16Bits;

// A profiler, if one listens, sees a kernel as one operator and its traffic: operands and results once each.
class StatedTraffic {
 public:
  StatedTraffic(const char* name, std::initializer_list<const at::Tensor*> tensors)
      : record_(at::RecordScope::FUNCTION) {
    if (!record_.isActive()) return;
    double bytes = 0;
    for (const at::Tensor* x : tensors)
      bytes += static_cast<double>(x->numel()) * static_cast<double>(x->element_size());
    const std::array<c10::IValue, 2> work{0.0, bytes};
    record_.before(name, c10::ArrayRef<const c10::IValue>(work.data(), work.size()));
  }

 private:
  at::RecordFunction record_;
};

// [B, L, M] whose rows have one stride throughout.
bool rows_of_bfloat16(const at::Tensor& x) {
  return (x.is_cpu() || x.is_cuda()) && x.scalar_type() == at::kBFloat16 && x.dim() == 3 && x.stride(2) == 1 &&
         (x.size(0) == 1 || x.stride(0) == x.size(1) * x.stride(1)) && !at::GradMode::is_enabled();
}

// fp32 [M], [1, 1, M] or [B, 1, M] with contiguous rows.
bool modulation_of(const at::Tensor& m, const at::Tensor& x) {
  return m.device() == x.device() && m.scalar_type() == at::kFloat && m.stride(-1) == 1 && m.size(-1) == x.size(2) &&
         (m.dim() == 1 || (m.dim() == 3 && m.size(1) == 1 && (m.size(0) == 1 || m.size(0) == x.size(0))));
}

int64_t modulation_stride(const at::Tensor& m) { return m.dim() == 1 || m.size(0) == 1 ? 0 : m.stride(0); }

kernels::TokenRows rows_of(const at::Tensor& x) { return {x.size(0), x.size(1), x.size(2), stream_of(x)}; }
bool contiguous_bfloat16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 && x.is_contiguous(); }

const BFloat16Bits* bits_of(const at::Tensor& x) { return static_cast<const BFloat16Bits*>(x.const_data_ptr()); }

kernels::RowsView view_of(const at::Tensor& x) { return {static_cast<BFloat16Bits*>(x.data_ptr()), x.stride(1)}; }

}  // namespace

std::optional<at::Tensor> kernel_layer_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift,
                                            double offset, double eps) {
  if (!rows_of_bfloat16(x) || !modulation_of(scale, x) || !modulation_of(shift, x)) return std::nullopt;
  if (modulation_stride(scale) != modulation_stride(shift)) return std::nullopt;
  const at::Tensor out = at::empty(x.sizes(), x.options());
  const kernels::ModulatedLayerNormArgs args{.rows = rows_of(x),
                                             .x = view_of(x),
                                             .out = view_of(out),
                                             .scale = scale.const_data_ptr<float>(),
                                             .shift = shift.const_data_ptr<float>(),
                                             .modulation_stride = modulation_stride(scale),
                                             .scale_offset = static_cast<float>(offset),
                                             .eps = static_cast<float>(eps)};
  const StatedTraffic traffic("vorta::layer_norm", {&x, &out});
  if (!ran(kernels::modulated_layer_norm(args), "modulated_layer_norm")) return std::nullopt;
  return out;
}

std::optional<at::Tensor> kernel_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps,
                                          const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& given) {
  if (!rows_of_bfloat16(x) || weight.scalar_type() != at::kBFloat16 || !weight.is_contiguous()) return std::nullopt;
  if (given.defined() && !rows_of_bfloat16(given)) return std::nullopt;
  const at::Tensor out = given.defined() ? given : at::empty(x.sizes(), x.options());
  kernels::RmsNormRopeArgs args{.rows = rows_of(x),
                                .x = view_of(x),
                                .out = view_of(out),
                                .weight = bits_of(weight),
                                .norm_width = weight.size(0),
                                .head_dim = 0,
                                .eps = static_cast<float>(eps)};
  if (cos.defined()) {
    args.cosine = cos.const_data_ptr<float>();
    args.sine = sin.const_data_ptr<float>();
    args.head_dim = cos.size(1) * 2;
  }
  const StatedTraffic traffic("vorta::rms_norm", {&x, &out});
  if (!ran(kernels::rms_norm_rope(args), "rms_norm_rope")) return std::nullopt;
  return out;
}

std::optional<at::Tensor> kernel_gated_residual(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate) {
  if (!rows_of_bfloat16(x) || !rows_of_bfloat16(y) || !modulation_of(gate, x)) return std::nullopt;
  const at::Tensor out = at::empty(x.sizes(), x.options());
  const kernels::GatedResidualArgs args{.rows = rows_of(x),
                                        .x = view_of(x),
                                        .y = view_of(y),
                                        .out = view_of(out),
                                        .gate = gate.const_data_ptr<float>(),
                                        .gate_stride = modulation_stride(gate)};
  const StatedTraffic traffic("vorta::gated_residual", {&x, &y, &out});
  if (!ran(kernels::gated_residual(args), "gated_residual")) return std::nullopt;
  return out;
}

std::optional<NormedResidual> kernel_residual_norm(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate,
                                                   const LayerNormTerms& norm) {
  if (!rows_of_bfloat16(x) || !rows_of_bfloat16(y) || !modulation_of(gate, x)) return std::nullopt;
  if (!modulation_of(norm.scale, x) || !modulation_of(norm.shift, x)) return std::nullopt;
  if (modulation_stride(norm.scale) != modulation_stride(norm.shift)) return std::nullopt;
  const NormedResidual out{at::empty(x.sizes(), x.options()), at::empty(x.sizes(), x.options())};
  const kernels::GatedResidualLayerNormArgs args{.rows = rows_of(x),
                                                 .x = view_of(x),
                                                 .y = view_of(y),
                                                 .residual = view_of(out.sum),
                                                 .out = view_of(out.normed),
                                                 .gate = gate.const_data_ptr<float>(),
                                                 .gate_stride = modulation_stride(gate),
                                                 .scale = norm.scale.const_data_ptr<float>(),
                                                 .shift = norm.shift.const_data_ptr<float>(),
                                                 .modulation_stride = modulation_stride(norm.scale),
                                                 .scale_offset = static_cast<float>(norm.offset),
                                                 .eps = static_cast<float>(norm.eps)};
  const StatedTraffic traffic("vorta::residual_norm", {&x, &y, &out.sum, &out.normed});
  if (!ran(kernels::gated_residual_layer_norm(args), "gated_residual_layer_norm")) return std::nullopt;
  return out;
}

std::optional<at::Tensor> kernel_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                        bool gelu) {
  if (x.dim() == 2) {
    const auto out = kernel_linear(x.unsqueeze(0), weight, bias, gelu);
    return out ? std::optional(out->squeeze(0)) : std::nullopt;
  }
  if (!x.is_cpu() || !rows_of_bfloat16(x) || !contiguous_bfloat16(weight) ||
      (bias.defined() && !contiguous_bfloat16(bias))) {
    return std::nullopt;
  }
  const at::Tensor out = at::empty({x.size(0), x.size(1), weight.size(0)}, x.options());
  const kernels::LinearArgs args{.rows = x.size(0) * x.size(1),
                                 .in = x.size(2),
                                 .out = weight.size(0),
                                 .x = bits_of(x),
                                 .x_stride = x.stride(1),
                                 .weight = bits_of(weight),
                                 .bias = bias.defined() ? bits_of(bias) : nullptr,
                                 .y = static_cast<BFloat16Bits*>(out.data_ptr()),
                                 .y_stride = out.stride(1),
                                 .activation = gelu ? kernels::Activation::kGeluTanh : kernels::Activation::kNone};
  if (!kernels::linear_supports(args)) return std::nullopt;
  at::RecordFunction record(at::RecordScope::FUNCTION);  // a profiler, if one listens, sees one operator and its work
  if (record.isActive()) {
    const std::array<c10::IValue, 1> work{2.0 * static_cast<double>(args.rows * args.in * args.out)};
    record.before("vorta::linear", c10::ArrayRef<const c10::IValue>(work.data(), work.size()));
  }
  const at::Tensor workspace = at::empty({static_cast<int64_t>(kernels::linear_workspace(args))}, at::kByte);
  if (!ran(kernels::linear(args, workspace.data_ptr()), "linear")) return std::nullopt;
  return out;
}

}  // namespace vorta::engine
