// SPDX-License-Identifier: Apache-2.0
#include "engine/scorers/parameters.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

namespace vorta::engine {
namespace {

constexpr int64_t kGroups = 8;
constexpr int64_t kHeadWidth = 32;
constexpr double kNormEps = 1e-5;

double inputs_of(at::IntArrayRef shape) {
  double inputs = 1;
  for (size_t axis = 1; axis < shape.size(); ++axis) inputs *= static_cast<double>(shape[axis]);
  return inputs;
}

}  // namespace

ParameterSource ParameterSource::scope(std::string_view name) const {
  ParameterSource inner = *this;
  if (weights_) inner.weights_ = weights_->scope(name);
  inner.prefix_ += std::string(name) + ".";
  return inner;
}

ParameterSource ParameterSource::scope(std::string_view name, int64_t index) const {
  return scope(fmt::format("{}.{}", name, index));
}

at::Tensor ParameterSource::add(std::string_view name, at::Tensor tensor) const {
  return made_->insert_or_assign(prefix_ + std::string(name), std::move(tensor)).first->second;
}

at::Tensor ParameterSource::normal(std::string_view name, at::IntArrayRef shape, double gain) const {
  if (weights_) return weights_->take(name, shape);
  return add(name, at::randn(shape, generator_, at::TensorOptions(at::kFloat)) * (gain / std::sqrt(inputs_of(shape))));
}

at::Tensor ParameterSource::constant(std::string_view name, at::IntArrayRef shape, double value) const {
  if (weights_) return weights_->take(name, shape);
  return add(name, at::full(shape, value, at::kFloat));
}

ScorerConv::ScorerConv(const ParameterSource& source, std::string_view name, at::IntArrayRef shape, int64_t step,
                       double gain)
    : weight(source.scope(name).normal("weight", shape, gain).contiguous(at::MemoryFormat::ChannelsLast)),
      bias(source.scope(name).constant("bias", {shape[0]}, 0)),
      stride(step) {}

at::Tensor ScorerConv::operator()(const at::Tensor& x) const {
  const int64_t steps[] = {stride, stride}, padding[] = {weight.size(2) / 2, weight.size(3) / 2};
  return at::conv2d(x, weight, bias, steps, padding);
}

ScorerLinear::ScorerLinear(const ParameterSource& source, std::string_view name, int64_t out, int64_t in, double gain)
    : weight(source.scope(name).normal("weight", {out, in}, gain)),
      bias(source.scope(name).constant("bias", {out}, 0)) {}

at::Tensor ScorerLinear::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

ScorerResidual::ScorerResidual(const ParameterSource& source, int64_t channels)
    : first(source, "first", {channels, channels, 3, 3}), second(source, "second", {channels, channels, 3, 3}, 1, 0.1) {
  for (int i = 0; i < 2; ++i) {
    scale[i] = source.scope("norm", i).constant("weight", {channels}, 1);
    shift[i] = source.scope("norm", i).constant("bias", {channels}, 0);
  }
}

at::Tensor ScorerResidual::operator()(const at::Tensor& x) const {
  const at::Tensor middle = first(at::silu(at::group_norm(x, kGroups, scale[0], shift[0], kNormEps)));
  return x + second(at::silu(at::group_norm(middle, kGroups, scale[1], shift[1], kNormEps)));
}

ScorerBlock::ScorerBlock(const ParameterSource& source, int64_t width)
    : qkv(source, "qkv", 3 * width, width),
      out(source, "out", width, width, 0.3),
      up(source, "up", 4 * width, width),
      down(source, "down", width, 4 * width, 0.3) {
  for (int i = 0; i < 2; ++i) {
    norm[i][0] = source.scope("norm", i).constant("weight", {width}, 1);
    norm[i][1] = source.scope("norm", i).constant("bias", {width}, 0);
  }
}

at::Tensor ScorerBlock::operator()(const at::Tensor& x, const at::Tensor& mask) const {
  const int64_t batch = x.size(0), length = x.size(1), width = x.size(2);
  const auto normed = [&](const at::Tensor& tokens, int i) {
    return at::layer_norm(tokens, {width}, norm[i][0], norm[i][1], kNormEps);
  };
  const at::Tensor parts =
      qkv(normed(x, 0)).view({batch, length, 3, width / kHeadWidth, kHeadWidth}).permute({2, 0, 3, 1, 4});
  const auto masked = mask.defined() ? std::optional<at::Tensor>(mask.to(x.scalar_type())) : std::nullopt;
  const at::Tensor seen = at::scaled_dot_product_attention(parts[0], parts[1], parts[2], masked);
  const at::Tensor attended = x + out(seen.transpose(1, 2).reshape({batch, length, width}));
  return attended + down(at::gelu(up(normed(attended, 1))));
}

}  // namespace vorta::engine
