// SPDX-License-Identifier: Apache-2.0
#include "engine/models/dit_layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "engine/nn/layers.h"

namespace vorta::engine {

at::Tensor LinearWeights::operator()(const at::Tensor& x) const { return linear(x, weight, bias); }
at::Tensor LinearWeights::gelu(const at::Tensor& x) const { return linear_gelu(x, weight, bias); }

LinearWeights take_linear(const WeightReader& reader, std::string_view name, int64_t out, int64_t in) {
  return {reader.take(fmt::format("{}.weight", name), {out, in}), reader.take(fmt::format("{}.bias", name), {out})};
}

std::vector<at::Tensor> JointLinear::operator()(const at::Tensor& x) const {
  if (parts.size() == 1) return parts.front()(x).chunk(outputs, -1);
  std::vector<at::Tensor> results;
  results.reserve(parts.size());
  for (const LinearWeights& part : parts) results.push_back(part(x));
  return results;
}

JointLinear join(std::vector<LinearWeights> parts) {
  JointLinear joint{{}, static_cast<int64_t>(parts.size())};
  if (at::GradMode::is_enabled()) {  // a trainer updates these very tensors
    joint.parts = std::move(parts);
    return joint;
  }
  std::vector<at::Tensor> weights, biases;
  for (const LinearWeights& part : parts) {
    weights.push_back(part.weight);
    biases.push_back(part.bias);
  }
  joint.parts.push_back({at::cat(weights), at::cat(biases)});
  return joint;
}

at::Tensor patches_of(const at::Tensor& latents, const Size3& patch) {
  const int64_t b = latents.size(0), c = latents.size(1);
  const int64_t t = latents.size(2) / patch[0], h = latents.size(3) / patch[1], w = latents.size(4) / patch[2];
  return latents.reshape({b, c, t, patch[0], h, patch[1], w, patch[2]})
      .permute({0, 2, 4, 6, 1, 3, 5, 7})
      .reshape({b, t * h * w, c * patch[0] * patch[1] * patch[2]});
}

RandomInit::RandomInit(at::Generator generator, const Placement& placement)
    : generator_(std::move(generator)), placement_(placement) {}

void RandomInit::affine(const std::string& name, std::vector<int64_t> shape) {
  const auto options = at::TensorOptions().dtype(placement_.dtype).device(placement_.device);
  int64_t fan_in = 1;
  for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
  const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  tensors_[name + ".weight"] = at::empty(shape, options).uniform_(-bound, bound, generator_);
  tensors_[name + ".bias"] = at::empty({shape[0]}, options).uniform_(-bound, bound, generator_);
}

void RandomInit::normal(const std::string& name, std::vector<int64_t> shape, double deviation) {
  const auto options = at::TensorOptions().dtype(placement_.dtype).device(placement_.device);
  tensors_[name] = at::empty(shape, options).normal_(0.0, deviation, generator_);
}

void RandomInit::constant(const std::string& name, int64_t size, double value) {
  tensors_[name] = at::full({size}, value, at::TensorOptions().dtype(placement_.dtype).device(placement_.device));
}

}  // namespace vorta::engine
