// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "engine/attention/geometry.h"
#include "engine/nn/rope.h"
#include "engine/nn/rows.h"
#include "engine/weights/placement.h"
#include "engine/weights/tensor_map.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {

// What the transformers share; private to this folder.

struct LinearWeights {
  at::Tensor weight;  // [out, in]; float8_e4m3fn where there are scales
  at::Tensor bias;    // [out]
  at::Tensor scales = {};  // [out, 1] fp32: weight row r stands for weight[r] * scales[r]; undefined: for itself
  at::Tensor down = {}, up = {};  // [rank, in], [out, rank]: a side path that is added; undefined: none
  at::Tensor operator()(const at::Tensor& x) const;
  at::Tensor gelu(const at::Tensor& x) const;  // GELU, tanh form, of the product
};
LinearWeights take_linear(const WeightReader& reader, std::string_view name, int64_t out, int64_t in);

/// Projections that read the same input. Fused into one product without gradients, separate handles otherwise.
struct JointLinear {
  std::vector<LinearWeights> parts;  // one fused part, or one an output
  int64_t outputs = 0;
  /// x [.., in] -> `outputs` tensors [.., out].
  std::vector<at::Tensor> operator()(const at::Tensor& x) const;
};
JointLinear join(std::vector<LinearWeights> parts);

/// The grid of a forward and in which order its video tokens lie, with their rotations.
class TokenRows {
 public:
  TokenRows() = default;
  /// `raster`: the table of the grid's tokens in raster order, on the CPU.
  TokenRows(const VideoGrid& grid, const TokenOrder& order, const RopeTable& raster, at::Device device);
  bool is_for(const VideoGrid& grid, const TokenOrder& order, at::Device device) const;
  const RopeTable& rope() const { return rope_; }
  /// x [B, L, ..] in raster order -> in this one, and back.
  at::Tensor ordered(const at::Tensor& x) const;
  at::Tensor raster(const at::Tensor& x) const;

 private:
  VideoGrid grid_;
  TokenOrder order_;
  IndexTable tokens_, rows_;  // rows to raster tokens and back; undefined in raster order
  RopeTable rope_;
};

/// latents [B, C, T, H, W] -> patches [B, L, C*p_t*p_h*p_w] of the token grid in raster order: a convolution whose
/// stride is its kernel is one matrix product with these.
at::Tensor patches_of(const at::Tensor& latents, const Size3& patch);

/// Parameters with PyTorch's default initialisation, where `placement` says.
class RandomInit {
 public:
  RandomInit(at::Generator generator, const Placement& placement);
  void affine(const std::string& name, std::vector<int64_t> shape);  // weight [out, in, ..] and bias
  void normal(const std::string& name, std::vector<int64_t> shape, double deviation);
  void constant(const std::string& name, int64_t size, double value);
  TensorMap finish() { return std::move(tensors_); }

 private:
  at::Generator generator_;
  Placement placement_;
  at::Device home_;  // where tensors wait until the model takes them: a device has no room for all blocks that stream
  TensorMap tensors_;
};

}  // namespace vorta::engine
