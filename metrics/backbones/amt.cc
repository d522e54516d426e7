// SPDX-License-Identifier: Apache-2.0
#include "metrics/backbones/amt.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <array>

#include "engine/base/error.h"
#include "metrics/backbones/correlation.h"
#include "metrics/backbones/warp.h"
#include "metrics/backbones/conv.h"

namespace vorta::metrics {
namespace {

constexpr int64_t kLevels = 4;
constexpr int64_t kRadius = 3;
constexpr int64_t kWindows = 2 * kLevels * (2 * kRadius + 1) * (2 * kRadius + 1);  // of both directions
constexpr int64_t kFlows = 3;
constexpr int64_t kTailSide = 20;
constexpr int64_t kMatch = 84;
constexpr std::array<int64_t, 4> kChannels{20, 32, 44, 56};  // of the context pyramid, finest first
constexpr double kLeak = 0.1;
constexpr double kMiddle = 0.5;  // the time of the predicted frame

at::Tensor resized(const at::Tensor& x, int64_t height, int64_t width) {
  if (x.size(2) == height && x.size(3) == width) return x;
  return at::upsample_bilinear2d(x, {height, width}, /*align_corners=*/false);
}

at::Tensor doubled(const at::Tensor& x) { return resized(x, 2 * x.size(2), 2 * x.size(3)); }

at::Tensor leaky(at::Tensor x) { return at::leaky_relu_(x, kLeak); }

// Image `i` of a batch of two.
at::Tensor one(const at::Tensor& images, int64_t i) { return images.narrow(0, i, 1); }

}  // namespace

at::Tensor Amt::Activated::operator()(const at::Tensor& x) const { return prelu_(conv(x), slope); }

Amt::Activated Amt::take_activated(const engine::WeightReader& weights, std::string_view name, at::IntArrayRef shape,
                                   int64_t stride) {
  const engine::WeightReader layer = weights.scope(name);
  return {take_conv(layer, "0", shape, stride), layer.take("1.weight", {shape[0]})};
}

Amt::Decoder Amt::take_decoder(const engine::WeightReader& weights, int64_t in, int64_t width, int64_t out) {
  const engine::WeightReader block = weights.scope("convblock"), residual = block.scope("1");
  const std::array<int64_t, 4> whole{width, width, 3, 3}, side{kTailSide, kTailSide, 3, 3};
  return {.enter = take_activated(block, "0", {width, in, 3, 3}),
          .first = take_activated(residual, "conv1", whole),
          .side1 = take_activated(residual, "conv2", side),
          .second = take_activated(residual, "conv3", whole),
          .side2 = take_activated(residual, "conv4", side),
          .last = take_conv(residual, "conv5", whole),
          .slope = residual.take("prelu.weight", {width}),
          .up_weight = block.take("2.weight", {width, out, 4, 4}).contiguous(kChannelsLast),
          .up_bias = block.take("2.bias", {out})};
}

Amt::Update Amt::take_update(const engine::WeightReader& weights, int64_t channels, int64_t scale) {
  constexpr int64_t kHidden = 76, kJoined = 68, kCorrelation = 64, kFlow = 20;
  return {.correlation = take_conv(weights, "convc1", {kCorrelation, kWindows, 1, 1}),
          .flow1 = take_conv(weights, "convf1", {2 * kFlow, 4, 7, 7}),
          .flow2 = take_conv(weights, "convf2", {kFlow, 2 * kFlow, 3, 3}),
          .join = take_conv(weights, "conv", {kJoined, kCorrelation + kFlow, 3, 3}),
          .gru1 = take_conv(weights, "gru.0", {kHidden, kJoined + 4 + channels, 3, 3}),
          .gru2 = take_conv(weights, "gru.2", {kHidden, kHidden, 3, 3}),
          .feature1 = take_conv(weights, "feat_head.0", {kHidden, kHidden, 3, 3}),
          .feature2 = take_conv(weights, "feat_head.2", {channels, kHidden, 3, 3}),
          .flow_out1 = take_conv(weights, "flow_head.0", {kHidden, kHidden, 3, 3}),
          .flow_out2 = take_conv(weights, "flow_head.2", {4, kHidden, 3, 3}),
          .scale = scale};
}

void Amt::take_encoders(const engine::WeightReader& weights) {
  const engine::WeightReader matching = weights.scope("feat_encoder"), pyramid = weights.scope("encoder");
  stem_ = take_conv(matching, "conv1", {32, 3, 7, 7}, 2);
  int64_t channels = 32, stage = 1;
  for (const int64_t width : {32, 64, 96}) {
    for (int64_t b = 0; b < 2; ++b) {
      const engine::WeightReader block = matching.scope(fmt::format("layer{}", stage), b);
      const int64_t stride = width != channels ? 2 : 1;
      Bottleneck layers{take_conv(block, "conv1", {width / 4, channels, 1, 1}),
                        take_conv(block, "conv2", {width / 4, width / 4, 3, 3}, stride),
                        take_conv(block, "conv3", {width, width / 4, 1, 1}),
                        {}};
      if (stride == 2) layers.shortcut = take_conv(block, "downsample.0", {width, channels, 1, 1}, stride);
      bottlenecks_.push_back(std::move(layers));
      channels = width;
    }
    ++stage;
  }
  head_ = take_conv(matching, "conv2", {kMatch, channels, 1, 1});
  int64_t in = 3;
  for (std::size_t l = 0; l < kChannels.size(); ++l) {
    const engine::WeightReader level = pyramid.scope(fmt::format("pyramid{}", l + 1));
    pyramid_.emplace_back(take_activated(level, "0", {kChannels[l], in, 3, 3}, 2),
                          take_activated(level, "1", {kChannels[l], kChannels[l], 3, 3}));
    in = kChannels[l];
  }
}

Amt::Amt(const engine::WeightReader& weights) {
  take_encoders(weights);
  decoders_.push_back(
      take_decoder(weights.scope("decoder4"), 2 * kChannels[3] + 1, 2 * kChannels[3], kChannels[2] + 4));
  decoders_.push_back(
      take_decoder(weights.scope("decoder3"), 3 * kChannels[2] + 4, 3 * kChannels[2], kChannels[1] + 4));
  decoders_.push_back(
      take_decoder(weights.scope("decoder2"), 3 * kChannels[1] + 4, 3 * kChannels[1], kChannels[0] + 4));
  decoders_.push_back(take_decoder(weights.scope("decoder1"), 3 * kChannels[0] + 4, 3 * kChannels[0], 8 * kFlows));
  updates_.push_back(take_update(weights.scope("update4"), kChannels[2], 1));
  updates_.push_back(take_update(weights.scope("update3"), kChannels[1], 2));
  updates_.push_back(take_update(weights.scope("update2"), kChannels[0], 4));
  blend1_ = {take_conv(weights, "comb_block.0", {6 * kFlows, 3 * kFlows, 3, 3}),
             weights.take("comb_block.1.weight", {6 * kFlows})};
  blend2_ = take_conv(weights, "comb_block.2", {3, 6 * kFlows, 3, 3});
  weights.finish();
}

at::Tensor Amt::matching_features(const at::Tensor& images) const {
  at::Tensor x = instance_norm(stem_(images)).relu_();
  for (const Bottleneck& block : bottlenecks_) {
    at::Tensor y = instance_norm(block.squeeze(x)).relu_();
    y = instance_norm(block.conv(y)).relu_();
    y = instance_norm(block.widen(y)).relu_();
    x = y.add_(block.shortcut.weight.defined() ? instance_norm(block.shortcut(x)) : x).relu_();
  }
  return head_(x);
}

std::vector<at::Tensor> Amt::context(const at::Tensor& images) const {
  std::vector<at::Tensor> levels;
  at::Tensor x = images;
  for (const auto& [down, conv] : pyramid_) {
    x = conv(down(x));
    levels.push_back(x);
  }
  return levels;
}

at::Tensor Amt::Decoder::operator()(const at::Tensor& x) const {
  const at::Tensor entered = enter(x);
  const auto through_side = [](const at::Tensor& y, const Activated& side) {
    at::Tensor tail = y.narrow(1, y.size(1) - kTailSide, kTailSide);
    tail.copy_(side(tail));
    return y;
  };
  const at::Tensor middle = second(through_side(first(entered), side1));
  const at::Tensor out = prelu_(last(through_side(middle, side2)).add_(entered), slope);
  return at::conv_transpose2d(out, up_weight, up_bias, {2, 2}, {1, 1});
}

Amt::State Amt::coarsest(const at::Tensor& context) const {
  const at::Tensor time = at::full({1, 1, context.size(2), context.size(3)}, kMiddle, context.options());
  const at::Tensor out = decoders_[0](at::cat({one(context, 0), one(context, 1), time}, 1));
  return {out.narrow(1, 0, 2), out.narrow(1, 2, 2), out.narrow(1, 4, out.size(1) - 4)};
}

at::Tensor Amt::decode(const Decoder& decoder, const at::Tensor& context, const State& coarser) {
  const at::Tensor warped0 = warp(one(context, 0), coarser.flow0), warped1 = warp(one(context, 1), coarser.flow1);
  return decoder(at::cat({coarser.features, warped0, warped1, coarser.flow0, coarser.flow1}, 1));
}

Amt::State Amt::refine(const Update& update, State state,
                       const std::pair<CorrelationPyramid, CorrelationPyramid>& pyramids) const {
  const int64_t height = state.flow0.size(2), width = state.flow0.size(3);
  const int64_t rows = height / update.scale, columns = width / update.scale;
  const double shrink = 1.0 / static_cast<double>(update.scale);
  const at::Tensor flow0 = shrink * resized(state.flow0, rows, columns);
  const at::Tensor flow1 = shrink * resized(state.flow1, rows, columns);
  const at::Tensor flow = at::cat({flow0, flow1}, 1);
  // The flows start at the middle frame; from one image to the other they are 1/t and 1/(1 - t) as long.
  const at::Tensor start = pixel_coords(rows, columns, flow.device());
  const at::Tensor seen0 = pyramids.first.lookup(start + flow1 / kMiddle, kRadius);
  const at::Tensor seen1 = pyramids.second.lookup(start + flow0 / (1.0 - kMiddle), kRadius);
  const at::Tensor seen = leaky(update.correlation(at::cat({seen0, seen1}, 1)));
  const at::Tensor moved = leaky(update.flow2(leaky(update.flow1(flow))));
  const at::Tensor joined = leaky(update.join(at::cat({seen, moved}, 1)));
  const at::Tensor features = resized(state.features, rows, columns);
  const at::Tensor hidden = update.gru2(leaky(update.gru1(at::cat({joined, flow, features}, 1))));
  const at::Tensor change = resized(update.feature2(leaky(update.feature1(hidden))), height, width);
  const at::Tensor shift =
      static_cast<double>(update.scale) * resized(update.flow_out2(leaky(update.flow_out1(hidden))), height, width);
  return {state.flow0 + shift.narrow(1, 0, 2), state.flow1 + shift.narrow(1, 2, 2), state.features + change};
}

at::Tensor Amt::combine(const at::Tensor& images, const at::Tensor& mean, const State& state,
                        const at::Tensor& out) const {
  const int64_t height = images.size(2), width = images.size(3);
  // Channel k of a part belongs to flow k / (channels a flow).
  const auto part = [&](int64_t begin, int64_t each) {
    return out.narrow(1, begin, kFlows * each).view({kFlows, each, height, width});
  };
  const at::Tensor flow0 = part(0, 2) + 2.0 * doubled(state.flow0);
  const at::Tensor flow1 = part(2 * kFlows, 2) + 2.0 * doubled(state.flow1);
  const at::Tensor mask = part(4 * kFlows, 1).sigmoid();
  const at::Tensor blended = at::lerp(warp(one(images, 1), flow1), warp(one(images, 0), flow0), mask);
  const at::Tensor candidates = blended + mean + part(5 * kFlows, 3);
  const at::Tensor stacked = candidates.reshape({1, 3 * kFlows, height, width});
  return candidates.mean(0, /*keepdim=*/true).add_(blend2_(blend1_(stacked))).clamp_(0.0, 1.0);
}

at::Tensor Amt::between(const at::Tensor& first, const at::Tensor& second) const {
  constexpr int64_t kMultiple = 16, kLeast = 128;
  const bool fits = first.dim() == 4 && first.size(0) == 1 && first.size(1) == 3 && first.sizes() == second.sizes() &&
                    first.size(2) % kMultiple == 0 && first.size(3) % kMultiple == 0 && first.size(2) >= kLeast &&
                    first.size(3) >= kLeast;
  VORTA_CHECK(fits, "amt: expected two images [1, 3, Y, X], sides multiples of 16 and at least 128");
  const at::Tensor both = at::cat({first, second}).to(stem_.weight.device(), at::kFloat);
  const at::Tensor mean = both.mean();
  const at::Tensor images = (both - mean).contiguous(kChannelsLast);
  const at::Tensor match = matching_features(images);
  const std::pair<CorrelationPyramid, CorrelationPyramid> pyramids{{one(match, 0), one(match, 1), kLevels},
                                                                   {one(match, 1), one(match, 0), kLevels}};
  const std::vector<at::Tensor> levels = context(images);
  State state = refine(updates_[0], coarsest(levels[3]), pyramids);
  for (std::size_t d = 1; d < updates_.size(); ++d) {
    const at::Tensor out = decode(decoders_[d], levels[3 - d], state);
    state = refine(updates_[d],
                   {out.narrow(1, 0, 2) + 2.0 * doubled(state.flow0), out.narrow(1, 2, 2) + 2.0 * doubled(state.flow1),
                    out.narrow(1, 4, out.size(1) - 4)},
                   pyramids);
  }
  return combine(images, mean, state, decode(decoders_[3], levels[0], state));
}

}  // namespace vorta::metrics
