// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/operator_flops.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include <array>

namespace vorta::harness {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;
using Flops = double (*)(Inputs inputs);

bool tensors(Inputs inputs, std::initializer_list<size_t> which) {
  for (size_t i : which) {
    if (i >= inputs.size() || !inputs[i].isTensor() || !inputs[i].toTensor().defined()) return false;
  }
  return true;
}

// `left` [.., M, K] times `right` [.., K, N]: 2 M K N for each matrix of `left`.
double product(const at::Tensor& left, const at::Tensor& right) {
  return 2.0 * static_cast<double>(left.numel()) * static_cast<double>(right.size(-1));
}

template <size_t kLeft, size_t kRight>
double matrix_product(Inputs inputs) {
  return tensors(inputs, {kLeft, kRight}) ? product(inputs[kLeft].toTensor(), inputs[kRight].toTensor()) : 0.0;
}

// at::linear(x [.., K], weight [N, K])
double linear(Inputs inputs) {
  if (!tensors(inputs, {0, 1})) return 0.0;
  return 2.0 * static_cast<double>(inputs[0].toTensor().numel()) * static_cast<double>(inputs[1].toTensor().size(0));
}

// convolution(x [B, C, spatial..], weight [O, C / groups, kernel..], bias, stride, padding, dilation, ...), not transposed
double convolution(Inputs inputs) {
  if (!tensors(inputs, {0, 1}) || inputs.size() < 6) return 0.0;
  const at::Tensor& x = inputs[0].toTensor();
  const at::Tensor& weight = inputs[1].toTensor();
  if (!inputs[3].isIntList() || !inputs[4].isIntList() || !inputs[5].isIntList()) return 0.0;
  const auto stride = inputs[3].toIntVector(), padding = inputs[4].toIntVector(), dilation = inputs[5].toIntVector();
  double outputs = static_cast<double>(x.size(0));
  for (int64_t axis = 2; axis < weight.dim(); ++axis) {
    const auto at_axis = [axis](const std::vector<int64_t>& list) { return list[list.size() == 1 ? 0 : static_cast<size_t>(axis - 2)]; };
    const int64_t span = at_axis(dilation) * (weight.size(axis) - 1) + 1;
    outputs *= static_cast<double>((x.size(axis) + 2 * at_axis(padding) - span) / at_axis(stride) + 1);
  }
  return 2.0 * outputs * static_cast<double>(weight.numel());
}

// q [B, N, Lq, D], k [B, N, Lk, D]
double attention(Inputs inputs) {
  if (!tensors(inputs, {0, 1})) return 0.0;
  return 4.0 * static_cast<double>(inputs[0].toTensor().numel()) * static_cast<double>(inputs[1].toTensor().size(-2));
}

// The engine's own kernels say how much they will do: their inputs are {flops}.
double stated(Inputs inputs) { return inputs.size() == 1 && inputs[0].isDouble() ? inputs[0].toDouble() : 0.0; }

struct Rule {
  std::string_view name;
  Flops flops;
};

constexpr std::array kRules{
    Rule{"aten::linear", &linear},
    Rule{"aten::mm", &matrix_product<0, 1>},
    Rule{"aten::bmm", &matrix_product<0, 1>},
    Rule{"aten::addmm", &matrix_product<1, 2>},
    Rule{"aten::baddbmm", &matrix_product<1, 2>},
    Rule{"aten::convolution", &convolution},
    Rule{"aten::scaled_dot_product_attention", &attention},
    Rule{"vorta::grouped_attention", &stated},
    Rule{"vorta::coreset_selection", &stated},
    Rule{"vorta::linear", &stated},
};

}  // namespace

double operator_flops(std::string_view name, const at::RecordFunction& call) {
  for (const Rule& rule : kRules) {
    if (rule.name == name) return rule.flops(call.inputs());
  }
  return 0.0;
}

}  // namespace vorta::harness
