// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear/linear.h"

#include <cmath>
#include <numbers>

namespace vorta::kernels {
namespace {

float rounded(float value) { return to_float(to_bfloat16(value)); }

float gelu_tanh(float x) {
  const float inner = std::sqrt(2.0f / std::numbers::pi_v<float>) * (x + 0.044715f * x * x * x);
  return 0.5f * x * (1.0f + std::tanh(inner));
}

}  // namespace

void linear_reference(const LinearArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    for (int64_t o = 0; o < args.out; ++o) {
      double sum = args.bias == nullptr ? 0.0 : to_float(args.bias[o]);
      for (int64_t i = 0; i < args.in; ++i) {
        sum += static_cast<double>(to_float(args.x[row * args.x_stride + i])) * to_float(args.weight[o * args.in + i]);
      }
      const float value = rounded(static_cast<float>(sum));
      const bool gelu = args.activation == Activation::kGeluTanh;
      args.y[row * args.y_stride + o] = to_bfloat16(gelu ? gelu_tanh(value) : value);
    }
  }
}

}  // namespace vorta::kernels
