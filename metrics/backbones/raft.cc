// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/raft.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "engine/base/error.h"
#include "metrics/backbones/correlation.h"
#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kRaftLevels = 4;
constexpr int64_t kRaftRadius = 4;
constexpr int64_t kCorrelationWindow = kRaftLevels * (2 * kRaftRadius + 1) * (2 * kRaftRadius + 1);
constexpr int64_t kHidden = 128;

}  // namespace

Conv2d RaftEncoder::take(const engine::WeightReader& weights, std::string_view conv, std::string_view norm,
                         at::IntArrayRef shape, int64_t stride) const {
  Conv2d layer = take_conv(weights, conv, shape, stride);
  return norm_ == Norm::kBatch ? fold_batch_norm(std::move(layer), weights, norm) : layer;
}

RaftEncoder::RaftEncoder(const engine::WeightReader& weights, Norm norm) : norm_(norm) {
  stem_ = take(weights, "conv1", "norm1", {64, 3, 7, 7}, 2);
  int64_t channels = 64;
  int64_t stage = 1;
  for (const int64_t width : {64, 96, 128}) {
    for (int64_t b = 0; b < 2; ++b) {
      const engine::WeightReader block = weights.scope(fmt::format("layer{}", stage), b);
      const int64_t stride = width != channels ? 2 : 1;
      Block layers{take(block, "conv1", "norm1", {width, channels, 3, 3}, stride),
                   take(block, "conv2", "norm2", {width, width, 3, 3}),
                   {}};
      if (stride == 2) {
        layers.shortcut = take(block, "downsample.0", "downsample.1", {width, channels, 1, 1}, stride);
        block.ignore("norm3");  // a second name of downsample.1
      }
      blocks_.push_back(std::move(layers));
      channels = width;
    }
    ++stage;
  }
  head_ = take_conv(weights, "conv2", {2 * kHidden, 128, 1, 1});
}

at::Tensor RaftEncoder::normed(at::Tensor x) const { return norm_ == Norm::kInstance ? instance_norm(x) : x; }

at::Tensor RaftEncoder::forward(const at::Tensor& image) const {
  at::Tensor x = normed(stem_(image)).relu_();
  for (const Block& block : blocks_) {
    const at::Tensor y = normed(block.second(normed(block.first(x)).relu_())).relu_();
    const at::Tensor kept = block.shortcut.weight.defined() ? normed(block.shortcut(x)) : x;
    x = (kept + y).relu_();
  }
  return head_(x);
}

Raft::Raft(const engine::WeightReader& weights) {
  encoders_.emplace_back(weights.scope("fnet"), RaftEncoder::Norm::kInstance);
  encoders_.emplace_back(weights.scope("cnet"), RaftEncoder::Norm::kBatch);
  const engine::WeightReader block = weights.scope("update_block");
  correlation1_ = take_conv(block, "encoder.convc1", {256, kCorrelationWindow, 1, 1});
  correlation2_ = take_conv(block, "encoder.convc2", {192, 256, 3, 3});
  flow1_ = take_conv(block, "encoder.convf1", {128, 2, 7, 7});
  flow2_ = take_conv(block, "encoder.convf2", {64, 128, 3, 3});
  motion_ = take_conv(block, "encoder.conv", {kHidden - 2, 256, 3, 3});
  horizontal_ = take_gru(block.scope("gru"), "1", {1, 5});
  vertical_ = take_gru(block.scope("gru"), "2", {5, 1});
  head1_ = take_conv(block, "flow_head.conv1", {256, kHidden, 3, 3});
  head2_ = take_conv(block, "flow_head.conv2", {2, 256, 3, 3});
  mask1_ = take_conv(block, "mask.0", {256, kHidden, 3, 3});
  mask2_ = take_conv(block, "mask.2", {576, 256, 1, 1});
  weights.finish();
}

Raft::Gru Raft::take_gru(const engine::WeightReader& weights, std::string_view suffix, at::IntArrayRef kernel) {
  // The input of every gate is [hidden | context | motion], 128 channels each.
  const auto conv = [&](std::string_view gate) {
    return take_conv(weights, fmt::format("conv{}{}", gate, suffix), {kHidden, 3 * kHidden, kernel[0], kernel[1]});
  };
  const Conv2d z = conv("z"), r = conv("r"), q = conv("q");
  const auto of_state = [](const Conv2d& gate) {
    return at::cat({gate.weight.narrow(1, 0, kHidden), gate.weight.narrow(1, 2 * kHidden, kHidden)}, 1);
  };
  const auto of_context = [](const Conv2d& gate) { return gate.weight.narrow(1, kHidden, kHidden); };
  return {.gates = {at::cat({of_state(z), of_state(r)}).contiguous(kChannelsLast), {}},
          .update = {of_state(q).contiguous(kChannelsLast), {}},
          .context = {at::cat({of_context(z), of_context(r), of_context(q)}).contiguous(kChannelsLast),
                      at::cat({z.bias, r.bias, q.bias})}};
}

Raft::Image Raft::encode(const at::Tensor& frame) const {
  constexpr int64_t kStride = 8, kLeast = kStride << kRaftLevels;
  const bool fits = frame.dim() == 4 && frame.size(0) == 1 && frame.size(1) == 3 && frame.size(2) % kStride == 0 &&
                    frame.size(3) % kStride == 0 && frame.size(2) >= kLeast && frame.size(3) >= kLeast;
  VORTA_CHECK(fits, "raft: expected one frame [1, 3, Y, X], sides multiples of 8 and at least 128");
  const at::Tensor image = (2 * (frame.to(head2_.weight.device(), at::kFloat) / 255.0) - 1.0).contiguous(kChannelsLast);
  const at::Tensor context = encoders_[1].forward(image);
  return {encoders_[0].forward(image), context.narrow(1, 0, kHidden).tanh(),
          context.narrow(1, kHidden, kHidden).relu()};
}

at::Tensor Raft::motion(const at::Tensor& flow, const at::Tensor& correlation) const {
  const at::Tensor seen = correlation2_(correlation1_(correlation).relu_()).relu_();
  const at::Tensor moved = flow2_(flow1_(flow).relu_()).relu_();
  return at::cat({motion_(at::cat({seen, moved}, 1)).relu_(), flow}, 1);
}

at::Tensor Raft::step(const Gru& gru, const at::Tensor& hidden, const at::Tensor& motion, const at::Tensor& context) {
  at::Tensor gates = gru.gates(at::cat({hidden, motion}, 1));
  gates.add_(context.narrow(1, 0, 2 * kHidden)).sigmoid_();
  const at::Tensor reset = gates.narrow(1, kHidden, kHidden) * hidden;
  at::Tensor q = gru.update(at::cat({reset, motion}, 1));
  q.add_(context.narrow(1, 2 * kHidden, kHidden)).tanh_();
  return at::lerp(hidden, q, gates.narrow(1, 0, kHidden));
}

at::Tensor Raft::upsample(const at::Tensor& flow, const at::Tensor& hidden) const {
  const int64_t h = flow.size(2), w = flow.size(3);
  const at::Tensor logits = 0.25 * mask2_(mask1_(hidden).relu_());
  const at::Tensor weights = logits.contiguous().view({1, 9, 8, 8, h, w}).softmax(1);
  const at::Tensor around = at::im2col((8 * flow).contiguous(), {3, 3}, {1, 1}, {1, 1}, {1, 1});
  const at::Tensor fine = (weights * around.view({2, 9, 1, 1, h, w})).sum(1);  // [2, 8, 8, H, W]
  return fine.permute({0, 3, 1, 4, 2}).reshape({1, 2, 8 * h, 8 * w});
}

at::Tensor Raft::flow(const Image& first, const Image& second, int64_t iterations) const {
  const CorrelationPyramid pyramid(first.match, second.match, kRaftLevels);
  const at::Tensor start = pixel_coords(first.match.size(2), first.match.size(3), first.match.device());
  const at::Tensor horizontal = horizontal_.context(first.context);
  const at::Tensor vertical = vertical_.context(first.context);
  at::Tensor hidden = first.hidden;
  at::Tensor coords = start;
  for (int64_t i = 0; i < iterations; ++i) {
    const at::Tensor moved = motion(coords - start, pyramid.lookup(coords, kRaftRadius));
    hidden = step(horizontal_, hidden, moved, horizontal);
    hidden = step(vertical_, hidden, moved, vertical);
    coords = coords + head2_(head1_(hidden).relu_());
  }
  return upsample(coords - start, hidden);
}

}  // namespace vorta::metrics
