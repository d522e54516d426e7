// SPDX-License-Identifier: Apache-2.0
#include "engine/attention/router.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <set>

#include "engine/base/error.h"
#include "engine/base/nearest.h"

namespace vorta::engine {
namespace {

at::Tensor take(const std::map<std::string, at::Tensor>& tensors, const std::string& source, const std::string& key,
                const std::vector<int64_t>& shape) {
  const auto found = tensors.find(key);
  if (found == tensors.end()) {
    throw DataError(source,
                    fmt::format("the routers lack \"{}\" ({} tensors are there); every layer of the model needs "
                                "its router",
                                key, tensors.size()));
  }
  const at::Tensor& tensor = found->second;
  if (tensor.sizes() != at::IntArrayRef(shape)) {
    throw DataError(source, fmt::format("\"{}\" has shape [{}], this model needs [{}]", key,
                                        fmt::join(tensor.sizes(), ", "), fmt::join(shape, ", ")));
  }
  if (!at::isFloatingType(tensor.scalar_type())) {
    throw DataError(source, fmt::format("\"{}\" is {}, expected a floating-point tensor", key,
                                        c10::toString(tensor.scalar_type())));
  }
  if (!at::isfinite(tensor).all().item<bool>()) {
    throw DataError(source, fmt::format("\"{}\" holds values that are not finite", key));
  }
  return tensor;
}

}  // namespace

std::string RouterSize::key(int64_t layer, std::string_view part) const {
  const std::string block = blocks.empty() ? fmt::format("blocks.{}", layer) : blocks.at(static_cast<size_t>(layer));
  return fmt::format("{}.router.linear.{}", block, part);
}

Router::Router(const std::map<std::string, at::Tensor>& tensors, std::string source, const RouterSize& size)
    : size_(size) {
  const int64_t features = kBranches * size.heads;
  std::set<std::string> taken;
  for (int64_t layer = 0; layer < size.layers; ++layer) {
    const std::string weight = size.key(layer, "weight"), bias = size.key(layer, "bias");
    weights_.push_back(take(tensors, source, weight, {features, size.embedding}));
    biases_.push_back(take(tensors, source, bias, {features}));
    if (weights_.back().scalar_type() != biases_.back().scalar_type()) {
      throw DataError(source, fmt::format("\"{}\" and \"{}\" have different dtypes", weight, bias));
    }
    taken.insert(weight);
    taken.insert(bias);
  }
  for (const auto& [key, tensor] : tensors) {
    if (!taken.contains(key)) {
      throw DataError(source, unknown_name_message("router tensor", key, {taken.begin(), taken.end()}));
    }
  }
}

at::Tensor Router::scores(const at::Tensor& embedding, int64_t layer) const {
  VORTA_CHECK(layer >= 0 && layer < size_.layers, "a router for each layer");
  const at::Tensor& weight = weights_[static_cast<size_t>(layer)];
  const at::Tensor input = at::silu(embedding.to(weight.scalar_type()));
  const at::Tensor logits = at::linear(input, weight, biases_[static_cast<size_t>(layer)]);  // [B, 3N]
  return at::softmax(logits.reshape({embedding.size(0), size_.heads, kBranches}), -1);
}

std::map<std::string, at::Tensor> Router::random_weights(const RouterSize& size, at::Generator generator,
                                                         c10::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const double bound = 1.0 / std::sqrt(static_cast<double>(size.embedding));
  const int64_t features = kBranches * size.heads;
  std::map<std::string, at::Tensor> tensors;
  for (int64_t layer = 0; layer < size.layers; ++layer) {
    tensors[size.key(layer, "weight")] =
        at::empty({features, size.embedding}, at::kFloat).uniform_(-bound, bound, generator).to(dtype);
    tensors[size.key(layer, "bias")] = at::empty({features}, at::kFloat).uniform_(-bound, bound, generator).to(dtype);
  }
  return tensors;
}

}  // namespace vorta::engine
