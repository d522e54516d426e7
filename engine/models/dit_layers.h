// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "engine/attention/geometry.h"
#include "engine/weights/placement.h"
#include "engine/weights/tensor_map.h"
#include "engine/weights/weight_reader.h"

namespace vorta::engine {

// What the transformers share; private to this folder.

struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]
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

/// latents [B, C, T, H, W] -> patches [B, L, C*p_t*p_h*p_w] of the token grid in raster order: a convolution whose stride
/// is its kernel is one matrix product with these.
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
  TensorMap tensors_;
};

}  // namespace vorta::engine
