// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/channel_kernels.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <vector>

#include "kernels/channel_norm/channel_norm.h"

namespace vorta::engine {
namespace {

// The positions of x ([B, C, ...], channels together) as rows, when one stride leads through all of a batch item.
std::optional<kernels::RowView> position_rows(const at::Tensor& x) {
  if (x.stride(1) != 1 && x.size(1) != 1) return std::nullopt;
  int64_t row_stride = 0, expected = 0;
  for (int64_t axis = x.dim() - 1; axis >= 2; --axis) {
    if (x.size(axis) == 1) continue;
    if (row_stride == 0) row_stride = expected = x.stride(axis);
    if (x.stride(axis) != expected) return std::nullopt;
    expected *= x.size(axis);
  }
  return kernels::RowView{.data = x.data_ptr(), .batch_stride = x.stride(0), .row_stride = row_stride};
}

bool on_cpu_without_gradients(const at::Tensor& x) {
  const bool known = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
  return known && x.device().is_cpu() && !at::GradMode::is_enabled();
}

// oneDNN refuses bfloat16 without AVX-512.
bool one_dnn_convolves(const at::Tensor& x) {
  const auto& context = at::globalContext();
  const auto& cpu = kernels::cpu_features();
  return context.hasMKLDNN() && context.userEnabledMkldnn() && on_cpu_without_gradients(x) &&
         (x.scalar_type() == at::kFloat ? cpu.avx2 : cpu.avx512);
}

}  // namespace

bool kernel_channel_norm(const at::Tensor& x, const at::Tensor& gamma, double scale, bool silu, const at::Tensor& out) {
  if (!on_cpu_without_gradients(x) || x.numel() == 0 || gamma.scalar_type() != x.scalar_type()) return false;
  const auto from = position_rows(x), to = position_rows(out);
  if (!from || !to || !gamma.is_contiguous()) return false;
  const kernels::ChannelNormArgs args{
      .dtype = x.scalar_type() == at::kFloat ? kernels::DType::kFloat32 : kernels::DType::kBFloat16,
      .batch = x.size(0),
      .rows_per_batch = x.numel() / (x.size(0) * x.size(1)),
      .channels = x.size(1),
      .x = *from,
      .out = *to,
      .gamma = gamma.const_data_ptr(),
      .scale = static_cast<float>(scale),
      .silu = silu};
  return kernels::channel_norm(args) == kernels::KernelStatus::kOk;
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding) {
  const std::vector<int64_t> ones(stride.size(), 1);
  if (one_dnn_convolves(x)) {
    return at::mkldnn_convolution(x, weight, bias, padding, stride, /*dilation=*/ones, /*groups=*/1);
  }
  const std::vector<int64_t> no_output_padding(stride.size(), 0);
  return at::convolution(x, weight, bias, stride, padding, /*dilation=*/ones, /*transposed=*/false, no_output_padding,
                         /*groups=*/1);
}

}  // namespace vorta::engine
