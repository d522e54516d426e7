// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string_view>

#include "engine/weights/weight_reader.h"

namespace vorta::metrics {

// Pieces that the convolutional backbones share. Images are [B, C, Y, X] whose memory is channels-last: oneDNN's fp32
// kernels run up to twice as fast on it, and a pixel's channels are neighbours for the loops over pixels.

inline constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

/// A convolution that keeps the size (odd kernel, padding kernel / 2), or divides it by `stride`.
struct Conv2d {
  at::Tensor weight;  // [O, I, kY, kX], channels-last
  at::Tensor bias;    // [O] or undefined
  int64_t stride = 1;

  at::Tensor operator()(const at::Tensor& x) const;  // [B, I, Y, X] -> [B, O, Y / stride, X / stride]
};

/// Takes "<name>.weight" of `shape` [O, I, kY, kX] and "<name>.bias" [O].
/// @throws DataError as WeightReader::take.
Conv2d take_conv(const engine::WeightReader& weights, std::string_view name, at::IntArrayRef shape, int64_t stride = 1);

/// Takes the BatchNorm2d (eps 1e-5) called `name` and returns `conv` followed by it as one convolution.
Conv2d fold_batch_norm(Conv2d conv, const engine::WeightReader& weights, std::string_view name);

/// Every channel of every image to mean 0 and variance 1 over its pixels, eps 1e-5; no weights.
at::Tensor instance_norm(const at::Tensor& x);

/// PReLU in place: x [B, C, Y, X] where negative, times slope [C]. Returns x.
at::Tensor prelu_(at::Tensor x, const at::Tensor& slope);

/// x with replicated borders so that both sides are multiples of `divisor`; the left and the top get the smaller half.
at::Tensor pad_to_multiple(const at::Tensor& x, int64_t divisor);

}  // namespace vorta::metrics
