// SPDX-License-Identifier: Apache-2.0
#include "engine/models/dit_layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <cmath>

#include "engine/attention/tile_layout.h"
#include "engine/nn/fp8.h"
#include "engine/nn/layers.h"
#include "engine/weights/lora.h"

namespace vorta::engine {

namespace {

// The parts' side paths as one: their downs below each other, their ups along a diagonal.
void join_side_paths(const std::vector<LinearWeights>& parts, LinearWeights& joint) {
  std::vector<at::Tensor> downs, ups;
  for (const LinearWeights& part : parts) {
    const at::TensorOptions options = part.weight.options();
    downs.push_back(part.down.defined() ? part.down : at::empty({0, part.weight.size(1)}, options));
    ups.push_back(part.up.defined() ? part.up : at::empty({part.weight.size(0), 0}, options));
  }
  joint.down = at::cat(downs);
  if (joint.down.size(0) == 0) joint.down = at::Tensor();
  else joint.up = at::block_diag(ups);
}

}  // namespace

at::Tensor LinearWeights::operator()(const at::Tensor& x) const {
  const at::Tensor y = scales.defined() ? fp8_linear(x, weight, scales, bias) : linear(x, weight, bias);
  return down.defined() ? y + at::linear(at::linear(x, down), up) : y;
}

at::Tensor LinearWeights::gelu(const at::Tensor& x) const {
  return scales.defined() || down.defined() ? at::gelu((*this)(x), "tanh") : linear_gelu(x, weight, bias);
}

LinearWeights take_linear(const WeightReader& reader, std::string_view name, int64_t out, int64_t in) {
  LinearWeights weights{reader.take(fmt::format("{}.weight", name), {out, in}),
                        reader.take(fmt::format("{}.bias", name), {out})};
  const std::string module(name);
  if (!reader.has(module + kLoraRank)) return weights;
  const int64_t rank = reader.take_count(module + kLoraRank);
  weights.down = reader.take(module + kLoraDown, {rank, in});
  weights.up = reader.take(module + kLoraUp, {out, rank});
  return weights;
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
  join_side_paths(parts, joint.parts.front());
  return joint;
}

std::vector<at::Tensor> JointLinear::operator()(const at::Tensor& x) const {
  if (parts.size() == 1) return parts.front()(x).chunk(outputs, -1);
  std::vector<at::Tensor> results;
  results.reserve(parts.size());
  for (const LinearWeights& part : parts) results.push_back(part(x));
  return results;
}

TokenRows::TokenRows(const VideoGrid& grid, const TokenOrder& order, const RopeTable& raster, at::Device device)
    : grid_(grid), order_(order) {
  if (order) {
    const std::vector<int64_t> tokens = row_tokens(grid, order);
    tokens_ = IndexTable(index_tensor(tokens));
    rows_ = IndexTable(index_tensor(inverse_order(tokens)));
  }
  rope_ = rope_on(order ? rope_rows(raster, tokens_.on(at::kCPU)) : raster, device);
}

bool TokenRows::is_for(const VideoGrid& grid, const TokenOrder& order, at::Device device) const {
  return grid == grid_ && order == order_ && rope_.cos64.defined() && rope_.cos64.device() == device;
}

at::Tensor TokenRows::ordered(const at::Tensor& x) const {
  return order_ ? x.index_select(1, tokens_.on(x.device())) : x;
}

at::Tensor TokenRows::raster(const at::Tensor& x) const { return order_ ? x.index_select(1, rows_.on(x.device())) : x; }

at::Tensor patches_of(const at::Tensor& latents, const Size3& patch) {
  const int64_t b = latents.size(0), c = latents.size(1);
  const int64_t t = latents.size(2) / patch[0], h = latents.size(3) / patch[1], w = latents.size(4) / patch[2];
  return latents.reshape({b, c, t, patch[0], h, patch[1], w, patch[2]})
      .permute({0, 2, 4, 6, 1, 3, 5, 7})
      .reshape({b, t * h * w, c * patch[0] * patch[1] * patch[2]});
}

RandomInit::RandomInit(at::Generator generator, const Placement& placement)
    : generator_(std::move(generator)),
      placement_(placement),
      home_(placement.blocks == Residence::kHost ? at::Device(at::kCPU) : placement.device) {}

void RandomInit::affine(const std::string& name, std::vector<int64_t> shape) {
  const auto options = at::TensorOptions().dtype(placement_.dtype).device(placement_.device);
  int64_t fan_in = 1;
  for (size_t i = 1; i < shape.size(); ++i) fan_in *= shape[i];
  const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  tensors_[name + ".weight"] = at::empty(shape, options).uniform_(-bound, bound, generator_).to(home_);
  tensors_[name + ".bias"] = at::empty({shape[0]}, options).uniform_(-bound, bound, generator_).to(home_);
}

void RandomInit::normal(const std::string& name, std::vector<int64_t> shape, double deviation) {
  const auto options = at::TensorOptions().dtype(placement_.dtype).device(placement_.device);
  tensors_[name] = at::empty(shape, options).normal_(0.0, deviation, generator_).to(home_);
}

void RandomInit::constant(const std::string& name, int64_t size, double value) {
  tensors_[name] =
      at::full({size}, value, at::TensorOptions().dtype(placement_.dtype).device(placement_.device)).to(home_);
}

}  // namespace vorta::engine
