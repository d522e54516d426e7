// SPDX-License-Identifier: Apache-2.0
#include "engine/vae/wan_blocks.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "engine/vae/channel_kernels.h"

namespace vorta::engine {
namespace {

// Weights in the order the convolutions want. The trainer needs the very handles it gave, so not while grad mode is on.
at::Tensor channels_last(const at::Tensor& weight) {
  if (at::GradMode::is_enabled()) return weight;
  return weight.contiguous(weight.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast);
}

// [B, C, T, H, W] -> [B*T, C, H, W], a view when x is channels-last-3d.
at::Tensor frames_as_batch(const at::Tensor& x) {
  const auto s = x.sizes();
  return x.permute({0, 2, 1, 3, 4}).reshape({s[0] * s[2], s[1], s[3], s[4]});
}

// The inverse of frames_as_batch.
at::Tensor batch_as_frames(const at::Tensor& x, int64_t batch) {
  const auto s = x.sizes();
  return x.reshape({batch, s[0] / batch, s[1], s[2], s[3]}).permute({0, 2, 1, 3, 4});
}

// Repeating pixels and then convolving with `weight` [out, in, 3, 3] is one transposed convolution of stride 2, with
// less than half the multiplications. Its weights [in, out, 4, 4]: the taps that meet the same pixel, added.
at::Tensor doubling_weight(const at::Tensor& weight) {
  const at::Tensor taps = weight.flip({2, 3}).transpose(0, 1);
  const at::Tensor wide = at::constant_pad_nd(taps, {0, 1}) + at::constant_pad_nd(taps, {1, 0});
  const at::Tensor sums = at::constant_pad_nd(wide, {0, 0, 0, 1}) + at::constant_pad_nd(wide, {0, 0, 1, 0});
  return sums.contiguous(at::MemoryFormat::ChannelsLast);
}

constexpr int64_t kTimeTaps = 3;

}  // namespace

CausalConv3d::CausalConv3d(const WeightReader& weights, Shape shape) : kernel_(shape.kernel) {
  const int64_t k = shape.kernel;
  weight_ = channels_last(weights.take("weight", {shape.out, shape.in, k, k, k}));
  bias_ = weights.take("bias", {shape.out});
}

at::Tensor CausalConv3d::convolve(const at::Tensor& padded) const {
  const int64_t border = kernel_ / 2;
  return convolution(padded, weight_, bias_, /*stride=*/{1, 1, 1}, /*padding=*/{0, border, border});
}

at::Tensor CausalConv3d::forward(const at::Tensor& x, CausalStream& stream) const {
  return convolve(kernel_ == 1 ? x : prepend_history(x, kernel_ - 1, stream, stream.next_slot()));
}

at::Tensor CausalConv3d::forward_activated(const ChannelNorm& norm, const at::Tensor& x, CausalStream& stream) const {
  if (at::GradMode::is_enabled()) return forward(norm.forward_silu(x), stream);
  at::Tensor& history = stream.next_slot();
  const PaddedChunk padded = open_padded_chunk(x, kernel_ - 1, history);
  norm.write_silu(x, padded.chunk);
  keep_history(padded.all, kernel_ - 1, stream, history);
  return convolve(padded.all);
}

ChannelNorm::ChannelNorm(const WeightReader& weights, int64_t channels, Kind kind)
    : scale_(std::sqrt(static_cast<double>(channels))), kind_(kind) {
  gamma_ = kind == Kind::kVideo ? weights.take("gamma", {channels, 1, 1, 1}) : weights.take("gamma", {channels, 1, 1});
}

at::Tensor ChannelNorm::compose(const at::Tensor& x) const {
  const at::Tensor length = at::linalg_vector_norm(x, 2, at::IntArrayRef{1}, /*keepdim=*/true).clamp_min(1e-12);
  return x / length * scale_ * gamma_;
}

at::Tensor ChannelNorm::forward(const at::Tensor& x) const {
  if (at::GradMode::is_enabled()) return compose(x);
  const at::Tensor out = at::empty_like(x);
  return kernel_channel_norm(x, gamma_, scale_, /*silu=*/false, out) ? out : compose(x);
}

at::Tensor ChannelNorm::forward_silu(const at::Tensor& x) const { return at::silu(compose(x)); }

void ChannelNorm::write_silu(const at::Tensor& x, const at::Tensor& out) const {
  if (!kernel_channel_norm(x, gamma_, scale_, /*silu=*/true, out)) out.copy_(forward_silu(x));
}

ResidualBlock::ResidualBlock(const WeightReader& weights, int64_t in, int64_t out)
    : norm1_(weights.scope("norm1"), in, ChannelNorm::Kind::kVideo),
      norm2_(weights.scope("norm2"), out, ChannelNorm::Kind::kVideo),
      conv1_(weights.scope("conv1"), {in, out, 3}),
      conv2_(weights.scope("conv2"), {out, out, 3}) {
  if (in != out) shortcut_.emplace(weights.scope("conv_shortcut"), CausalConv3d::Shape{in, out, 1});
}

at::Tensor ResidualBlock::forward(const at::Tensor& x, CausalStream& stream) const {
  at::Tensor y = conv1_.forward_activated(norm1_, x, stream);
  y = conv2_.forward_activated(norm2_, y, stream);
  return y.add_(shortcut_ ? shortcut_->forward(x, stream) : x);
}

FrameAttention::FrameAttention(const WeightReader& weights, int64_t channels)
    : channels_(channels), norm_(weights.scope("norm"), channels, ChannelNorm::Kind::kImage) {
  qkv_weight_ = weights.take("to_qkv.weight", {3 * channels, channels, 1, 1});
  qkv_bias_ = weights.take("to_qkv.bias", {3 * channels});
  proj_weight_ = weights.take("proj.weight", {channels, channels, 1, 1});
  proj_bias_ = weights.take("proj.bias", {channels});
}

at::Tensor FrameAttention::forward(const at::Tensor& x) const {
  const at::Tensor frames = norm_.forward(frames_as_batch(x));  // [B*T, C, H, W]
  const auto s = frames.sizes();
  // Pixels as tokens: the 1x1 convolutions are linear layers over [B*T, 1, H*W, C].
  const at::Tensor tokens = frames.permute({0, 2, 3, 1}).reshape({s[0], 1, s[2] * s[3], channels_});
  const at::Tensor qkv = at::linear(tokens, qkv_weight_.view({3 * channels_, channels_}), qkv_bias_);
  const auto parts = qkv.chunk(3, -1);
  const at::Tensor mixed = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
  const at::Tensor out = at::linear(mixed, proj_weight_.view({channels_, channels_}), proj_bias_);
  return x + batch_as_frames(out.reshape({s[0], s[2], s[3], channels_}).permute({0, 3, 1, 2}), x.size(0));
}

MidBlock::MidBlock(const WeightReader& weights, int64_t channels)
    : first_(weights.scope("resnets.0"), channels, channels),
      attention_(weights.scope("attentions.0"), channels),
      second_(weights.scope("resnets.1"), channels, channels) {}

at::Tensor MidBlock::forward(const at::Tensor& x, CausalStream& stream) const {
  return second_.forward(attention_.forward(first_.forward(x, stream)), stream);
}

Downsample::Downsample(const WeightReader& weights, int64_t channels, ResampleAxes axes) {
  weight_ = channels_last(weights.take("resample.1.weight", {channels, channels, 3, 3}));
  bias_ = weights.take("resample.1.bias", {channels});
  if (axes == ResampleAxes::kSpace) return;
  time_weight_ = channels_last(weights.take("time_conv.weight", {channels, channels, kTimeTaps, 1, 1}));
  time_bias_ = weights.take("time_conv.bias", {channels});
}

at::Tensor Downsample::forward(const at::Tensor& x, CausalStream& stream) const {
  const at::Tensor padded = at::constant_pad_nd(frames_as_batch(x), {0, 1, 0, 1});
  const at::Tensor halved =
      batch_as_frames(convolution(padded, weight_, bias_, /*stride=*/{2, 2}, /*padding=*/{0, 0}), x.size(0));
  return time_weight_.defined() ? halve_time(halved, stream) : halved;
}

// Frame 0 passes, and is the history of the first window; windows of three frames then start at every second frame.
at::Tensor Downsample::halve_time(const at::Tensor& x, CausalStream& stream) const {
  at::Tensor& history = stream.next_slot();
  const at::Tensor seen = history.defined() ? at::cat({history, x}, 2) : x;
  history = stream.last() ? at::Tensor() : x.narrow(2, x.size(2) - 1, 1).clone();
  if (seen.size(2) < kTimeTaps) return x;  // the first chunk, of frame 0 alone
  const at::Tensor halved = convolution(seen, time_weight_, time_bias_, /*stride=*/{2, 1, 1}, /*padding=*/{0, 0, 0});
  return stream.first() ? at::cat({x.narrow(2, 0, 1), halved}, 2) : halved;
}

Upsample::Upsample(const WeightReader& weights, int64_t channels, ResampleAxes axes) {
  weight_ = channels_last(weights.take("resample.1.weight", {channels / 2, channels, 3, 3}));
  bias_ = weights.take("resample.1.bias", {channels / 2});
  if (weight_.device().is_cpu() && !at::GradMode::is_enabled()) doubling_weight_ = doubling_weight(weight_);
  if (axes == ResampleAxes::kSpace) return;
  time_weight_ = channels_last(weights.take("time_conv.weight", {2 * channels, channels, kTimeTaps, 1, 1}));
  time_bias_ = weights.take("time_conv.bias", {2 * channels});
}

at::Tensor Upsample::forward(const at::Tensor& x, CausalStream& stream) const {
  const at::Tensor in_time = time_weight_.defined() ? double_time(x, stream) : x;
  const at::Tensor frames = frames_as_batch(in_time);
  return batch_as_frames(double_space(frames), x.size(0));
}

at::Tensor Upsample::double_space(const at::Tensor& frames) const {
  if (doubling_weight_.defined() && !at::GradMode::is_enabled()) {
    return at::conv_transpose2d(frames, doubling_weight_, bias_, /*stride=*/{2, 2}, /*padding=*/{1, 1});
  }
  // By a factor of exactly 2, "nearest" and "nearest-exact" pick the same pixels.
  const at::Tensor doubled = at::upsample_nearest2d(frames, {2 * frames.size(2), 2 * frames.size(3)});
  return convolution(doubled, weight_, bias_, /*stride=*/{1, 1}, /*padding=*/{1, 1});
}

// Frame 0 is neither doubled nor seen by the time convolution, whose history starts as zeros at frame 1.
at::Tensor Upsample::double_time(const at::Tensor& x, CausalStream& stream) const {
  at::Tensor& history = stream.next_slot();
  const int64_t skipped = stream.first() ? 1 : 0;
  const at::Tensor rest = x.narrow(2, skipped, x.size(2) - skipped);
  const at::Tensor padded = prepend_history(rest, kTimeTaps - 1, stream, history);
  if (rest.size(2) == 0) return x;
  const at::Tensor pairs =  // [B, 2C, t, H, W]: even frames, odd frames
      convolution(padded, time_weight_, time_bias_, /*stride=*/{1, 1, 1}, /*padding=*/{0, 0, 0});
  const auto s = x.sizes();
  const at::Tensor doubled = pairs.permute({0, 2, 3, 4, 1})
                                 .reshape({s[0], rest.size(2), s[3], s[4], 2, s[1]})
                                 .permute({0, 1, 4, 2, 3, 5})
                                 .reshape({s[0], 2 * rest.size(2), s[3], s[4], s[1]})
                                 .permute({0, 4, 1, 2, 3});
  return skipped == 0 ? doubled : at::cat({x.narrow(2, 0, 1), doubled}, 2);
}

}  // namespace vorta::engine
