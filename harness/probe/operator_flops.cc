// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/operator_flops.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <array>

namespace vorta::harness {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;
using Work = ScopeWork (*)(Inputs inputs);

bool tensors(Inputs inputs, std::initializer_list<size_t> which) {
  for (size_t i : which) {
    if (i >= inputs.size() || !inputs[i].isTensor() || !inputs[i].toTensor().defined()) return false;
  }
  return true;
}

double bytes_of(const at::Tensor& x) { return static_cast<double>(x.numel()) * static_cast<double>(x.element_size()); }

// `results` numbers of the type of `like` come out of two operands.
double traffic(const at::Tensor& one, const at::Tensor& other, double results, const at::Tensor& like) {
  return bytes_of(one) + bytes_of(other) + results * static_cast<double>(like.element_size());
}

// `left` [.., M, K] times `right` [.., K, N]: 2 M K N for each matrix of `left`.
ScopeWork product(const at::Tensor& left, const at::Tensor& right) {
  if (left.dim() < 1 || right.dim() < 1 || left.size(-1) == 0) return {};
  const double rows = static_cast<double>(left.numel()) / static_cast<double>(left.size(-1));
  const double columns = static_cast<double>(right.size(-1));
  return {2.0 * static_cast<double>(left.numel()) * columns, traffic(left, right, rows * columns, left)};
}

template <size_t kLeft, size_t kRight>
ScopeWork matrix_product(Inputs inputs) {
  return tensors(inputs, {kLeft, kRight}) ? product(inputs[kLeft].toTensor(), inputs[kRight].toTensor()) : ScopeWork{};
}

// at::_scaled_mm(x [M, K], weight [K, N], ...): operands of 8 bits, results of 16.
ScopeWork scaled_product(Inputs inputs) {
  ScopeWork work = matrix_product<0, 1>(inputs);
  if (!work.is_known()) return work;
  const at::Tensor& left = inputs[0].toTensor();
  work.bytes += static_cast<double>(left.size(0)) * static_cast<double>(inputs[1].toTensor().size(-1));
  return work;
}

// at::linear(x [.., K], weight [N, K])
ScopeWork linear(Inputs inputs) {
  if (!tensors(inputs, {0, 1})) return {};
  const at::Tensor& x = inputs[0].toTensor();
  const at::Tensor& weight = inputs[1].toTensor();
  if (weight.dim() != 2 || weight.size(1) == 0) return {};
  const double outputs =
      static_cast<double>(x.numel()) / static_cast<double>(weight.size(1)) * static_cast<double>(weight.size(0));
  return {2.0 * static_cast<double>(x.numel()) * static_cast<double>(weight.size(0)), traffic(x, weight, outputs, x)};
}

// convolution(x [B, C, spatial..], weight [O, C / groups, kernel..], bias, stride, padding, dilation, ...), not
// transposed
ScopeWork convolution(Inputs inputs) {
  if (!tensors(inputs, {0, 1}) || inputs.size() < 6) return {};
  const at::Tensor& x = inputs[0].toTensor();
  const at::Tensor& weight = inputs[1].toTensor();
  if (!inputs[3].isIntList() || !inputs[4].isIntList() || !inputs[5].isIntList()) return {};
  const auto stride = inputs[3].toIntVector(), padding = inputs[4].toIntVector(), dilation = inputs[5].toIntVector();
  double outputs = static_cast<double>(x.size(0));
  for (int64_t axis = 2; axis < weight.dim(); ++axis) {
    const auto at_axis = [axis](const std::vector<int64_t>& list) {
      return list[list.size() == 1 ? 0 : static_cast<size_t>(axis - 2)];
    };
    const int64_t span = at_axis(dilation) * (weight.size(axis) - 1) + 1;
    outputs *= static_cast<double>((x.size(axis) + 2 * at_axis(padding) - span) / at_axis(stride) + 1);
  }
  const double results = outputs * static_cast<double>(weight.size(0));
  return {2.0 * outputs * static_cast<double>(weight.numel()), traffic(x, weight, results, x)};
}

// q [B, N, Lq, D], k [B, N, Lk, D], v like k
ScopeWork attention(Inputs inputs) {
  if (!tensors(inputs, {0, 1})) return {};
  const at::Tensor& q = inputs[0].toTensor();
  const at::Tensor& k = inputs[1].toTensor();
  return {4.0 * static_cast<double>(q.numel()) * static_cast<double>(k.size(-2)), 2 * bytes_of(q) + 2 * bytes_of(k)};
}

// The engine's own kernels say how much they will do: their inputs are {flops} or {flops, bytes}.
ScopeWork stated(Inputs inputs) {
  if (inputs.empty() || inputs.size() > 2) return {};
  for (const c10::IValue& value : inputs) {
    if (!value.isDouble()) return {};
  }
  return {inputs[0].toDouble(), inputs.size() > 1 ? inputs[1].toDouble() : 0.0};
}

struct Rule {
  std::string_view name;
  Work work;
};

constexpr std::array kRules{
    Rule{"aten::linear", &linear},
    Rule{"aten::mm", &matrix_product<0, 1>},
    Rule{"aten::bmm", &matrix_product<0, 1>},
    Rule{"aten::addmm", &matrix_product<1, 2>},
    Rule{"aten::baddbmm", &matrix_product<1, 2>},
    Rule{"aten::_addmm_activation", &matrix_product<1, 2>},
    Rule{"aten::_scaled_mm", &scaled_product},
    Rule{"aten::convolution", &convolution},
    Rule{"aten::scaled_dot_product_attention", &attention},
    Rule{"vorta::grouped_attention", &stated},
    Rule{"vorta::coreset_selection", &stated},
    Rule{"vorta::coreset_pool", &stated},
    Rule{"vorta::coreset_unpool", &stated},
    Rule{"vorta::linear", &stated},
    Rule{"vorta::layer_norm", &stated},
    Rule{"vorta::rms_norm", &stated},
    Rule{"vorta::gated_residual", &stated},
    Rule{"vorta::residual_norm", &stated},
};

}  // namespace

ScopeWork operator_work(std::string_view name, const at::RecordFunction& call) {
  for (const Rule& rule : kRules) {
    if (rule.name == name) return rule.work(call.inputs());
  }
  return {};
}

double operator_flops(std::string_view name, const at::RecordFunction& call) { return operator_work(name, call).flops; }

}  // namespace vorta::harness
