// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <utility>

#include "engine/nn/layers.h"

namespace vorta::engine {

/// A hidden state [B, L, M] to which a part's output may still be due: the sum waits for the norm that reads it, since
/// a kernel makes both in one pass.
class Residual {
 public:
  explicit Residual(at::Tensor value) : value_(std::move(value)) {}

  /// Everything that is due included.
  const at::Tensor& value() {
    if (due_.defined()) value_ = gated_residual(value_, std::exchange(due_, at::Tensor()), gate_);
    return value_;
  }
  /// + y * gate; y [B, L, M], gate fp32 [B, 1, M] or [M].
  void add(at::Tensor y, at::Tensor gate) {
    value();
    due_ = std::move(y);
    gate_ = std::move(gate);
  }
  /// One sample becomes `count` equal ones; nothing where there are as many already.
  void repeat(int64_t count) {
    if (value_.size(0) != count) value_ = value().repeat({count, 1, 1});
  }
  at::Tensor modulated_norm(const at::Tensor& shift, const at::Tensor& scale, double eps) {
    if (!due_.defined()) return modulated_layer_norm(value_, shift, scale, eps);
    return take(residual_modulated_norm(value_, due_, gate_, shift, scale, eps));
  }
  at::Tensor affine_norm(const at::Tensor& weight, const at::Tensor& bias, double eps) {
    if (!due_.defined()) return affine_layer_norm(value_, weight, bias, eps);
    return take(residual_affine_norm(value_, due_, gate_, weight, bias, eps));
  }

 private:
  at::Tensor take(NormedResidual both) {
    value_ = std::move(both.sum);
    due_ = at::Tensor();
    return std::move(both.normed);
  }

  at::Tensor value_, due_, gate_;
};

}  // namespace vorta::engine
