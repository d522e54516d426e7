// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/weights/tensor_map.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {

/// Where a scorer's network gets its tensors, so that its architecture is written once: from weights that are there, or
/// made at random for training.
class ParameterSource {
 public:
  explicit ParameterSource(WeightReader weights) : weights_(std::move(weights)) {}
  /// Every tensor that is asked for is drawn from `generator`, float32 on the CPU, and added to `made`.
  ParameterSource(TensorMap& made, at::Generator generator) : made_(&made), generator_(std::move(generator)) {}

  ParameterSource scope(std::string_view name) const;
  ParameterSource scope(std::string_view name, int64_t index) const;

  /// Normal, of deviation gain / sqrt(product of all sizes but the first). @throws DataError as WeightReader::take.
  at::Tensor normal(std::string_view name, at::IntArrayRef shape, double gain = 1) const;
  at::Tensor constant(std::string_view name, at::IntArrayRef shape, double value) const;

 private:
  at::Tensor add(std::string_view name, at::Tensor tensor) const;

  std::optional<WeightReader> weights_;
  TensorMap* made_ = nullptr;
  at::Generator generator_;
  std::string prefix_;
};

/// A convolution over images [B, I, Y, X] that pads by half its kernel.
struct ScorerConv {
  ScorerConv(const ParameterSource& source, std::string_view name, at::IntArrayRef shape, int64_t stride = 1,
             double gain = 1);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight, bias;
  int64_t stride;
};

/// A linear layer over the last axis.
struct ScorerLinear {
  ScorerLinear(const ParameterSource& source, std::string_view name, int64_t out, int64_t in, double gain = 1);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor weight, bias;
};

/// x + conv(silu(norm(conv(silu(norm(x)))))), norms over eight groups of channels.
struct ScorerResidual {
  ScorerResidual(const ParameterSource& source, int64_t channels);
  at::Tensor operator()(const at::Tensor& x) const;

  at::Tensor scale[2], shift[2];
  ScorerConv first, second;
};

/// A pre-norm transformer block over tokens [B, L, D]; heads are 32 wide.
struct ScorerBlock {
  ScorerBlock(const ParameterSource& source, int64_t width);
  /// mask: additive, broadcastable to [B, N, L, L], or undefined.
  at::Tensor operator()(const at::Tensor& x, const at::Tensor& mask) const;

  at::Tensor norm[2][2];  // scale and shift before attention and before the feed-forward
  ScorerLinear qkv, out, up, down;
};

}  // namespace vorta::engine
