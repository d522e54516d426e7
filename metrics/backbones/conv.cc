// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/conv.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/replication_pad2d.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

namespace vorta::metrics {
namespace {

constexpr double kConvNormEps = 1e-5;

}  // namespace

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  const int64_t padding[] = {weight.size(2) / 2, weight.size(3) / 2};
  return at::conv2d(x.contiguous(kChannelsLast), weight, bias, {stride, stride}, padding);
}

Conv2d take_conv(const engine::WeightReader& weights, std::string_view name, at::IntArrayRef shape, int64_t stride) {
  const engine::WeightReader layer = weights.scope(name);
  return {layer.take("weight", shape).contiguous(kChannelsLast), layer.take("bias", {shape[0]}), stride};
}

Conv2d fold_batch_norm(Conv2d conv, const engine::WeightReader& weights, std::string_view name) {
  const engine::WeightReader norm = weights.scope(name);
  const int64_t channels = conv.weight.size(0);
  const auto take = [&](std::string_view key) { return norm.take(key, {channels}).to(at::kDouble); };
  norm.ignore("num_batches_tracked");
  const at::Tensor scale = take("weight") / (take("running_var") + kConvNormEps).sqrt();
  const at::Tensor shift = take("bias") - take("running_mean") * scale;
  const at::Tensor bias = conv.bias.defined() ? conv.bias.to(at::kDouble) : at::zeros_like(shift);
  const auto type = conv.weight.scalar_type();
  conv.bias = (bias * scale + shift).to(type);
  conv.weight = (conv.weight.to(at::kDouble) * scale.view({-1, 1, 1, 1})).to(type).contiguous(kChannelsLast);
  return conv;
}

at::Tensor instance_norm(const at::Tensor& x) { return at::group_norm(x, x.size(1), {}, {}, kConvNormEps); }

at::Tensor prelu_(at::Tensor x, const at::Tensor& slope) {
  if (!x.is_cpu() || !x.is_contiguous(kChannelsLast)) {
    return x.copy_(at::where(x < 0, x * slope.view({1, -1, 1, 1}), x));
  }
  const int64_t channels = x.size(1);
  constexpr int64_t kGrain = 1 << 15;
  float* values = x.data_ptr<float>();
  const float* factors = slope.const_data_ptr<float>();
  at::parallel_for(0, x.numel() / channels, kGrain / channels, [=](int64_t begin, int64_t end) {
    for (float* pixel = values + begin * channels; pixel < values + end * channels; pixel += channels) {
      for (int64_t c = 0; c < channels; ++c) pixel[c] *= pixel[c] < 0 ? factors[c] : 1.0F;
    }
  });
  return x;
}

at::Tensor pad_to_multiple(const at::Tensor& x, int64_t divisor) {
  const int64_t y = (divisor - x.size(2) % divisor) % divisor;
  const int64_t z = (divisor - x.size(3) % divisor) % divisor;
  if (y == 0 && z == 0) return x;
  return at::replication_pad2d(x, {z / 2, z - z / 2, y / 2, y - y / 2});
}

}  // namespace vorta::metrics
