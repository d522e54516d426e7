// SPDX-License-Identifier: Apache-2.0
#include "engine/text/activation.h"

#include <ATen/ATen.h>

#include <array>
#include <cmath>

namespace vorta::engine {
namespace {

at::Tensor gelu(const at::Tensor& x) { return at::gelu(x); }
at::Tensor gelu_tanh(const at::Tensor& x) { return at::gelu(x, "tanh"); }
at::Tensor quick_gelu(const at::Tensor& x) { return x * at::sigmoid(1.702 * x); }
at::Tensor relu(const at::Tensor& x) { return at::relu(x); }
at::Tensor silu(const at::Tensor& x) { return at::silu(x); }

// One rounding per operation, as transformers evaluates it.
at::Tensor gelu_new(const at::Tensor& x) {
  const double scale = std::sqrt(2.0 / M_PI);
  return 0.5 * x * (1.0 + at::tanh(scale * (x + 0.044715 * at::pow(x, 3.0))));
}

struct ActivationRow {
  std::string_view name;
  Activation function;
};

constexpr std::array kActivations{
    ActivationRow{"gelu", gelu},
    ActivationRow{"gelu_new", gelu_new},
    ActivationRow{"gelu_pytorch_tanh", gelu_tanh},
    ActivationRow{"quick_gelu", quick_gelu},
    ActivationRow{"relu", relu},
    ActivationRow{"silu", silu},
    ActivationRow{"swish", silu},
};

}  // namespace

Activation find_activation(std::string_view name) {
  for (const auto& row : kActivations) {
    if (row.name == name) return row.function;
  }
  return nullptr;
}

std::string activation_names() {
  std::string names;
  for (const auto& row : kActivations) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

}  // namespace vorta::engine
